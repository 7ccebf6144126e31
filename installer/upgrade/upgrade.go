// Package upgrade brings the hosts of a cluster that runs to what a newer bundle brings: first all of it beside what runs, then
// one host after the other. A host that does not live with it gets back what it ran before, and the rest stays as it is.
//
// What a host has come to is told by its mark ([journal.Upgrade]); each function here can be called again after a run that was
// cut off anywhere. rollout.go says in which order hosts follow, host.go what is done on one, gate.go what it has to show, and
// back.go how it goes back.
package upgrade

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/sealbuild/sealbuild/installer/fleet"
	"github.com/sealbuild/sealbuild/installer/hostnet"
	"github.com/sealbuild/sealbuild/installer/hostregistry"
	"github.com/sealbuild/sealbuild/installer/imagedirs"
	"github.com/sealbuild/sealbuild/installer/journal"
	"github.com/sealbuild/sealbuild/installer/members"
	"github.com/sealbuild/sealbuild/installer/payload"
	"github.com/sealbuild/sealbuild/installer/site"
)

// Upgrade brings hosts to what the bundle of the run brings, and back.
type Upgrade struct {
	*site.Site
	Members  members.Members
	Net      hostnet.Net
	Dirs     imagedirs.Dirs
	Registry *hostregistry.Registry

	// DrainTimeout is how long the pods of a host may take to move away; 0 means [DefaultDrain].
	DrainTimeout time.Duration
	// Parallel says how many workers are upgraded at the same time: a number, or a percentage of the workers as 10%; empty
	// means one.
	Parallel string
	// IgnoreChecks are checks that the operator ignores: kubeadm makes some of them, too.
	IgnoreChecks []string
}

// DefaultDrain is how long the pods of a host may take to move away.
const DefaultDrain = 5 * time.Minute

// To is the version of Kubernetes that the bundle brings.
func (u *Upgrade) To() string { return u.Payload.Rootfs().KubeVersion() }

// wanted is what a host is to run, as the mark [journal.Images] says it.
func (u *Upgrade) wanted(t *fleet.Target) string { return u.Share(t).Description() }

// Pending are the hosts of the run in the cluster that do not run yet what the bundle brings, or have not shown that they do.
func (u *Upgrade) Pending() ([]*fleet.Target, error) {
	if u.Payload.Adds() {
		return nil, nil // applications alone: hosts stay as they are
	}
	var out []*fleet.Target
	for _, t := range fleet.Only(u.Targets, (*fleet.Target).InCluster) {
		m, there, err := on(t)
		if err != nil {
			return nil, t.Failed(err)
		}
		settled := !there || m.Stage == done && m.To == u.wanted(t)
		if !settled || t.Journal.Of(journal.Images) != u.wanted(t) {
			out = append(out, t)
		}
	}
	return out, nil
}

// Turned are the hosts that have been upgraded, or are on their way, so that they can go back: the one that came last first.
func (u *Upgrade) Turned() ([]*fleet.Target, error) {
	var out []*fleet.Target
	for _, t := range u.inOrder() {
		m, there, err := on(t)
		if err != nil {
			return nil, t.Failed(err)
		}
		if there && m.To == u.wanted(t) {
			out = append(out, t)
		}
	}
	slices.Reverse(out)
	return out, nil
}

// Begun tells whether an upgrade to what the bundle brings was begun on a host of the cluster.
func Begun(u *Upgrade) (bool, error) {
	turned, err := u.Turned()
	return len(turned) > 0, err
}

// inOrder are the hosts of the cluster in the order in which they follow: masters, the one first from which kubeadm upgrades
// the cluster's configuration, and those that were begun; then workers.
func (u *Upgrade) inOrder() []*fleet.Target {
	rank := func(t *fleet.Target) int {
		m, there, err := on(t)
		switch {
		case err != nil || !there || m.To != u.wanted(t):
			return 2
		case m.First:
			return 0
		}
		return 1
	}
	sorted := func(list []*fleet.Target) []*fleet.Target {
		list = fleet.Only(list, (*fleet.Target).InCluster)
		slices.SortStableFunc(list, func(a, b *fleet.Target) int { return rank(a) - rank(b) })
		return list
	}
	return slices.Concat(sorted(u.Masters()), sorted(u.Workers()))
}

// kubeOf is the version of Kubernetes in the text of a mark [journal.Images].
func kubeOf(images string) string {
	line, _, _ := strings.Cut(images, "\n")
	if f := strings.Fields(line); len(f) == 3 && f[1] != "-" {
		return f[1]
	}
	return ""
}

// alone tells whether the cluster has one host: its pods have nowhere to go.
func (u *Upgrade) alone() bool { return len(u.Cluster.Hosts) == 1 }

// Former is what the cluster had before, by the record that its masters have. The error says that there is none.
func (u *Upgrade) Former() (*payload.Payload, error) {
	if u.Recorded == nil {
		return nil, fmt.Errorf("no master has a record of what cluster %s ran before: a host cannot go back", u.Cluster.Name)
	}
	return payload.Former(u.Recorded)
}
