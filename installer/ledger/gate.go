package ledger

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/fleet"
	"github.com/sealbuild/sealbuild/installer/journal"
	"github.com/sealbuild/sealbuild/installer/kube"
	"github.com/sealbuild/sealbuild/installer/preflight"
	"github.com/sealbuild/sealbuild/installer/site"
)

// Compare holds what is wanted against the record that the masters have, and against what is on the hosts. Every command
// does so before it changes anything. The problems cannot be ignored.
func (l *Ledger) Compare(ctx context.Context) ([]preflight.Problem, error) {
	if err := l.MeetRecord(ctx); err != nil {
		return nil, err
	}
	foreign, err := l.ForeignAuthorities(ctx)
	if err != nil {
		return nil, err
	}
	return slices.Concat(foreign, l.otherVersions(), l.otherSettings()), nil
}

// MeetRecord takes over the record of a master where it knows more than this machine: hosts that another machine has added,
// or the whole cluster.
func (l *Ledger) MeetRecord(ctx context.Context) error {
	found, on, err := l.recordOnHosts(ctx)
	if err != nil || found == nil {
		return err
	}
	l.Recorded = found
	if l.Cluster.Status.Phase == "" && l.Again != nil {
		c, err := l.Again(found)
		if err != nil {
			return fmt.Errorf("the record of cluster %s on %s: %w", l.Cluster.Name, on.IP, err)
		}
		return l.nowFor(ctx, c)
	}
	c := *l.Cluster
	c.Hosts = inRecordedOrder(c.Hosts, found.Hosts)
	for _, name := range found.Images {
		if !slices.Contains(c.Kept, name) {
			c.Kept = append(c.Kept, name)
		}
	}
	if c.Status.Phase == "" {
		c.Created, c.Status = found.Created, found.Status
	}
	for _, m := range found.Status.Mounts {
		if !slices.ContainsFunc(c.Status.Mounts, func(o installer.Mount) bool { return o.ImageName == m.ImageName }) {
			c.Status.Mounts = append(slices.Clone(c.Status.Mounts), m)
		}
	}
	if err := c.Complete(); err != nil {
		return fmt.Errorf("the record of cluster %s on %s: %w", l.Cluster.Name, on.IP, err)
	}
	l.Cluster = &c
	if l.Payload.Adds() {
		return l.Read(ctx) // it tells which rootfs the cluster has
	}
	return nil
}

// inRecordedOrder puts hosts in the order of a record. Other hosts of the record are added as away; hosts that the record
// lacks come last.
func inRecordedOrder(hosts, recorded []installer.Host) []installer.Host {
	var out []installer.Host
	for _, r := range recorded {
		r.Away = true
		if i := slices.IndexFunc(hosts, func(h installer.Host) bool { return h.IP == r.IP }); i >= 0 {
			r = hosts[i]
		}
		out = append(out, r)
	}
	for _, h := range hosts {
		if !slices.ContainsFunc(recorded, func(r installer.Host) bool { return r.IP == h.IP }) {
			out = append(out, h)
		}
	}
	return out
}

// nowFor makes c the cluster of the run. The hosts to work on stay the same.
func (l *Ledger) nowFor(ctx context.Context, c *installer.Cluster) error {
	for _, h := range c.Hosts {
		i := slices.IndexFunc(l.Targets, func(t *fleet.Target) bool { return t.IP == h.IP })
		switch {
		case i >= 0:
			l.Targets[i].Host = h
		case !h.Away:
			return fmt.Errorf("host %s is in cluster %s and was not named: name it too", h.IP, c.Name)
		}
	}
	l.Cluster = c
	return l.Read(ctx)
}

// recordOnHosts reads the newest record of the masters that are in the cluster, and tells on which it lies; nil if none has
// one.
func (l *Ledger) recordOnHosts(ctx context.Context) (found *installer.Cluster, on *fleet.Target, err error) {
	name := RecordOnMaster(l.Cluster.Name)
	for _, t := range l.ControlPlanes() {
		files, err := t.Agent.ReadFiles(ctx, []string{name})
		if err != nil {
			return nil, nil, fmt.Errorf("read the record of the cluster: %w", err)
		}
		text, ok := files[name]
		if !ok {
			continue // its installation has not come to an end
		}
		c, err := installer.ParseClusterfile(t.IP.String()+":"+name, text)
		if err != nil {
			return nil, nil, fmt.Errorf("read the record of the cluster: %w", err)
		}
		if found == nil || wroteAt(c).After(wroteAt(found)) {
			found, on = c, t
		}
	}
	return found, on, nil
}

// wroteAt is when a record was written.
func wroteAt(c *installer.Cluster) (last time.Time) {
	for _, condition := range c.Status.Conditions {
		if t, err := time.Parse(time.RFC3339, condition.LastHeartbeatTime); err == nil && t.After(last) {
			last = t
		}
	}
	return last
}

