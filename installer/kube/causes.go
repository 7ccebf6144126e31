package kube

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/sealbuild/sealbuild/installer"
)

// maxCauses bounds how many pods are asked why they do not run: of many, most have one cause.
const maxCauses = 5

// PodCauses finds out why pods do not run: what kubelet says of them, what their containers said last. One line for each
// cause, however many pods have it.
func (c *Client) PodCauses(ctx context.Context, sick []Pod) []string {
	type cause struct {
		text string
		of   []string
	}
	var found []*cause
	asked := map[string]int{}
	for _, p := range sick {
		// Pods of one owner differ in the end of their names; two of them tell whether they have one cause.
		kind := p.Namespace + "/" + ownerOf(p.Name)
		if asked[kind]++; asked[kind] > 2 || len(found) >= maxCauses || ctx.Err() != nil {
			continue
		}
		text := c.podCause(ctx, p)
		if text == "" {
			continue
		}
		if i := slices.IndexFunc(found, func(c *cause) bool { return c.text == text }); i >= 0 {
			found[i].of = append(found[i].of, p.Title())
			continue
		}
		found = append(found, &cause{text, []string{p.Title()}})
	}
	var out []string
	for _, c := range found {
		out = append(out, installer.NameSome(c.of)+": "+c.text)
	}
	return out
}

// ownerOf is the name of a pod without its last part, which tells it from its brothers.
func ownerOf(pod string) string {
	if i := strings.LastIndexByte(pod, '-'); i > 0 {
		return pod[:i]
	}
	return pod
}

// podCause asks why a pod does not run: what its container said last or, if none has begun, what kubelet says.
func (c *Client) podCause(ctx context.Context, p Pod) string {
	for _, k := range p.containers {
		if k.restarts == 0 && k.reason != "CrashLoopBackOff" && !strings.HasPrefix(k.message, "exit status") && k.reason != "" {
			continue
		}
		if line := c.lastLine(ctx, p, k); line != "" {
			text := fmt.Sprintf("container %s", k.name)
			if k.reason != "" {
				text += " (" + k.reason + ")"
			}
			return text + " says: " + line
		}
	}
	if event := c.lastEvent(ctx, p); event != "" {
		return event
	}
	return p.why()
}

// lastLine is the last line of a container: of the one before, if it is started again and again.
func (c *Client) lastLine(ctx context.Context, p Pod, k containerState) string {
	for _, previous := range []bool{true, false} {
		args := []string{"logs", "--namespace", p.Namespace, p.Name, "--container", k.name, "--tail=20", "--limit-bytes=65536"}
		if previous {
			if k.restarts == 0 {
				continue
			}
			args = append(args, "--previous")
		}
		out, err := c.Kubectl(ctx, args...)
		if err != nil {
			continue
		}
		if line := short(installer.Tail(installer.Plain(string(out)), 1)); line != "" {
			return line
		}
	}
	return ""
}

// eventsTemplate tells of events when and what.
const eventsTemplate = `{{range .items}}event {{with .lastTimestamp}}{{printf "%q" .}}{{else}}{{with .eventTime}}{{printf "%q" .}}{{else}}""{{end}}{{end}}` +
	` {{with .reason}}{{printf "%q" .}}{{else}}""{{end}} {{with .message}}{{printf "%q" .}}{{else}}""{{end}}
{{end}}`

// lastEvent is the newest warning about a pod.
func (c *Client) lastEvent(ctx context.Context, p Pod) string {
	records, err := c.query(ctx, eventsTemplate, "events", "--namespace", p.Namespace, "--field-selector", "type=Warning,involvedObject.name="+p.Name)
	if err != nil {
		return ""
	}
	newest, text := "", ""
	for _, rec := range records {
		// Times in one form and zone can be compared as text.
		if rec.kind != "event" || rec.value(0) < newest {
			continue
		}
		newest, text = rec.value(0), rec.value(1)+": "+rec.value(2)
	}
	return short(installer.Plain(text))
}

// short bounds a line that others wrote: its end says what went wrong.
func short(line string) string {
	const most = 400
	line = strings.Join(strings.Fields(line), " ")
	if len(line) > most {
		line = "… " + strings.ToValidUTF8(line[len(line)-most:], "")
	}
	return strings.TrimSuffix(line, ":")
}
