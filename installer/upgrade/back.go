package upgrade

import (
	"context"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/fleet"
	"github.com/sealbuild/sealbuild/installer/journal"
	"github.com/sealbuild/sealbuild/installer/members"
	"github.com/sealbuild/sealbuild/installer/payload"
	"github.com/sealbuild/sealbuild/installer/preflight"
)

// Back gives a host that has a mark of an upgrade what it ran before, and takes from it what kept it quiet.
func (u *Upgrade) Back(ctx context.Context, t *fleet.Target, step string) error {
	m, there, err := on(t)
	if err != nil || !there {
		return err
	}
	u.Report.Infof("%s: back to %s", t.IP, m.Kube)
	leave, err := u.quiet(ctx, t, m, step)
	if err != nil {
		return err
	}
	if err := u.putBack(ctx, t, &m, step); err != nil {
		if ctx.Err() == nil {
			err = fmt.Errorf("it is not back at %s: %w\n  Mend the cause, then run the same command again: it goes on here", m.Kube, err)
		}
		return err
	}
	return leave(ctx)
}

// putBack gives a host its rootfs, the files that kubeadm had changed, and the programs of before, and waits until it lives with
// them. Then it has no mark any more.
func (u *Upgrade) putBack(ctx context.Context, t *fleet.Target, m *mark, step string) (err error) {
	former, err := u.Former()
	if err != nil {
		return err
	}
	if err := u.etcdCanGoBack(ctx, t, *m); err != nil {
		return err
	}
	if err := m.to(ctx, t, back); err != nil {
		return err
	}
	defer func() {
		if err != nil && ctx.Err() == nil {
			err = halfBack(ctx, u, t, *m, step, err)
		}
	}()
	// The new kubelet may not work with the API server of before, which starts as soon as a kubelet sees its manifest.
	if _, err := u.Exec(ctx, t, step, "systemctl", "stop", "kubelet"); err != nil {
		return fmt.Errorf("stop the new kubelet: %w", err)
	}
	if err := u.Dirs.SwitchBack(ctx, t, u.RootfsDir()); err != nil {
		return fmt.Errorf("put the rootfs of before back: %w", err)
	}
	if err := u.keeper().giveBack(ctx, t, nil); err != nil {
		return fmt.Errorf("give kubeadm's files back what they held: %w", err)
	}
	if err := t.Journal.Drop(ctx, append(scriptMarks(), journal.Settings)...); err != nil {
		return err
	}
	if err := u.runFormerScripts(ctx, t, former, step); err != nil {
		return err
	}
	since, err := u.restartKubelet(ctx, t, *m, step)
	if err != nil {
		return err
	}
	if err := u.gate().settles(ctx, t, m.Kube, since); err != nil {
		return err
	}
	if m.First {
		others, err := u.followed(t)
		if err != nil {
			return err
		}
		if !others {
			if err := u.keeper().configMapsBack(ctx, t); err != nil {
				return err
			}
		}
	}
	said, err := u.Dirs.Former(ctx, t, u.RootfsDir())
	if err != nil {
		return err
	}
	for _, name := range scriptMarks() { // they ran with what they ran before
		if text := said[name]; text != "" {
			if err := t.Journal.Set(ctx, name, text); err != nil {
				return err
			}
		}
	}
	return t.Journal.Drop(ctx, journal.Upgrade)
}

// halfBack starts the kubelet of a host that could not be put back, with whatever lies there: without one its pods end, and a
// master serves nobody. The error says what is so.
func halfBack(ctx context.Context, u *Upgrade, t *fleet.Target, m mark, step string, cause error) error {
	is := "Its kubelet runs"
	if _, err := u.Exec(ctx, t, step, "systemctl", "start", "kubelet"); err != nil {
		is = "Its kubelet does not start (" + installer.TellAt(err, t.IP.String()) + ")"
	}
	if m.Kube != u.To() {
		if !u.alone() {
			is += ", new pods are kept away from it"
		}
		if t.Master && len(u.Cluster.Masters()) > 1 {
			is += ", and new API connections, too"
		}
	}
	return fmt.Errorf("%w\n  %s", cause, is)
}

