package steps

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/agent"
	"github.com/sealbuild/sealbuild/installer/fleet"
	"github.com/sealbuild/sealbuild/installer/kube"
)

// causes finds out why a cluster is not ready: what runs on the hosts and, as far as the cluster answers, why its pods do not.
func (r *Run) causes(ctx context.Context, w kube.Lacks) []string {
	out := r.hostCauses(ctx, w)
	if len(w.Nodes) == 0 {
		out = append(out, r.kube.ControlPlaneCauses(ctx, r.Jobs)...)
	}
	return append(out, r.kube.PodCauses(ctx, w.Sick)...)
}

// hostCauses tells of the hosts on which the runtime or kubelet do not run, those alike together. Only hosts that
// something is missing of are asked.
func (r *Run) hostCauses(ctx context.Context, w kube.Lacks) []string {
	well := map[string]bool{}
	for _, n := range w.Nodes {
		well[n.Name] = n.Ready == "True"
	}
	var ask []*fleet.Target
	for _, t := range r.Targets {
		if t.Looked && !well[t.NodeName()] {
			ask = append(ask, t)
		}
	}
	states := make(map[string]chan string, len(ask))
	for _, t := range ask {
		states[t.IP.String()] = make(chan string, 1)
	}
	// Nobody waits for the errors: a host that cannot be asked is told as one.
	_ = fleet.Each(ctx, ask, max(1, r.Jobs), func(ctx context.Context, t *fleet.Target) error {
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
		out = append(out, installer.HostList(hosts[what])+": "+what)
	}
	return out
}

// lifeOf asks a host what of it runs, and says what does not.
func (r *Run) lifeOf(ctx context.Context, t *fleet.Target) string {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	f, err := t.Agent.Facts(ctx, r.lifeRequest(t))
	if err != nil {
		return "the host does not answer any more: " + installer.TellAt(err, t.IP.String())
	}
	return stoppedIn(f)
}

// lifeRequest asks for what must run on a host of a cluster.
func (r *Run) lifeRequest(t *fleet.Target) agent.FactsRequest {
	return agent.FactsRequest{Sockets: []string{r.share(t).RuntimeSocket()}, Programs: []string{"kubelet"}}
}

// stopped says what does not run of a host that is in the cluster; empty if all does.
func stopped(t *fleet.Target) string {
	if !t.Looked || !t.Joined() {
		return ""
	}
	return stoppedIn(t.Facts)
}

func stoppedIn(f agent.Facts) string {
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
