package steps

import (
	"context"
	"fmt"
	"path"
	"slices"

	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/agent"
	"github.com/sealbuild/sealbuild/installer/fleet"
	"github.com/sealbuild/sealbuild/installer/journal"
	"github.com/sealbuild/sealbuild/installer/kubeadm"
	"github.com/sealbuild/sealbuild/installer/ledger"
	"github.com/sealbuild/sealbuild/installer/preflight"
)

// connectForReset reaches every host. It judges none: a reset is for hosts that a failed installation left behind, too.
func (r *Run) connectForReset(ctx context.Context) (installer.Result, error) {
	if err := r.Load(ctx); err != nil {
		return installer.Result{}, err
	}
	if err := refused(r.Open(ctx), nil); err != nil {
		return installer.Result{}, err
	}
	// Versions are not compared: another bundle than the one that made the cluster can reset it, too.
	if err := r.Ledger.MeetRecord(ctx); err != nil {
		return installer.Result{}, err
	}
	if err := refused(r.notNamed(), nil); err != nil {
		return installer.Result{}, err
	}
	if err := refused(r.Ledger.ForeignAuthorities(ctx)); err != nil {
		return installer.Result{}, err
	}
	if err := r.secrets.Settle(ctx); err != nil {
		return installer.Result{}, err
	}
	begun, err := r.Ledger.ResetBegun()
	if err != nil {
		return installer.Result{}, err
	}
	ours := 0
	for _, t := range r.Targets {
		switch {
		case t.Begun():
			ours++
		case !begun: // else this reset has cleaned the host before
			r.Report.Warnf("%s: cluster %s was never begun there; the host is left as it is", t.IP, r.Cluster.Name)
		}
	}
	if ours == 0 && begun {
		return installer.Result{Note: "the hosts are clean already"}, nil
	}
	if ours == 0 {
		return installer.Result{}, fmt.Errorf("none of the hosts belongs to cluster %s: nothing was done (name its hosts with --masters and --nodes)", r.Cluster.Name)
	}
	return installer.Result{Note: fmt.Sprintf("%d hosts", len(r.Targets))}, r.State.Write(ledger.ResetFile, 0o600, []byte(r.Ledger.ResetHosts()))
}

// notNamed gives a problem for each host that is in the record of a master and not among the hosts of this reset.
func (r *Run) notNamed() []preflight.Problem {
	var out []preflight.Problem
	for _, ip := range r.Cluster.Away() {
		if !slices.Contains(r.LeaveOut, ip) {
			out = append(out, preflight.Problem{
				Host: ip, Check: "record", Message: "it is in cluster " + r.Cluster.Name + " by the record of a master, and is not among the hosts of this reset",
				Remedy: "name every host of the cluster; one that is dead is left out with --leave-out ADDRESS",
			})
		}
	}
	return out
}

// resetKubernetes takes hosts out of the cluster: workers at once, then masters from the last to the first, so that etcd
// shrinks by one member at a time.
func (r *Run) resetKubernetes(ctx context.Context) (installer.Result, error) {
	reset := func(ctx context.Context, t *fleet.Target) error {
		if !t.Journal.Has(journal.KubeadmBegun) {
			return nil
		}
		if err := r.members.LeaveForReset(ctx, t); err != nil {
			return err
		}
		if err := r.nodes.Reset(ctx, t, "reset-kubernetes", func() error { return nil }); err != nil {
			return err
		}
		return r.net.EndCare(ctx, t, "reset-kubernetes")
	}
	begun := fleet.Only(r.Targets, func(t *fleet.Target) bool { return t.Journal.Has(journal.KubeadmBegun) })
	if err := r.Each(ctx, r.Workers(), reset); err != nil {
		return installer.Result{}, err
	}
	for _, t := range slices.Backward(r.Masters()) {
		if err := reset(ctx, t); err != nil {
			return installer.Result{}, t.Failed(err)
		}
	}
	return installer.Result{Changes: len(begun)}, nil
}

// cleanScripts runs the clean scripts of the images on every host where the cluster was begun.
func (r *Run) cleanScripts(ctx context.Context) (installer.Result, error) {
	begun := fleet.Only(r.Targets, (*fleet.Target).Begun)
	err := r.Each(ctx, begun, func(ctx context.Context, t *fleet.Target) error {
		if t.Journal.Has(journal.Cleaned) {
			return nil // a reset that was cut off has run them, and may have removed them
		}
		// If an installation follows instead of the rest of this reset, it has to do again what is undone here.
		undone := slices.DeleteFunc(r.Marks(), func(m string) bool { return slices.Contains([]string{journal.Begun, journal.Kubeconfig}, m) })
		if err := t.Journal.Drop(ctx, undone...); err != nil {
			return err
		}
		return r.runCleanScripts(ctx, t)
	})
	return installer.Result{Changes: len(begun)}, err
}

