package support

import (
	"cmp"
	"context"
	"errors"
	"io"
	"slices"
	"time"

	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/agent"
	"github.com/sealbuild/sealbuild/installer/preflight"
)

// places are where a host has what our images bring, unless the operator chose otherwise.
var places = preflight.Places{
	Data: installer.DataRoot, Bin: "/usr/bin", CRI: "/var/lib/containerd", Registry: "/var/lib/registry", Etcd: "/var/lib/etcd", Kubelet: "/var/lib/kubelet",
	Log: "/var/log", CNI: "/opt/cni", Etc: "/etc",
}

// facts has the installer that lies on a host look at it, as it does before a run. Where none lies nothing is missing.
func (a *asked) facts(ctx context.Context) error {
	code, _, err := run(ctx, a.t.Link, "look for an installer", `test -x "$1"`, io.Discard, installer.StubPath)
	if err != nil || code != 0 {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, answer)
	defer cancel()
	q := agent.FactsRequest{Modules: preflight.Modules(), Tools: preflight.Tools(), Paths: places.All()}
	facts, err := agent.NewAgent(a.t.Link, installer.StubPath).Facts(ctx, q)
	if answered, ok := errors.AsType[*agent.Error](err); ok && answered.Code == agent.CodeProtocol {
		return errors.New("the installer that lies there is too old to be asked")
	}
	if err != nil {
		return err
	}
	a.p.note(func(f *hostFacts) { f.facts = &facts })
	return a.p.json(a.path("system", "facts.json"), facts)
}

// preflight has hosts judged as before a run.
func (b *bundle) preflight() []preflight.Problem {
	var hosts []preflight.Host
	var offsets []time.Duration
	for _, h := range b.hosts {
		if h.facts == nil || !h.HasClock {
			continue
		}
		offsets = append(offsets, h.Offset)
		hosts = append(hosts, preflight.Host{
			IP: h.Host, Master: h.Role == "master", Begun: true, Facts: *h.facts, Skew: h.Offset, Arch: h.facts.Arch,
			Needs: preflight.Needs{Places: places}, Shielded: true,
		})
	}
	if len(hosts) == 0 {
		return nil
	}
	slices.SortFunc(offsets, cmp.Compare)
	middle := offsets[len(offsets)/2]
	out := preflight.OwnClock(middle)
	for i := range hosts {
		hosts[i].Skew -= middle
		hosts[i].Alone = len(hosts) == 1
		out = append(out, preflight.Judge(hosts[i])...)
	}
	return append(out, preflight.JudgeTogether(hosts, "", preflight.Settings{})...)
}
