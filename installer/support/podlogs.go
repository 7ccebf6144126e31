package support

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/sealbuild/sealbuild/installer/host"
)

// podLog is a log of a container, by what /var/log/pods says.
type podLog struct {
	namespace, pod, container string
	restarts                  int
	file                      string
}

// to is where troubleshoot.sh keeps it.
func (l podLog) to(previous bool) string {
	name := l.container
	if previous {
		name += "-previous"
	}
	return fmt.Sprintf("cluster-resources/pods/logs/%s/%s/%s.log", l.namespace, l.pod, name)
}

// listLogs prints the logs of pods of the cluster itself that were written since $1: those of applications are no business of ours.
const listLogs = `for pods in /var/log/pods/kube-*_* /var/log/pods/calico-*_* /var/log/pods/tigera-operator_*; do
	[ ! -d "$pods" ] || find -L "$pods" -mindepth 2 -maxdepth 2 -type f -name '[0-9]*.log' -newermt "@$1" -print
done; true`

// podLogs keeps the logs of pods where troubleshoot.sh has them, so that they are there also while no API answers.
func (a *asked) podLogs(ctx context.Context) error {
	var list bytes.Buffer
	since := strconv.FormatInt(max(0, a.Since.Unix()), 10)
	if _, _, err := run(ctx, a.t.Link, "list the logs of pods", listLogs, &limited{to: &list, left: 1 << 20}, since); err != nil {
		return err
	}
	var all []question
	for to, l := range latestLogs(list.String()) {
		line := fmt.Sprintf("{ echo; cat -- %s; } | tail -c %d | %s", host.Quote(l.file), a.limit, wholeLines)
		all = append(all, question{
			name: "pod-logs-" + l.namespace + "-" + l.pod + "-" + l.container, file: to, line: line, as: func(w io.Writer) io.Writer { return &criLines{to: w} },
		})
	}
	slices.SortFunc(all, func(x, y question) int { return cmp.Compare(x.file, y.file) })
	return a.ask(ctx, "read logs of pods", all)
}

// latestLogs gives the newest log of each container, and the one before, by where they are kept. A line of list is
// /var/log/pods/NAMESPACE_POD_UID/CONTAINER/RESTARTS.log.
func latestLogs(list string) map[string]podLog {
	by := map[string][]podLog{}
	for line := range strings.Lines(list) {
		file := strings.TrimSpace(line)
		dir, base := path.Split(file)
		of := strings.Split(path.Base(path.Dir(path.Clean(dir))), "_")
		restarts, err := strconv.Atoi(strings.TrimSuffix(base, ".log"))
		if err != nil || len(of) < 3 {
			continue // a rotated one
		}
		l := podLog{of[0], of[1], path.Base(dir), restarts, file}
		by[l.to(false)] = append(by[l.to(false)], l)
	}
	out := map[string]podLog{}
	for name, all := range by {
		slices.SortFunc(all, func(x, y podLog) int { return cmp.Compare(y.restarts, x.restarts) })
		out[name] = all[0]
		if len(all) > 1 {
			out[all[1].to(true)] = all[1]
		}
	}
	return out
}

// criLines turns lines of a log as container runtimes write them, TIME STREAM F|P TEXT, into what kubectl logs shows with
// timestamps. A long line is in several of them: its parts are put together, or a secret in it could not be found.
type criLines struct {
	to   io.Writer
	line []byte // the beginning of one that has not ended
	open bool   // a line has begun that goes on in the next one
}

func (c *criLines) Write(p []byte) (int, error) {
	all := len(p)
	for len(p) > 0 {
		n := bytes.IndexByte(p, '\n')
		if n < 0 {
			c.line = append(c.line, p...)
			break
		}
		c.line = append(c.line, p[:n]...)
		p = p[n+1:]
		if _, err := c.to.Write(c.plain(c.line)); err != nil {
			return 0, err
		}
		c.line = c.line[:0]
	}
	if len(c.line) > mostOfALine { // no runtime writes such a line
		if _, err := c.to.Write(c.line); err != nil {
			return 0, err
		}
		c.line = c.line[:0]
	}
	return all, nil
}

// mostOfALine bounds what is kept of a line, in bytes: runtimes part lines at 16 KiB.
const mostOfALine = 64 << 10

// plain is a line without its stream and tag, or as it is, if it has none.
func (c *criLines) plain(line []byte) []byte {
	parts := bytes.SplitN(line, []byte(" "), 4)
	if len(parts) < 3 || string(parts[1]) != "stdout" && string(parts[1]) != "stderr" || len(parts[2]) == 0 || parts[2][0] != 'F' && parts[2][0] != 'P' {
		c.open = false
		return append(slices.Clone(line), '\n')
	}
	var out []byte
	if !c.open {
		out = append(append(out, parts[0]...), ' ')
	}
	if len(parts) == 4 {
		out = append(out, parts[3]...)
	}
	if c.open = parts[2][0] == 'P'; !c.open {
		out = append(out, '\n')
	}
	return out
}
