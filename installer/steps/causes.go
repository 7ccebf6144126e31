package steps

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/node"
)

// maxCauses bounds how many pods are asked why they do not run: of many, most have one cause.
const maxCauses = 5

// causes finds out why a cluster is not ready: what runs on the hosts, what kubelet says of its pods, what their
// containers said last. One line for each cause, however many pods or hosts have it.
func (r *Run) causes(ctx context.Context, w waiting) []string {
	out := r.hostCauses(ctx, w)
	if len(w.nodes) == 0 {
		out = append(out, r.planeCauses(ctx)...)
	}
	type cause struct {
		text string
		of   []string
	}
	var found []*cause
	asked := map[string]int{}
	for _, p := range w.sick {
		// Pods of one owner differ in the end of their names; two of them tell whether they have one cause.
		kind := p.namespace + "/" + ownerOf(p.name)
		if asked[kind]++; asked[kind] > 2 || len(found) >= maxCauses || ctx.Err() != nil {
			continue
		}
		text := r.podCause(ctx, p)
		if text == "" {
			continue
		}
		if i := slices.IndexFunc(found, func(c *cause) bool { return c.text == text }); i >= 0 {
			found[i].of = append(found[i].of, p.title())
			continue
		}
		found = append(found, &cause{text, []string{p.title()}})
	}
	for _, c := range found {
		out = append(out, listOf(c.of)+": "+c.text)
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

// hostCauses tells of the hosts on which the runtime or kubelet do not run, those alike together. Only hosts that
// something is missing of are asked.
func (r *Run) hostCauses(ctx context.Context, w waiting) []string {
	well := map[string]bool{}
	for _, n := range w.nodes {
		well[n.name] = n.ready == "True"
	}
	var ask []*Target
	for _, t := range r.Targets {
		if t.looked && !well[t.nodeName()] {
			ask = append(ask, t)
		}
	}
	states := make(map[string]chan string, len(ask))
	for _, t := range ask {
		states[t.IP.String()] = make(chan string, 1)
	}
	// Nobody waits for the errors: a host that cannot be asked is told as one.
	_ = each(ctx, ask, max(1, r.Jobs), func(ctx context.Context, t *Target) error {
		states[t.IP.String()] <- r.lifeOf(ctx, t)
		return nil
	})
	hosts := map[string][]string{}
	var order []string
	for _, t := range ask {
		var what string
		select {
		case what = <-states[t.IP.String()]:
		default:
		}
		if what == "" {
			continue
		}
		if hosts[what] == nil {
			order = append(order, what)
		}
		hosts[what] = append(hosts[what], t.IP.String())
	}
	var out []string
	for _, what := range order {
		out = append(out, hostList(hosts[what])+": "+what)
	}
	return out
}

// lifeOf asks a host what of it runs, and says what does not.
func (r *Run) lifeOf(ctx context.Context, t *Target) string {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	f, err := t.Agent.Facts(ctx, r.lifeRequest(t))
	if err != nil {
		return "the host does not answer any more: " + installer.TellAt(err, t.IP.String())
	}
	return stoppedIn(f)
}

// podCause asks why a pod does not run: what its container said last or, if none has begun, what kubelet says.
func (r *Run) podCause(ctx context.Context, p podState) string {
	for _, c := range p.containers {
		if c.restarts == 0 && c.reason != "CrashLoopBackOff" && !strings.HasPrefix(c.message, "exit status") && c.reason != "" {
			continue
		}
		if line := r.lastLine(ctx, p, c); line != "" {
			text := fmt.Sprintf("container %s", c.name)
			if c.reason != "" {
				text += " (" + c.reason + ")"
			}
			return text + " says: " + line
		}
	}
	if event := r.lastEvent(ctx, p); event != "" {
		return event
	}
	return p.why()
}

// lastLine is the last line of a container: of the one before, if it is started again and again.
func (r *Run) lastLine(ctx context.Context, p podState, c containerState) string {
	for _, previous := range []bool{true, false} {
		args := []string{"logs", "--namespace", p.namespace, p.name, "--container", c.name, "--tail=20", "--limit-bytes=65536"}
		if previous {
			if c.restarts == 0 {
				continue
			}
			args = append(args, "--previous")
		}
		out, err := r.kubectl(ctx, args...)
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
func (r *Run) lastEvent(ctx context.Context, p podState) string {
	records, err := r.query(ctx, eventsTemplate, "events", "--namespace", p.namespace, "--field-selector", "type=Warning,involvedObject.name="+p.name)
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

// runtimeSocket is where a host's container runtime answers.
func (r *Run) runtimeSocket(t *Target) string {
	socket := installer.MergeEnv(r.rootfs().Env, r.Cluster.Env, t.Env)["SEALOS_SYS_CRI_ENDPOINT"]
	return strings.TrimPrefix(orDefault(socket, "/run/containerd/containerd.sock"), "unix://")
}

// lifeRequest asks for what must run on a host of a cluster.
func (r *Run) lifeRequest(t *Target) node.FactsRequest {
	return node.FactsRequest{Sockets: []string{r.runtimeSocket(t)}, Programs: []string{"kubelet"}}
}

// stopped says what does not run of a host that is in the cluster; empty if all does.
func (t *Target) stopped() string {
	if !t.looked || !t.joined() {
		return ""
	}
	return stoppedIn(t.Facts)
}

func stoppedIn(f node.Facts) string {
	var out []string
	for socket, answers := range f.Sockets {
		if !answers {
			out = append(out, "the container runtime does not answer at "+socket)
		}
	}
	for program, runs := range f.Programs {
		if !runs {
			out = append(out, program+" does not run")
		}
	}
	slices.Sort(out)
	return strings.Join(out, ", ")
}
