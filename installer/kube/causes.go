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

// PodCauses finds out why pods do not run, from the last output of their containers and from events of kubelet. It gives one
// line for each cause, with the pods that have it.
func (c *Client) PodCauses(ctx context.Context, sick []Pod) []string {
	var found []saying
	asked := map[string]int{}
	for _, p := range sick {
		// Two pods of one owner are enough. They differ in the ends of their names.
		kind := p.Namespace + "/" + ownerOf(p.Name)
		if asked[kind]++; asked[kind] > 2 || len(found) >= maxCauses || ctx.Err() != nil {
			continue
		}
		text := c.podCause(ctx, p)
		if text == "" {
			continue
		}
		found = said(found, text, p.Title())
	}
	var out []string
	for _, c := range found {
		out = append(out, installer.NameSome(c.of)+": "+c.text)
	}
	return out
}

// saying is what is said of several pods, nodes or hosts alike.
type saying struct {
	text string
	of   []string
}

// said adds that a text is said of a name.
func said(all []saying, text, name string) []saying {
	i := slices.IndexFunc(all, func(s saying) bool { return s.text == text })
	if i < 0 {
		return append(all, saying{text, []string{name}})
	}
	all[i].of = append(all[i].of, name)
	return all
}

// ownerOf is the name of a pod without its last part, in which the pods of one owner differ.
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
	return p.Why()
}

// lastLine is the last line of a container's output; if it was restarted, of the run before.
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

// eventsTemplate prints time, reason and message of each event.
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

// short bounds the length of a line of other programs. It keeps the end, which says what went wrong.
func short(line string) string {
	const most = 400
	line = strings.Join(strings.Fields(line), " ")
	if len(line) > most {
		line = "… " + strings.ToValidUTF8(line[len(line)-most:], "")
	}
	return strings.TrimSuffix(line, ":")
}