func (r *Run) runCleanScripts(ctx context.Context, t *fleet.Target) error {
	// If the installation was cut off before the scripts came, they have nothing to undo.
	there, err := t.Agent.Exec(ctx, agent.ExecRequest{Argv: []string{"test", "-d", path.Join(r.RootfsDir(), "scripts")}, TimeoutSeconds: 10}, nil)
	if err != nil || there.Code != 0 {
		return err
	}
	keys := []string{"clean", "clean-cri"}
	if t.Master {
		keys = append(keys, "clean-registry")
	}
	for _, key := range keys {
		img, line := r.Share(t).Script(key)
		if line == "" {
			continue
		}
		if err := r.RunRootfsScript(ctx, t, "clean", img, line); err != nil {
			return err
		}
	}
	if err := r.net.RemovePodNetwork(ctx, t); err != nil {
		return fmt.Errorf("remove the network of pods: %w", err)
	}
	return t.Journal.Set(ctx, journal.Cleaned, r.Cluster.Name)
}

// removeFiles removes what the installer itself put on the hosts.
func (r *Run) removeFiles(ctx context.Context) (installer.Result, error) {
	begun := fleet.Only(r.Targets, (*fleet.Target).Begun)
	err := r.Each(ctx, begun, func(ctx context.Context, t *fleet.Target) error {
		if _, err := t.Agent.SetHosts(ctx, nil); err != nil {
			return err
		}
		if err := r.nodes.RemoveKubeconfig(ctx, t); err != nil {
			return err
		}
		if err := r.net.RemoveCare(ctx, t); err != nil {
			return fmt.Errorf("remove the virtual address: %w", err)
		}
		if err := r.net.RemoveServiceRoute(ctx, t); err != nil {
			return err
		}
		if err := r.removeTraces(ctx, t); err != nil {
			return err
		}
		var remove []string
		for _, i := range r.Share(t).Here() {
			// The list of layers goes before the layers, in case an installation follows instead of the rest of this reset.
			remove = append(remove, path.Join(i.Dir, ".layers"))
		}
		if _, err := t.Agent.Tidy(ctx, agent.TidyRequest{Dir: path.Dir(installer.StubPath)}); err != nil { // transfers that were cut off
			return err
		}
		// The journal goes last, with the directory of the cluster: while it is there, a reset that was cut off can be run again.
		// Every run brings the stub anew, so that it can go, too.
		mounted, err := t.Agent.Clear(ctx, agent.ClearRequest{Paths: append(
			remove, r.RootfsDir(), r.Dir("applications"), r.Dir("etc"), r.Dir("cache"), r.Dir("check"), r.Dir(ledger.ClusterfileName), installer.StubPath, r.Dir(),
		)})
		if err != nil {
			return err
		}
		if len(mounted) > 0 {
			r.Report.Warnf("%s: file systems of the site are mounted in %s; they stay as they are: %s", t.IP, r.Dir(), installer.NameSome(mounted))
		}
		t.Journal.Forget()
		return nil
	})
	if err != nil {
		return installer.Result{}, err
	}
	return installer.Result{Changes: len(begun)}, r.Withdraw(ctx)
}

// removeTraces removes what kubeadm, kubelet and pods have left in places that no script of an image cleans.
func (r *Run) removeTraces(ctx context.Context, t *fleet.Target) error {
	if err := r.nodes.Tidy(ctx, t, true); err != nil {
		return err
	}
	for _, q := range []agent.TidyRequest{
		{Dir: kubeadm.AuditLogDir, Known: []string{"audit.log", "audit-*.log", "audit-*.log.gz"}},
		// kubelet names them by namespace, name and id of the pod, and by pod, namespace and container.
		{Dir: "/var/log/pods", Known: []string{"*_*_*"}},
		{Dir: "/var/log/containers", Known: []string{"*_*_*-*.log"}},
	} {
		left, err := t.Agent.Tidy(ctx, q)
		if err != nil {
			return fmt.Errorf("remove the logs of pods: %w", err)
		}
		if len(left) > 0 {
			r.Report.Warnf("%s: these are not the cluster's and stay: %s", t.IP, installer.NameSome(left))
		}
	}
	busy, err := t.Agent.RemovePodCgroups(ctx)
	if err != nil {
		return fmt.Errorf("remove the control groups of pods: %w", err)
	}
	if len(busy) > 0 {
		r.Report.Warnf("%s: processes that are none of the cluster's pods, or that nothing can end, run in control groups of kubelet; these stay until the next boot: %s", t.IP, installer.NameSome(busy))
	}
	return nil
}
