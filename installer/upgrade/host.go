package upgrade

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/agent"
	"github.com/sealbuild/sealbuild/installer/fleet"
	"github.com/sealbuild/sealbuild/installer/journal"
	kubeadmdocs "github.com/sealbuild/sealbuild/installer/kubeadm"
	"github.com/sealbuild/sealbuild/installer/preflight"
	"github.com/sealbuild/sealbuild/installer/settings"
	"github.com/sealbuild/sealbuild/installer/site"
)

// turn brings one host to what the bundle brings, and has it show that it lives with that. If it does not, it gets back what it
// ran before, and the error says both. A run that is cut off leaves the host where it is: the next one goes on.
func (u *Upgrade) turn(ctx context.Context, t *fleet.Target, step string) error {
	m, err := u.begin(ctx, t, step)
	if err != nil {
		return err
	}
	u.Report.Infof("%s: %s", t.IP, u.inWords(t, m))
	leave, err := u.quiet(ctx, t, m, step)
	if err != nil {
		if ctx.Err() == nil && m.Stage == begun { // nothing of it was changed
			err = errors.Join(err, t.Journal.Drop(ctx, journal.Upgrade))
		}
		return err
	}
	since, err := u.forward(ctx, t, &m, step)
	if err == nil {
		err = doing(u, t, "shows that it lives with "+u.To(), func() error { return u.gate().settles(ctx, t, u.To(), since) })
	}
	if err != nil {
		if ctx.Err() != nil {
			return err
		}
		return u.failed(ctx, t, m, step, leave, err)
	}
	if err := leave(ctx); err != nil {
		return err
	}
	if err := u.Members.ClearKubeadmCopies(ctx, t); err != nil {
		return err
	}
	return m.to(ctx, t, done)
}

// inWords says what becomes of a host.
func (u *Upgrade) inWords(t *fleet.Target, m mark) string {
	what := fmt.Sprintf("%s → %s", cmp.Or(m.Kube, "Kubernetes"), u.To())
	if m.Kube == u.To() {
		what = u.To() + " with another rootfs"
	}
	if m.Stage != begun {
		what += ", where an earlier run was cut off"
	}
	return what
}

// begin keeps what a host has before it is changed, and marks that the upgrade has begun there. A host that was cut off on its
// way back goes back first.
func (u *Upgrade) begin(ctx context.Context, t *fleet.Target, step string) (mark, error) {
	m, there, err := on(t)
	if err != nil {
		return m, err
	}
	if there && m.Stage == back {
		if err := u.Back(ctx, t, step); err != nil {
			return m, err
		}
		there = false
	}
	if there && m.Stage != done {
		if m.To != u.wanted(t) {
			return m, fmt.Errorf("an upgrade to %s was begun there: finish it with its own bundle, or take it back with `rollback`", kubeOf(m.To))
		}
		return m, nil
	}
	if err := u.keeper().keep(ctx, t); err != nil {
		return m, err
	}
	if t.Master {
		if err := keepAddons(ctx, u, t); err != nil {
			return m, err
		}
	}
	m = mark{From: t.Journal.Of(journal.Images), To: u.wanted(t), Kube: u.versionOf(t)}
	return m, m.to(ctx, t, begun)
}

// quiet moves away from a host whatever would notice that it is disturbed: the lead of etcd, new connections to its API server,
// and its pods. leave takes that back. If it does not succeed it has taken back itself what it did.
func (u *Upgrade) quiet(ctx context.Context, t *fleet.Target, m mark, step string) (leave func(context.Context) error, err error) {
	undo := []func(context.Context) error{}
	leave = func(ctx context.Context) error {
		var errs []error
		for i := len(undo) - 1; i >= 0; i-- { // each of them, whatever became of the others
			errs = append(errs, undo[i](ctx))
		}
		return errors.Join(errs...)
	}
	withheld := false
	defer func() {
		if err != nil && withheld && ctx.Err() == nil { // care finds out itself whether the API server is ready
			err = errors.Join(err, u.Net.CareFollows(ctx, u.Workers()))
		}
	}()
	changes := m.Kube != u.To()
	if t.Master && changes && len(u.Cluster.Masters()) > 1 {
		// In between, its member may be what an earlier run has stopped; then it leads nothing.
		if err := u.Members.GiveUpLeadership(ctx, t); err != nil && (m.Stage == begun || m.Stage == done) {
			return leave, err
		}
		withheld = true
		undo = append(undo, func(ctx context.Context) error { return u.Net.Release(ctx, t, min(gatePatience, u.Timeout)) })
		if err := doing(u, t, "gets no new API connections", func() error { return u.Net.Withhold(ctx, t) }); err != nil {
			return leave, err
		}
	}
	if u.alone() || !changes {
		return leave, nil
	}
	undo = append(undo, func(ctx context.Context) error { return u.Readmit(ctx, t.NodeName()) })
	return leave, doing(u, t, "its pods move to other hosts", func() error {
		return u.Evacuate(ctx, cmp.Or(u.DrainTimeout, DefaultDrain), t.NodeName())
	})
}

