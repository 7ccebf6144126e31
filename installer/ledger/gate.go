package ledger

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/Masterminds/semver/v3"

	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/fleet"
	"github.com/sealbuild/sealbuild/installer/journal"
	"github.com/sealbuild/sealbuild/installer/kube"
	"github.com/sealbuild/sealbuild/installer/payload"
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
	if l.UnderWay != nil && l.Recorded != nil && !l.Recorded.MadeWith(l.Payload.Bundle.IndexDigest().String()) {
		if l.Midway, err = l.UnderWay(); err != nil {
			return nil, err
		}
	}
	return slices.Concat(foreign, l.otherVersions(), l.otherSettings()), nil
}

// MeetRecord takes over the record of a master where it knows more than this machine: hosts that another machine has added,
// or the whole cluster. The masters that it names may have a newer one, if the first was away when hosts came or left.
func (l *Ledger) MeetRecord(ctx context.Context) error {
	for {
		found, on, err := l.recordOnHosts(ctx)
		if err != nil || found == nil || l.Recorded != nil && !found.Status.WroteAt().After(l.Recorded.Status.WroteAt()) {
			return err
		}
		if err := l.meet(ctx, found, on); err != nil {
			return err
		}
	}
}

// meet takes over a record that lies on a master.
func (l *Ledger) meet(ctx context.Context, found *installer.Cluster, on *fleet.Target) error {
	l.Recorded = found
	if err := l.findExpelled(found); err != nil {
		return err
	}
	if l.Cluster.Status.Phase == "" && l.Again != nil {
		c, err := l.Again(found)
		if err != nil {
			return fmt.Errorf("the record of cluster %s on %s: %w", l.Cluster.Name, on.IP, err)
		}
		if err := l.nowFor(ctx, c); err != nil {
			return err
		}
		return l.bringKnown(ctx)
	}
	c := *l.Cluster
	c.Hosts = inRecordedOrder(l.stillIn(found, on), l.staying(found.Hosts), !l.Absence.GoOn && !l.Upgrades)
	for _, name := range found.Images {
		if !slices.Contains(c.Kept, name) {
			c.Kept = append(c.Kept, name)
		}
	}
	known := map[string]bool{}
	for _, ip := range found.TakenOut() {
		known[ip] = slices.Contains(found.Buried(), ip)
	}
	c.NoteTakenOut(known)
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
	if l.Payload.Adds() { // the record tells which rootfs the cluster has
		if err := l.Read(ctx); err != nil {
			return err
		}
	}
	return l.bringKnown(ctx)
}

// findExpelled finds hosts that are in the cluster by their own marks, and neither by the record of the masters nor by that
// of this machine: they were taken out while they were away. Their marks say no longer what is so.
func (l *Ledger) findExpelled(found *installer.Cluster) error {
	_, own, err := l.readRecord()
	if err != nil {
		return err
	}
	for _, t := range l.Targets {
		has := func(c *installer.Cluster) bool {
			return c != nil && slices.ContainsFunc(c.Hosts, func(h installer.Host) bool { return h.IP == t.IP })
		}
		if t.InCluster() && !has(found) && !has(own) {
			t.Expelled = true
			l.Report.Infof("%s: it was taken out of cluster %s and has come back as it was; what is left of that is undone before it joins anew", t.IP, l.Cluster.Name)
		}
	}
	return nil
}

// stillIn are the hosts that are wanted, without those that another machine has taken out of the cluster since they were
// recorded here.
func (l *Ledger) stillIn(found *installer.Cluster, on *fleet.Target) []installer.Host {
	var gone []string
	hosts := slices.DeleteFunc(slices.Clone(l.Cluster.Hosts), func(h installer.Host) bool {
		listed := slices.ContainsFunc(found.Hosts, func(f installer.Host) bool { return f.IP == h.IP })
		out := !listed && !h.Recorded.IsZero() && found.Status.WroteAt().After(h.Recorded)
		if out {
			gone = append(gone, h.IP.String())
		}
		return out
	})
	if len(gone) > 0 {
		l.Report.Infof("%s: taken out of cluster %s from another machine, by the record on %s", installer.HostList(gone), l.Cluster.Name, on.IP)
		l.Targets = fleet.Only(l.Targets, func(t *fleet.Target) bool { return !slices.Contains(gone, t.IP.String()) })
	}
	return hosts
}

