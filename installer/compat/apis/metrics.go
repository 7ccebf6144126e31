package apis

import (
	"bufio"
	"io"
	"strconv"
	"strings"
)

// Request is what somebody has asked an API server for since it started.
type Request struct {
	Version  string `json:"version"`  // policy/v1beta1
	Resource string `json:"resource"` // poddisruptionbudgets, with /SUBRESOURCE
	Removed  string `json:"removed"`  // in which version of Kubernetes it is not served any more: 1.25
}

const requested = "apiserver_requested_deprecated_apis{"

// Requests reads from the metrics of an API server which versions it was asked for that are not served in a minor version any more.
func Requests(metrics io.Reader, minor int) ([]Request, error) {
	var out []Request
	lines := bufio.NewScanner(metrics)
	lines.Buffer(make([]byte, 64<<10), 1<<20)
	for lines.Scan() {
		labels, value, ok := labelsOf(lines.Text())
		if !ok || value == "0" {
			continue
		}
		_, in, ok := strings.Cut(labels["removed_release"], ".")
		if n, err := strconv.Atoi(in); !ok || err != nil || n > minor {
			continue
		}
		r := Request{Version: labels["version"], Resource: labels["resource"], Removed: labels["removed_release"]}
		if labels["group"] != "" {
			r.Version = labels["group"] + "/" + r.Version
		}
		if sub := labels["subresource"]; sub != "" {
			r.Resource += "/" + sub
		}
		out = append(out, r)
	}
	return out, lines.Err()
}

// labelsOf reads a line: NAME{LABEL="VALUE",…} NUMBER.
func labelsOf(line string) (labels map[string]string, value string, ok bool) {
	rest, ok := strings.CutPrefix(line, requested)
	if !ok {
		return nil, "", false
	}
	labels = map[string]string{}
	for {
		rest = strings.TrimLeft(rest, ", ")
		if after, closed := strings.CutPrefix(rest, "}"); closed {
			fields := strings.Fields(after)
			if len(fields) == 0 {
				return nil, "", false
			}
			return labels, fields[0], true
		}
		name, quoted, found := strings.Cut(rest, "=")
		if !found {
			return nil, "", false
		}
		text, err := strconv.QuotedPrefix(quoted)
		if err != nil {
			return nil, "", false
		}
		labels[strings.TrimSpace(name)], err = strconv.Unquote(text)
		if err != nil {
			return nil, "", false
		}
		rest = quoted[len(text):]
	}
}