// runFormerScripts has the scripts of the rootfs of before, which is in its place again, set the host up as it was.
func (u *Upgrade) runFormerScripts(ctx context.Context, t *fleet.Target, former *payload.Payload, step string) error {
	files := map[string][]byte{}
	var paths []string
	for _, key := range payload.Scripts() {
		paths = append(paths, path.Join(u.RootfsDir(), "scripts", key+".sh"))
	}
	found, err := t.Agent.ReadFiles(ctx, paths)
	if err != nil {
		return err
	}
	for name, text := range found {
		files[strings.TrimPrefix(name, u.RootfsDir()+"/")] = text
	}
	former.ReadFromHost(files)
	share := u.Share(t)
	share.Payload, share.Variant = former, nil
	if img, line := share.Script("init-registry"); t.Master && line != "" {
		if err := u.RunScript(ctx, t, step, path.Join(u.RootfsDir(), "scripts"), line, share.Env(img)); err != nil {
			return err
		}
	}
	_, err = u.Dirs.RunSetUp(ctx, t, step, u.Dirs.SetUp(t, share), nil)
	return err
}

// followed tells whether another host runs what is new.
func (u *Upgrade) followed(by *fleet.Target) (bool, error) {
	all, err := u.Turned()
	return len(all) > 1 || len(all) == 1 && all[0] != by, err
}

// etcdCanGoBack is an error if the etcd of before could not read what etcd's members have agreed upon since.
func (u *Upgrade) etcdCanGoBack(ctx context.Context, t *fleet.Target, m mark) error {
	if !t.Master || t.EtcdManifest == "" || m.Kube == u.To() {
		return nil
	}
	found, err := t.Agent.ReadFiles(ctx, []string{u.keeper().kept(manifest("etcd"))})
	if err != nil {
		return err
	}
	before := imageVersion(found[u.keeper().kept(manifest("etcd"))])
	if before == "" {
		return nil
	}
	var agreed string
	err = installer.Insist(ctx, u.APIPatience(), func(ctx context.Context) (err error) {
		agreed, err = u.Members.ClusterVersion(ctx)
		return err
	})
	if err != nil {
		u.Report.Warnf("%s: which version etcd's members have agreed upon cannot be asked: %s", t.IP, installer.Tell(err))
		return nil
	}
	return members.CanRunOlder(agreed, before)
}

// TellBack says what a rollback does, a line for each host, and what keeps it from being done.
func (u *Upgrade) TellBack(ctx context.Context) (lines []string, problems []preflight.Problem, err error) {
	turned, err := u.Turned()
	if err != nil {
		return nil, nil, err
	}
	if problems = u.otherUpgrades(); len(problems) > 0 {
		return nil, problems, nil
	}
	pending, err := u.Pending()
	if err != nil || len(turned) == 0 {
		return nil, nil, err
	}
	if _, err := u.Former(); err != nil {
		return nil, preflight.From(err, "record"), nil
	}
	if u.Recorded.MadeWith(u.Payload.Bundle.IndexDigest().String()) {
		return nil, []preflight.Problem{{
			Check: "version", Message: "the upgrade to what this bundle brings has come to its end, and what ran before is not on record any more",
			Remedy: "for the same Kubernetes with the rootfs of before, run `upgrade` of the bundle of before; the state of etcd is in its snapshots in " + u.SnapshotDir() + " on every master",
		}}, nil
	}
	minor := false
	for _, t := range turned {
		m, _, err := on(t)
		if err != nil {
			return nil, nil, err
		}
		minor = minor || preflight.MinorOf(m.Kube) != preflight.MinorOf(u.To())
		if err := u.etcdCanGoBack(ctx, t, m); err != nil {
			problems = append(problems, preflight.From(t.Failed(err), "etcd")...)
		}
		lines = append(lines, fmt.Sprintf("↓ %s %s: %s → %s", t.Role(), t.IP, u.To(), m.Kube))
	}
	if minor && !slices.ContainsFunc(pending, func(t *fleet.Target) bool { return t.Master }) {
		problems = append(problems, preflight.Problem{
			Check: "version", Message: fmt.Sprintf("all masters run %s: the cluster stores what an API server of the minor version before cannot read, and Kubernetes does not go back", u.To()),
			Remedy: "finish the upgrade with `upgrade`; the state of before is in the snapshots of etcd in " + u.SnapshotDir() + " on every master",
		})
	}
	return lines, problems, nil
}

// AllBack gives all hosts back what they ran before, the one that came last first, and stops at the first that does not come up.
func (u *Upgrade) AllBack(ctx context.Context, step string) (int, error) {
	turned, err := u.Turned()
	if err != nil {
		return 0, err
	}
	for n, t := range turned {
		if err := u.Back(ctx, t, step); err != nil {
			return n, t.Failed(err)
		}
		u.Changed(t, 1)
	}
	return len(turned), nil
}
