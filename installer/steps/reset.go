package steps

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/sealbuild/sealbuild/ground/count"
	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/fleet"
	"github.com/sealbuild/sealbuild/installer/journal"
	"github.com/sealbuild/sealbuild/installer/ledger"
	"github.com/sealbuild/sealbuild/installer/preflight"
)

// connectForReset reaches every host. It judges none: a reset is for hosts that a failed installation left behind, too.
func (r *Run) connectForReset(ctx context.Context) (installer.Result, error) {
	r.Payload.OntoCluster = true
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
	if err := meetRootfs(ctx, r); err != nil {
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
	if !begun { // else it was told before
		r.leaving.TellWhole(ctx)
	}
	return installer.Result{Note: count.Of(len(r.Targets), "host")}, nil
}

// planReset tells what the steps that follow would do on each host.
func planReset(r *Run, _ context.Context) (installer.Result, error) {
	for _, t := range slices.Concat(r.Workers(), lastFirst(r)) {
		r.Report.Infof("%s (%s): %s", t.IP, t.Role(), strings.Join(r.clean.Plan(t), "; "))
	}
	return installer.Result{}, nil
}

// lastFirst are the masters in the order in which a reset takes them out.
func lastFirst(r *Run) []*fleet.Target {
	masters := slices.Clone(r.Masters())
	slices.Reverse(masters)
	return masters
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
		begun := t.Journal.Has(journal.KubeadmBegun)
		err := r.clean.Kubernetes(ctx, t, "reset-kubernetes", r.members.LeaveForReset)
		if err == nil && begun {
			r.Changed(t, 1)
		}
		return err
	}
	if err := r.State.Write(ledger.ResetFile, 0o600, []byte(r.Ledger.ResetHosts())); err != nil {
		return installer.Result{}, err
	}
	begun := fleet.Only(r.Targets, func(t *fleet.Target) bool { return t.Journal.Has(journal.KubeadmBegun) })
	if err := r.Each(ctx, r.Workers(), reset); err != nil {
		return installer.Result{}, err
	}
	for _, t := range lastFirst(r) {
		if err := reset(ctx, t); err != nil {
			return installer.Result{}, t.Failed(err)
		}
	}
	return installer.Result{Changes: len(begun)}, nil
}

// cleanHosts runs the clean scripts of the images on every host where the cluster was begun.
func (r *Run) cleanHosts(ctx context.Context) (installer.Result, error) {
	n, err := r.clean.Scripts(ctx, r.Targets)
	if err == nil {
		for _, t := range fleet.Only(r.Targets, (*fleet.Target).Begun) {
			r.Changed(t, 1)
		}
	}
	return installer.Result{Changes: n}, err
}

// removeFiles removes from every host what the installer itself put there, this run's stub at last.
func (r *Run) removeFiles(ctx context.Context) (installer.Result, error) {
	n, err := r.clean.Files(ctx, r.Targets)
	if err != nil {
		return installer.Result{}, err
	}
	return installer.Result{Changes: n}, r.Withdraw(ctx)
}
