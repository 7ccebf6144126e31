package upgrade

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/Masterminds/semver/v3"
	"github.com/dustin/go-humanize"

	"github.com/sealbuild/sealbuild/ground/count"
	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/fleet"
	"github.com/sealbuild/sealbuild/installer/journal"
	"github.com/sealbuild/sealbuild/installer/kube"
	"github.com/sealbuild/sealbuild/installer/payload"
	"github.com/sealbuild/sealbuild/installer/preflight"
	"github.com/sealbuild/sealbuild/installer/site"
)

// From is the oldest version of Kubernetes that runs on a host of the cluster: by its Node, else by what the host and the record
// say. It is empty if nothing tells.
func (u *Upgrade) From() string {
	from := ""
	for _, t := range fleet.Only(u.Targets, (*fleet.Target).InCluster) {
		if v := u.versionOf(t); from == "" || older(v, from) {
			from = v
		}
	}
	return cmp.Or(from, u.Cluster.Status.KubeVersion())
}

// versionOf is the version of Kubernetes on a host.
func (u *Upgrade) versionOf(t *fleet.Target) string {
	if n, there := kube.NodeOf(u.Known, site.KubeHost(t)); there && n.Version != "" {
		return n.Version
	}
	return cmp.Or(kubeOf(t.Journal.Of(journal.Images)), u.Cluster.Status.KubeVersion())
}

// Judge finds what keeps the bundle of the run from being what the cluster is upgraded to, by marks and record. What the cluster
// itself says of it is room compat's.
func (u *Upgrade) Judge() []preflight.Problem {
	if len(u.ControlPlanes()) == 0 {
		return []preflight.Problem{{
			Check: "cluster", Message: fmt.Sprintf("no master of a cluster %s is among the hosts that answer: there is nothing to upgrade", u.Cluster.Name),
			Remedy: "name a master that is in the cluster with --masters; a new cluster is made with `run`",
		}}
	}
	problems := u.otherUpgrades()
	for _, t := range u.Targets {
		if !t.InCluster() && t.Looked {
			problems = append(problems, preflight.Problem{
				Host: t.IP.String(), Check: "cluster", Message: "it is not in the cluster, and an upgrade takes in no host",
				Remedy: "upgrade first, then `add` it with the new bundle",
			})
		}
	}
	if u.Payload.Adds() {
		return problems
	}
	return append(problems, u.lackingPatches()...)
}

// otherUpgrades finds hosts on which an upgrade to something else was begun and has not come to its end.
func (u *Upgrade) otherUpgrades() (out []preflight.Problem) {
	for _, t := range fleet.Only(u.Targets, (*fleet.Target).InCluster) {
		m, there, err := on(t)
		switch {
		case err != nil:
			out = append(out, preflight.Problem{Host: t.IP.String(), Check: "version", Message: installer.Tell(err), Remedy: "look at the file; the mark says how far an upgrade has come"})
		case there && m.Stage != done && m.To != u.wanted(t):
			out = append(out, preflight.Problem{
				Host: t.IP.String(), Check: "version", Message: fmt.Sprintf("an upgrade to %s was begun there and has not come to its end", nameOf(m.To)),
				Remedy: "run `upgrade`, or `rollback`, with the bundle that it was begun with",
			})
		}
	}
	return out
}

// older tells whether a version is known, and below another one.
func older(a, b string) bool {
	x, err := semver.NewVersion(a)
	if err != nil {
		return false
	}
	y, err := semver.NewVersion(b)
	return err == nil && x.LessThan(y)
}

// lackingPatches finds patches of the rootfs that the cluster has and the bundle does not bring: they would be lost with the rootfs
// of before.
func (u *Upgrade) lackingPatches() (out []preflight.Problem) {
	for _, m := range u.Cluster.Status.Mounts {
		if m.Type != installer.TypePatch {
			continue
		}
		brings := slices.ContainsFunc(u.Payload.Brought(), func(i *payload.Image) bool {
			return i.Type == installer.TypePatch && payload.Repository(i.Name) == payload.Repository(m.ImageName)
		})
		if !brings {
			out = append(out, preflight.Problem{
				Check: "rootfs", Message: fmt.Sprintf("the cluster has the patch %s, and this bundle brings no version of it", m.ImageName),
				Remedy: "compose a bundle with it: sealbuild bundle " + u.Payload.Rootfs().Name + " " + payload.Repository(m.ImageName) + ":VERSION … -o FILE",
			})
		}
	}
	return out
}