// ForeignAuthorities finds hosts that are in another cluster of the same name.
func (l *Ledger) ForeignAuthorities(ctx context.Context) ([]preflight.Problem, error) {
	name := path.Join(installer.KubeDir, "pki", "ca.crt")
	joined := fleet.Only(slices.Concat(l.Masters(), l.Workers()), (*fleet.Target).InCluster)
	has := make([][]byte, len(joined))
	err := l.Each(ctx, joined, func(ctx context.Context, t *fleet.Target) error {
		found, err := t.Agent.ReadFiles(ctx, []string{name})
		has[slices.Index(joined, t)] = found[name]
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read the cluster's authority: %w", err)
	}
	own, err := os.ReadFile(l.State.Path("pki", "ca.crt"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	from := l.State.Dir
	var out []preflight.Problem
	for i, t := range joined {
		switch {
		case len(has[i]) == 0: // the file was lost; this run puts it back
		case own == nil:
			own, from = has[i], t.IP.String()
		case !bytes.Equal(own, has[i]):
			out = append(out, preflight.Problem{
				Host: t.IP.String(), Check: "another-cluster",
				Message: fmt.Sprintf("it is in another cluster that is named %s, too: its certificate authority is not the one of %s", l.Cluster.Name, from),
				Remedy:  "use another --cluster name here; or, for that other cluster, run this where it was made, or with SEALOS_RUNTIME_ROOT=DIR of its own",
			})
		}
	}
	return out, nil
}

// otherVersions finds hosts of the cluster whose rootfs or patches are others than the bundle brings: of another version of
// Kubernetes, or of another build.
func (l *Ledger) otherVersions() []preflight.Problem {
	if l.Payload.Adds() {
		return l.unrecorded()
	}
	var out []preflight.Problem
	rootfs, recorded := l.Payload.Rootfs().KubeVersion(), l.Cluster.Status.KubeVersion()
	for _, t := range fleet.Only(l.Targets, (*fleet.Target).InCluster) {
		here, brings := t.Journal.Of(journal.Images), l.Share(t).Description()
		switch {
		case here != "" && here != brings:
			out = append(out, versionProblem(t.IP.String(), imagesInWords(here), imagesInWords(brings)))
		case here == "" && recorded != "" && recorded != rootfs: // an installer that did not write the mark made the cluster
			out = append(out, versionProblem(t.IP.String(), "Kubernetes "+recorded, rootfs))
		}
	}
	return out
}

// RunningVersions finds hosts whose kubelet has another version than the bundle brings, even if the marks do not say so:
// somebody has changed it by hand.
func (l *Ledger) RunningVersions() []preflight.Problem {
	brings := l.Payload.Rootfs().KubeVersion()
	var out []preflight.Problem
	for _, t := range l.Targets {
		n, there := kube.NodeOf(l.Known, site.KubeHost(t))
		switch {
		case !there || !t.InCluster() || brings == "" || n.Version == "" || n.Version == brings:
		case l.Payload.Adds():
			out = append(out, preflight.Problem{
				Host: t.IP.String(), Check: "version", Message: fmt.Sprintf("kubelet %s runs there, and the record of the cluster says Kubernetes %s", n.Version, brings),
				Remedy: "bring the host back to what the record says, then run this again",
			})
		default:
			out = append(out, versionProblem(t.IP.String(), "kubelet "+n.Version+" there", "Kubernetes "+brings))
		}
	}
	return out
}

func versionProblem(host, runs, brings string) preflight.Problem {
	return preflight.Problem{
		Host: host, Check: "version",
		Message: fmt.Sprintf("the cluster runs %s, this bundle brings %s", runs, brings),
		Remedy:  "use the bundle that the cluster was made with, or one that brings the same; changing what runs will be `upgrade`, which this version does not have",
	}
}

// imagesInWords says in words what the mark journal.Images says.
func imagesInWords(mark string) string {
	var out []string
	for line := range strings.Lines(mark) {
		f := strings.Fields(line)
		if len(f) != 3 {
			continue
		}
		text := fmt.Sprintf("%s (%.19s…)", f[2], f[0])
		if f[1] != "-" {
			text = "Kubernetes " + f[1] + " of " + text
		}
		out = append(out, text)
	}
	return strings.Join(out, " with ")
}

// RecordedVersion is an error if the record says another version of Kubernetes than the bundle brings. It asks no host.
func (l *Ledger) RecordedVersion() error {
	v := l.Cluster.Status.KubeVersion()
	if v == "" || v == l.Payload.Rootfs().KubeVersion() {
		return nil
	}
	return &preflight.Error{Problems: []preflight.Problem{versionProblem("", "Kubernetes "+v, "Kubernetes "+l.Payload.Rootfs().KubeVersion())}}
}
