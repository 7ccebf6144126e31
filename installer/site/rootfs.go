package site

import (
	"context"
	"fmt"
	"path"
	"slices"

	"github.com/sealbuild/sealbuild/bundle"
	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/fleet"
	"github.com/sealbuild/sealbuild/installer/journal"
	"github.com/sealbuild/sealbuild/installer/payload"
	"github.com/sealbuild/sealbuild/installer/preflight"
)

// Adding is a run whose bundle may have no rootfs: then it adds applications to a cluster that exists. What the rootfs is
// follows from the record, and what its files say is read on a control plane, where they lie as they are in force.
type Adding struct{ *Site }

// rootfsFiles are the files of the rootfs that say how the cluster is: what kubeadm was told, how the registry speaks, and
// whether units unset proxies.
var rootfsFiles = []string{kubeadmFile, "etc/registry_config.yml", "etc/containerd.service", "etc/kubelet.service"}

// firstRootfs is what an operator does who has applications and no cluster for them.
const firstRootfs = "make the cluster with a bundle that holds a rootfs first, or name a master of the cluster that the applications are for (--masters); then run this one"

// NeedsCluster is the error for a bundle without a rootfs where no cluster is known that it could add to: a *preflight.Error.
func NeedsCluster(b *bundle.Reader, cluster string) error {
	if has, err := payload.HasRootfs(b); has || err != nil {
		return err
	}
	return &preflight.Error{Problems: []preflight.Problem{noCluster(cluster)}}
}

// noCluster is the problem of applications without a cluster to add them to.
func noCluster(cluster string) preflight.Problem {
	return preflight.Problem{
		Check:   "rootfs",
		Message: fmt.Sprintf("this bundle brings no rootfs: it adds applications to a cluster that exists, and there is no record of a cluster %q", cluster),
		Remedy:  firstRootfs,
	}
}

// Clusterless is the error for a run that only adds applications if no record tells to which cluster; nil for every other.
func (a Adding) Clusterless() error {
	if a.Payload.Adds() && a.Payload.Rootfs().Name == "" {
		return &preflight.Error{Problems: []preflight.Problem{noCluster(a.Cluster.Name)}}
	}
	return nil
}

// MeetRootfs finds out what the cluster has of its rootfs if the bundle brings none, once the record of the masters was met.
// before is the name of the rootfs when the hosts were looked at; they are looked at again if it was not known then. The
// problems keep applications from being added, and cannot be ignored.
func (a Adding) MeetRootfs(ctx context.Context, before string) ([]preflight.Problem, error) {
	if a.Payload.Rootfs().Name == "" {
		return []preflight.Problem{noCluster(a.Cluster.Name)}, nil
	}
	if a.Recorded == nil && len(a.ControlPlanes()) > 0 {
		return []preflight.Problem{{
			Check: "rootfs", Message: fmt.Sprintf("no master has a record of cluster %s: its installation has not come to an end, and this bundle only adds applications", a.Cluster.Name),
			Remedy: "run the bundle with " + a.Payload.Rootfs().Name + " until it succeeds; then run this one",
		}}, nil
	}
	var problems []preflight.Problem
	for _, t := range fleet.Only(a.Targets, func(t *fleet.Target) bool { return t.Looked }) {
		p := preflight.Problem{Host: t.IP.String(), Check: "rootfs", Remedy: "run the bundle with " + a.Payload.Rootfs().Name + ", with which the cluster was made; then run this one"}
		switch {
		case !t.Joined():
			p.Message = fmt.Sprintf("it is not in cluster %s, and a new host needs the bundle with the rootfs: this one only adds applications", a.Cluster.Name)
		case !t.Journal.Has(journal.Init):
			p.Message = "its setup was begun anew and has not come to an end, which needs the bundle with the rootfs: this one only adds applications"
		default:
			continue
		}
		problems = append(problems, p)
	}
	if len(problems) > 0 {
		return problems, nil
	}
	if before != a.Payload.Rootfs().Name {
		if problems = a.LookAtHosts(ctx, fleet.Only(a.Targets, func(t *fleet.Target) bool { return t.Connected })); len(problems) > 0 {
			return problems, nil
		}
	}
	return nil, a.ReadRootfs(ctx)
}

// ReadRootfs reads from a control plane, or from another host that has it, what the files of the rootfs say there. more are the
// paths below the rootfs of files that are read, too.
func (a Adding) ReadRootfs(ctx context.Context, more ...string) error {
	for _, t := range a.Targets {
		var err error
		if t.Variant == nil {
			continue
		}
		if t.Variant, err = a.Payload.For(ctx, t.Arch); err != nil {
			return t.Failed(err)
		}
	}
	hosts := slices.Concat(a.ControlPlanes(), fleet.Only(a.Targets, func(t *fleet.Target) bool { return t.Begun() && !t.Journal.Has(journal.Cleaned) }))
	if len(hosts) == 0 {
		return nil
	}
	names := slices.Concat(rootfsFiles, more)
	var paths []string
	for _, name := range names {
		paths = append(paths, path.Join(a.Payload.RootfsDir(), name))
	}
	found, err := hosts[0].Agent.ReadFiles(ctx, paths)
	if err != nil {
		return hosts[0].Failed(fmt.Errorf("read what the rootfs is there: %w", err))
	}
	files := map[string][]byte{}
	for n, name := range names {
		if text, ok := found[paths[n]]; ok {
			files[name] = text
		}
	}
	a.Payload.ReadFromHost(files)
	return nil
}

// newConfigs are the Config documents that are not recorded yet. Recorded ones may be for files of the rootfs.
func (a Adding) newConfigs() []installer.Config {
	return slices.DeleteFunc(slices.Clone(a.Cluster.Configs), func(c installer.Config) bool {
		return a.Recorded != nil && slices.Contains(a.Recorded.Configs, c)
	})
}

// CommandGiven tells whether the command that replaces that of an application was given for this run. One that was recorded
// belongs to an application of an earlier bundle.
func (a Adding) CommandGiven() bool {
	if len(a.Cluster.Command) == 0 {
		return false
	}
	return !a.Payload.Adds() || !slices.Equal(a.Cluster.Command, a.Recorded.Command)
}

// CommandOf gives CMD of an image in this run: what was given for the last one, what was given for it when it was added, or
// its own.
func (a Adding) CommandOf(i *payload.Image) []string {
	all := a.Payload.Images
	if last := all[len(all)-1]; i.Name == last.Name && a.CommandGiven() {
		return a.Cluster.Command
	}
	if kept := a.Cluster.CommandFor(i.Name); kept != nil {
		return kept
	}
	return i.Cmd
}

// hasAll tells whether the cluster has all images of the bundle by its record.
func (a Adding) hasAll() bool {
	return !slices.ContainsFunc(a.Payload.Brought(), func(i *payload.Image) bool { return !slices.Contains(a.Cluster.Kept, i.Name) })
}
