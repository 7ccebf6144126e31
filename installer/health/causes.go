// Package health is how a cluster is: whether it answers, what it still lacks, and
// what holds it up.
package health

import (
	"context"
	"time"

	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/fleet"
	"github.com/sealbuild/sealbuild/installer/kube"
	"github.com/sealbuild/sealbuild/installer/secrets"
	"github.com/sealbuild/sealbuild/installer/site"
)

// Health is how the cluster of a run is: whether it answers, what it lacks, and why.
type Health struct {
	*site.Site
	Secrets *secrets.Secrets
}

// Causes finds out why a cluster is not ready: what runs on the hosts and, as far as the cluster answers, why its pods do not.
func (h *Health) Causes(ctx context.Context, w kube.Lacks) []string {
	out := h.hostCauses(ctx, w)
	if len(w.Nodes) == 0 {
		out = append(out, h.Kube.ControlPlaneCauses(ctx, h.Jobs)...)
	}
	return append(out, h.Kube.PodCauses(ctx, w.Sick)...)
}

// hostCauses tells of the hosts on which the runtime or kubelet do not run, those alike together. Only hosts that
// something is missing of are asked.
func (h *Health) hostCauses(ctx context.Context, w kube.Lacks) []string {
	well := map[string]bool{}
	for _, n := range w.Nodes {
		well[n.Name] = n.Ready == "True"
	}
	var ask []*fleet.Target
	for _, t := range h.Targets {
		if t.Looked && !well[t.NodeName()] {
			ask = append(ask, t)
		}
	}
	states := make(map[string]chan string, len(ask))
	for _, t := range ask {
		states[t.IP.String()] = make(chan string, 1)
	}
	// Nobody waits for the errors: a host that cannot be asked is told as one.
	_ = fleet.Each(ctx, ask, max(1, h.Jobs), func(ctx context.Context, t *fleet.Target) error {
		states[t.IP.String()] <- h.lifeOf(ctx, t)
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
func (h *Health) lifeOf(ctx context.Context, t *fleet.Target) string {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	f, err := t.Agent.Facts(ctx, h.LifeRequest(t))
	if err != nil {
		return "the host does not answer any more: " + installer.TellAt(err, t.IP.String())
	}
	return fleet.StoppedIn(f)
}