// staying are hosts without those that leave in this run.
func (l *Ledger) staying(hosts []installer.Host) []installer.Host {
	return slices.DeleteFunc(slices.Clone(hosts), func(h installer.Host) bool {
		return slices.ContainsFunc(l.Cluster.Leaving, func(o installer.Host) bool { return o.IP == h.IP })
	})
}

// inRecordedOrder puts hosts in the order of a record. Other hosts of the record are added, as away if away says so; hosts
// that the record lacks come last.
func inRecordedOrder(hosts, recorded []installer.Host, away bool) []installer.Host {
	var out []installer.Host
	for _, r := range recorded {
		r.Away = away
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

// nowFor makes c the cluster of the run.
func (l *Ledger) nowFor(ctx context.Context, c *installer.Cluster) error {
	for _, h := range c.Hosts {
		if i := slices.IndexFunc(l.Targets, func(t *fleet.Target) bool { return t.IP == h.IP }); i >= 0 {
			l.Targets[i].Host = h
		}
	}
	l.Cluster = c
	return l.Read(ctx)
}

// bringKnown brings the hosts of the cluster into the run that this machine has not known of, unless they are away.
func (l *Ledger) bringKnown(ctx context.Context) error {
	unknown := slices.DeleteFunc(slices.Clone(l.Cluster.Hosts), func(h installer.Host) bool {
		return h.Away || slices.ContainsFunc(l.Targets, func(t *fleet.Target) bool { return t.IP == h.IP })
	})
	if len(unknown) == 0 {
		return nil
	}
	if problems := site.Bring(ctx, l.Site, unknown); len(problems) > 0 {
		return &preflight.Error{Problems: problems}
	}
	return nil
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
		if found == nil || c.Status.WroteAt().After(found.Status.WroteAt()) {
			found, on = c, t
		}
	}
	if found != nil {
		found.MarkRecorded(found)
	}
	return found, on, nil
}

// ForeignAuthorities finds hosts that are in another cluster of the same name.
func (l *Ledger) ForeignAuthorities(ctx context.Context) ([]preflight.Problem, error) {
	name := path.Join(installer.KubeDir, "pki", "ca.crt")
	// One that was taken out and has come back is judged, too: it may be another cluster's.
	joined := fleet.Only(l.All(), func(t *fleet.Target) bool { return t.Looked && t.Journal.Has(journal.KubeadmDone) })
	slices.SortStableFunc(joined, func(a, b *fleet.Target) int { return cmp.Compare(a.Role(), b.Role()) }) // masters first
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
	switch {
	case l.Upgrades || l.Midway: // room upgrade judges them
		return nil
	case l.Payload.Adds():
		return l.unrecorded()
	}
	var out []preflight.Problem
	rootfs, recorded := l.Payload.Rootfs().KubeVersion(), l.Cluster.Status.KubeVersion()
	for _, t := range fleet.Only(l.All(), (*fleet.Target).InCluster) {
		here, brings := t.Journal.Of(journal.Images), l.Share(t).Description()
		switch {
		case here != "" && here != brings:
			out = append(out, l.versionProblem(t.IP.String(), imagesInWords(here), imagesInWords(brings), isUpgrade(kubeIn(here), rootfs)))
		case here == "" && recorded != "" && recorded != rootfs: // an installer that did not write the mark made the cluster
			out = append(out, l.versionProblem(t.IP.String(), "Kubernetes "+recorded, rootfs, isUpgrade(recorded, rootfs)))
		}
	}
	return out
}

// RunningVersions finds hosts whose kubelet has another version than the bundle brings, even if the marks do not say so:
// somebody has changed it by hand, or an upgrade was cut off there, which unfinished says of the mark of a host (empty: it was
// not).
func (l *Ledger) RunningVersions(unfinished func(mark string) string) []preflight.Problem {
	brings := l.Payload.Rootfs().KubeVersion()
	var out []preflight.Problem
	if l.Upgrades {
		return nil
	}
	for _, t := range l.Targets {
		n, there := kube.NodeOf(l.Known, site.KubeHost(t))
		switch {
		case !there || !t.InCluster() || brings == "" || n.Version == "" || n.Version == brings:
		case l.Payload.Adds():
			out = append(out, preflight.Problem{
				Host: t.IP.String(), Check: "version", Message: fmt.Sprintf("kubelet %s runs there, and the record of the cluster says Kubernetes %s", n.Version, brings),
				Remedy: "bring the host back to what the record says, then run this again",
			})
		case unfinished(t.Journal.Of(journal.Upgrade)) != "":
			out = append(out, preflight.Problem{
				Host: t.IP.String(), Check: "version", Verb: "upgrade",
				Message: fmt.Sprintf("kubelet %s runs there, this bundle brings Kubernetes %s: %s", n.Version, brings, unfinished(t.Journal.Of(journal.Upgrade))),
				Remedy:  "run this bundle with the verb `upgrade`, or with `rollback`",
			})
		default:
			out = append(out, l.versionProblem(t.IP.String(), "kubelet "+n.Version+" there", "Kubernetes "+brings, false))
		}
	}
	return out
}

// versionProblem says that the bundle brings something else than runs, and which verb does what may be meant.
func (l *Ledger) versionProblem(host, runs, brings string, newer bool) preflight.Problem {
	p := preflight.Problem{
		Host: host, Check: "version",
		Message: fmt.Sprintf("the cluster runs %s, this bundle brings %s", runs, brings),
		Remedy:  "use the bundle that the cluster was made with, or one that brings the same",
	}
	if newer {
		p.Message, p.Verb = p.Message+": this is an upgrade", "upgrade"
		p.Remedy = "run this bundle with the verb `upgrade` (first with --dry-run, which shows what it does); to go on with what runs, use the bundle that the cluster was made with"
	}
	return p
}

// BringsUpgrade tells whether what a bundle brings is an upgrade of a recorded cluster: a newer Kubernetes, or the same one in
// another rootfs. It asks no host: a rootfs of the same name with other content only the marks of the hosts tell.
func BringsUpgrade(c *installer.Cluster, brings *payload.Payload) bool {
	runs, rootfs := c.Status.KubeVersion(), brings.Rootfs()
	if brings.Adds() || !isUpgrade(runs, rootfs.KubeVersion()) {
		return false
	}
	return runs != rootfs.KubeVersion() || slices.ContainsFunc(c.Status.Mounts, func(m installer.Mount) bool {
		return m.Type == installer.TypeRootfs && !payload.SameImage(m.ImageName, rootfs.Name)
	})
}

// isUpgrade tells whether a bundle with one version of Kubernetes is an upgrade of what runs: it is not older.
func isUpgrade(runs, brings string) bool {
	now, err := semver.NewVersion(runs)
	if err != nil {
		return false
	}
	then, err := semver.NewVersion(brings)
	return err == nil && !then.LessThan(now)
}

// kubeIn is the version of Kubernetes in a mark [journal.Images].
func kubeIn(mark string) string {
	line, _, _ := strings.Cut(mark, "\n")
	if f := strings.Fields(line); len(f) == 3 {
		return f[1]
	}
	return ""
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
	v, brings := l.Cluster.Status.KubeVersion(), l.Payload.Rootfs().KubeVersion()
	if v == "" || v == brings {
		return nil
	}
	p := l.versionProblem("", "Kubernetes "+v, "Kubernetes "+brings, isUpgrade(v, brings))
	return &preflight.Error{Problems: []preflight.Problem{p}}
}