// UnderWay tells whether an upgrade was begun on a host and has not come to its end there.
func (u *Upgrade) UnderWay() bool {
	return slices.ContainsFunc(u.Targets, func(t *fleet.Target) bool { return Unfinished(t.Journal.Of(journal.Upgrade)) != "" })
}

// Mend puts manifests back that a run or a kubeadm which was killed has moved away on masters: without them a cluster of one
// master answers nobody.
func (u *Upgrade) Mend(ctx context.Context) error {
	return u.Each(ctx, u.Masters(), func(ctx context.Context, t *fleet.Target) error {
		if m, there, err := on(t); err != nil || !there || m.Stage == done {
			return err
		}
		return u.keeper().mendManifests(ctx, t)
	})
}

// nameOf says in words what a mark [journal.Images] says.
func nameOf(images string) string {
	line, _, _ := strings.Cut(images, "\n")
	if f := strings.Fields(line); len(f) == 3 {
		return strings.TrimSpace(strings.TrimPrefix(f[1], "-") + " of " + f[2])
	}
	return "another rootfs"
}

// Tell says what an upgrade does, in the order in which it is done: what is brought, a line for each host with the pods that leave
// it, and one for each application.
func (u *Upgrade) Tell(ctx context.Context, sizes payload.Sizes) ([]string, error) {
	pending, err := u.Pending()
	if err != nil {
		return nil, err
	}
	var out []string
	moves := map[string][]string{}
	if len(pending) > 0 {
		out = append(out, fmt.Sprintf("↑ bring beside what runs, at most: %s of rootfs to each host (%d), %s of container images to each registry (%d)",
			humanize.IBytes(uint64(u.Payload.RootfsTravels())), len(pending), humanize.IBytes(uint64(sizes.Registry)), len(u.Cluster.MasterIPs())))
		if moves, err = movesFrom(ctx, u.Kube, pending); err != nil {
			return nil, err
		}
	}
	for _, t := range u.inOrder() {
		if !slices.Contains(pending, t) {
			continue
		}
		from, what := u.versionOf(t), "no pod has to move"
		if names := moves[t.NodeName()]; len(names) > 0 {
			what = fmt.Sprintf("%d of its pods %s to other hosts first: %s", len(names), count.Word(len(names), "moves", "move"), installer.NameSome(names))
		}
		switch {
		case from == u.To():
			what = "another rootfs: its container runtime and kubelet may start anew, pods go on"
		case u.alone():
			what = "its pods stay, and its control plane is away for a moment: the cluster has no other host"
		}
		line := fmt.Sprintf("↑ upgrade %s %s: %s → %s; %s", t.Role(), t.IP, cmp.Or(from, "?"), u.To(), what)
		if m, there, err := on(t); err == nil && there {
			line += fmt.Sprintf(" (begun by an earlier run, which came to %q)", m.Stage)
		}
		out = append(out, line)
	}
	for _, i := range u.Payload.Brought() {
		if i.Type == installer.TypeApplication && !slices.Contains(u.Cluster.Kept, i.Name) {
			out = append(out, "↑ upgrade "+i.Name+": its commands run once all hosts have followed")
		}
	}
	return out, nil
}

// movesFrom are the pods that have to leave hosts, by the name of each one's Node.
func movesFrom(ctx context.Context, c *kube.Client, hosts []*fleet.Target) (map[string][]string, error) {
	var nodes []string
	for _, t := range hosts {
		nodes = append(nodes, t.NodeName())
	}
	pods, err := c.Residents(ctx, nodes)
	if err != nil {
		return nil, fmt.Errorf("ask which pods have to move: %w", err)
	}
	out := map[string][]string{}
	for _, p := range pods {
		out[p.Node] = append(out[p.Node], p.Title())
	}
	return out, nil
}
