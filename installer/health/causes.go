// Package health is how a cluster is: whether it answers, what it still lacks, and what keeps it from being ready.
package health

import (
	"context"
	"slices"
	"time"

	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/fleet"
	"github.com/sealbuild/sealbuild/installer/kube"
	"github.com/sealbuild/sealbuild/installer/secrets"
	"github.com/sealbuild/sealbuild/installer/site"
)

// Health tells how the cluster of a run is: whether it answers, what it lacks, and why.
type Health struct {
	*site.Site
	Secrets *secrets.Secrets
}

// Causes finds out why a cluster is not ready: what does not run on the hosts and, as far as the cluster answers, what its
// pods wait for.
func (h *Health) Causes(ctx context.Context, w kube.Lacks) []string {
	out := h.hostCauses(ctx, w)
	if len(w.Nodes) == 0 {
		out = append(out, h.Kube.ControlPlaneCauses(ctx, h.Jobs)...)
	}
	return append(out, h.Kube.PodCauses(ctx, w.Sick)...)
}

// CausesWithin is [Health.Causes] with as much time as a limit says.
func (h *Health) CausesWithin(ctx context.Context, limit time.Duration, w kube.Lacks) (causes []string) {
	_ = installer.Within(ctx, limit, func(ctx context.Context) error {
		causes = h.Causes(ctx, w)
		return nil
	})
	return causes
}

// hostCauses says on which hosts the runtime or kubelet does not run, with hosts of the same cause in one line. It asks
// only hosts whose Nodes are not Ready.
func (h *Health) hostCauses(ctx context.Context, w kube.Lacks) []string {
	well := map[string]bool{}
	for _, n := range w.Nodes {
		well[n.Name] = n.Ready == "True"
	}
	ask := fleet.Only(h.Targets, func(t *fleet.Target) bool { return t.Looked && !well[t.NodeName()] })
	causes := make([]string, len(ask))
	// That a host cannot be asked is a cause, too. The only error is the end of ctx.
	_ = fleet.Each(ctx, ask, h.Jobs, func(ctx context.Context, t *fleet.Target) error {
		causes[slices.Index(ask, t)] = h.lifeOf(ctx, t)
		return nil
	})
	hosts := map[string][]string{} // by cause
	var order []string
	for i, what := range causes {
		if what == "" {
			continue
		}
		if hosts[what] == nil {
			order = append(order, what)
		}
		hosts[what] = append(hosts[what], ask[i].IP.String())
	}
	var out []string
	for _, what := range order {
		out = append(out, installer.HostList(hosts[what])+": "+what)
	}
	return out
}

// lifeOf asks a host what runs on it, and says what does not.
func (h *Health) lifeOf(ctx context.Context, t *fleet.Target) string {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	f, err := t.Agent.Facts(ctx, h.LifeRequest(t))
	if err != nil {
		return "the host does not answer any more: " + installer.TellAt(err, t.IP.String())
	}
	return fleet.StoppedIn(f)
}