// doing tells what a host is at while something is done.
func doing(u *Upgrade, t *fleet.Target, what string, do func() error) error {
	work := u.Report.Does(t.IP.String(), what, 0)
	err := do()
	work.End(err)
	return err
}

// forward exchanges what a host runs.
func (u *Upgrade) forward(ctx context.Context, t *fleet.Target, m *mark, step string) (since restarted, err error) {
	if m.Stage == begun { // what a host has gone back from may not lie beside any more
		if _, _, err := u.Dirs.Stage(ctx, t, u.RootfsDir()); err != nil {
			return since, fmt.Errorf("unpack the new rootfs beside the one in use: %w", err)
		}
	}
	if _, err := u.Dirs.Switch(ctx, t, u.RootfsDir()); err != nil {
		return since, fmt.Errorf("put the new rootfs in its place: %w", err)
	}
	if m.Stage == begun || m.Stage == kubeadm {
		if err := u.runKubeadm(ctx, t, m, step); err != nil {
			return since, err
		}
	}
	if err := u.runScripts(ctx, t, step); err != nil {
		return since, err
	}
	return u.restartKubelet(ctx, t, *m, step)
}

// runKubeadm has the kubeadm of the new rootfs upgrade a host, unless Kubernetes stays as it is. On the first host it upgrades the
// documents of the cluster, too. The add-ons follow once all masters have ([Upgrade.AddonsFollow]).
func (u *Upgrade) runKubeadm(ctx context.Context, t *fleet.Target, m *mark, step string) error {
	if m.Kube == u.To() {
		return m.to(ctx, t, turned)
	}
	if m.Stage == kubeadm {
		u.Report.Infof("%s: kubeadm was interrupted there; it begins again", t.IP)
	}
	if err := u.keeper().mendManifests(ctx, t); err != nil {
		return fmt.Errorf("put manifests back that an interrupted kubeadm has moved away: %w", err)
	}
	flags, err := u.kubeadmFlags(t)
	if err != nil {
		return err
	}
	argv := []string{path.Join(u.RootfsDir(), "bin", "kubeadm"), "upgrade", "node"}
	if t.Master {
		if m.Stage == begun && len(u.Cluster.Masters()) > 1 {
			if err := doing(u, t, "its API server ends in order", func() error { return u.endAPI(ctx, t) }); err != nil {
				return err
			}
		}
		serves := func(ctx context.Context) error { return u.gate().serves(ctx, t) }
		if err := doing(u, t, "its API server starts", func() error { return u.gate().insist(ctx, serves) }); err != nil {
			return fmt.Errorf("its API server: %w", err)
		}
		first, err := u.isFirst(ctx, t, m)
		if err != nil {
			return err
		}
		if first {
			argv = append(argv[:2], "apply", u.To(), "--yes")
		}
		m.First = first
	}
	if m.First {
		if err := settings.ForgetMaps(ctx, u.Site); err != nil {
			return err
		}
	}
	if err := m.to(ctx, t, kubeadm); err != nil {
		return err
	}
	// Its settings are kubeadm's now: what this installer has noted of them says no more what somebody has changed.
	if err := t.Journal.Drop(ctx, journal.Settings); err != nil {
		return err
	}
	after := *m
	after.Stage = turned
	run := agent.ExecRequest{Argv: append(argv, flags...), Then: []agent.File{t.Journal.File(journal.Upgrade, after.text())}}
	if _, err := u.ExecWith(ctx, t, step, run); err != nil {
		return err
	}
	*m = after
	t.Journal.Note(journal.Upgrade, after.text())
	return nil
}

const apiServer = "kube-apiserver"

// endPatience is how long an API server may take to end: it refuses new requests first, and serves those under way.
const endPatience = 45 * time.Second

// endAPI has the API server of a master end in order and start anew. New connections do not come to it any more, and those that it
// has move to the others when it ends. Otherwise they would hang while kubeadm exchanges the etcd beside it, which takes longer
// than the cluster believes in a kubelet that is not heard of (seen on real hosts).
func (u *Upgrade) endAPI(ctx context.Context, t *fleet.Target) error {
	if _, err := t.Agent.WriteFiles(ctx, []agent.File{{Path: manifest(apiServer), Remove: true}}); err != nil {
		return fmt.Errorf("end its API server: %w", err)
	}
	err := installer.Insist(ctx, min(endPatience, u.Timeout), func(ctx context.Context) error {
		f, err := t.Agent.Facts(ctx, agent.FactsRequest{Lean: true, Programs: []string{apiServer}})
		if err == nil && f.Programs[apiServer] {
			err = errors.New("kubelet has not ended it")
		}
		return err
	})
	if ctx.Err() != nil {
		return err // the next run puts it back
	}
	if err != nil {
		u.Report.Warnf("%s: its API server does not end by itself; what is connected to it may hang for a moment: %s", t.IP, installer.TellAt(err, t.IP.String()))
	}
	return u.keeper().mendManifests(ctx, t)
}

// kubeadmFlags are those of `kubeadm upgrade` on a host. This installer alone makes certificates. What kubeadm was
// told to overlook when the host joined it overlooks again: its own documents do not keep that.
func (u *Upgrade) kubeadmFlags(t *fleet.Target) ([]string, error) {
	kinds := []kubeadmdocs.Kind{kubeadmdocs.JoinNode}
	if t.Master {
		kinds = []kubeadmdocs.Kind{kubeadmdocs.Init, kubeadmdocs.JoinMaster}
	}
	var ignored []string
	for _, kind := range kinds {
		docs, err := site.WantedOf(u.Site, kind, t, false)
		if err != nil {
			return nil, err
		}
		ignored = append(ignored, docs.Ignored()...)
	}
	if slices.Contains(u.IgnoreChecks, "corefile") {
		ignored = append(ignored, "CoreDNSUnsupportedPlugins", "CoreDNSMigration")
	}
	slices.Sort(ignored)
	flags := []string{"--certificate-renewal=false", skipAddons}
	if len(ignored) > 0 {
		flags = append(flags, "--ignore-preflight-errors="+strings.Join(slices.Compact(ignored), ","))
	}
	return flags, nil
}

// isFirst tells whether kubeadm has to upgrade the documents of the cluster from this master: they do not name the new version
// yet, or that work was begun here.
func (u *Upgrade) isFirst(ctx context.Context, t *fleet.Target, m *mark) (bool, error) {
	if m.First {
		return true, nil
	}
	raw, err := u.keeper().configMap(ctx, "kubeadm-config")
	if err != nil {
		return false, err
	}
	return clusterVersion(raw) != u.To(), nil
}

// scriptMarks are the marks of the scripts that set a host up.
func scriptMarks() []string { return []string{journal.Registry, journal.Init} }

// runScripts runs the scripts of the new rootfs that set up the registry of a master, the container runtime and kubelet.
func (u *Upgrade) runScripts(ctx context.Context, t *fleet.Target, step string) error {
	shown, _, err := u.Registry.FilesOf(ctx, t)
	if err != nil {
		return err
	}
	if t.Master {
		if _, err := u.Registry.Start(ctx, t, shown); err != nil {
			return err
		}
	}
	setUp := u.Dirs.SetUp(t, u.Share(t))
	_, err = t.Journal.Under(ctx, journal.Init, setUp.Inputs, func(w *journal.Work) error {
		_, err := u.Dirs.RunSetUp(ctx, t, step, setUp, w.ByHost)
		return err
	})
	return err
}

// restartKubelet starts the kubelet that lies on the host now. One of another minor version starts all static pods anew, etcd among
// them, so etcd's leadership moves away before.
func (u *Upgrade) restartKubelet(ctx context.Context, t *fleet.Target, m mark, step string) (since restarted, err error) {
	if t.Master && preflight.MinorOf(m.Kube) != preflight.MinorOf(u.To()) {
		err := installer.Insist(ctx, u.APIPatience(), func(ctx context.Context) (err error) {
			since.hashes, err = u.gate().hashes(ctx, t)
			return err
		})
		if err == nil && t.EtcdManifest != "" {
			err = installer.Insist(ctx, u.APIPatience(), func(ctx context.Context) error { return u.Members.GiveUpLeadership(ctx, t) })
		}
		if err != nil && ctx.Err() == nil {
			u.Report.Warnf("%s: before its kubelet starts anew: %s", t.IP, installer.TellAt(err, t.IP.String()))
		}
	}
	since.at = time.Now()
	for _, args := range [][]string{{"daemon-reload"}, {"restart", "kubelet"}} {
		if _, err := u.Exec(ctx, t, step, append([]string{"systemctl"}, args...)...); err != nil {
			return since, fmt.Errorf("start the new kubelet: %w", err)
		}
	}
	since.starts = fleet.KubeletStarts(ctx, t)
	return since, nil
}

// failed puts a host back that did not pass its gate, and says what became of it.
func (u *Upgrade) failed(ctx context.Context, t *fleet.Target, m mark, step string, leave func(context.Context) error, cause error) error {
	u.Report.Warnf("%s: it does not live with %s, and goes back: %s", t.IP, u.To(), installer.TellAt(cause, t.IP.String()))
	if err := u.putBack(ctx, t, &m, step); err != nil {
		return fmt.Errorf("it does not live with %s: %w\n  It could not be put back: %s\n  Mend what is said, then run `rollback`, or the same command again", u.To(), cause, installer.TellAt(err, t.IP.String()))
	}
	if err := leave(ctx); err != nil {
		return errors.Join(cause, err)
	}
	return fmt.Errorf("it does not live with %s, and was given back what it ran before (%s): %w\n  All other hosts are as they were. Mend the cause, then run the same command again; or take the whole upgrade back with `rollback`", u.To(), cmp.Or(m.Kube, "Kubernetes"), cause)
}
