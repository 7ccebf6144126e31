package steps

import (
	"context"
	"fmt"

	"github.com/sealbuild/sealbuild/ground/count"
	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/fleet"
	"github.com/sealbuild/sealbuild/installer/members"
	"github.com/sealbuild/sealbuild/installer/preflight"
	"github.com/sealbuild/sealbuild/installer/site"
	"github.com/sealbuild/sealbuild/installer/upgrade"
)

// checkLeaving reaches every host, finds what speaks against the hosts leaving, and asks the operator.
func (r *Run) checkLeaving(ctx context.Context) (installer.Result, error) {
	if err := r.Load(ctx); err != nil {
		return installer.Result{}, err
	}
	problems := r.Open(ctx)
	if len(r.ControlPlanes()) == 0 {
		problems = append(problems, preflight.Problem{
			Check: "cluster", Message: "no master that stays in the cluster answers", Remedy: "give one of them its power or network back; a cluster as a whole is taken apart with `sealinstall reset`",
		})
	}
	if err := refused(problems, nil); err != nil {
		return installer.Result{}, err
	}
	// A host may die for ever in the midst of an upgrade, which goes on only without it, and back only without it.
	r.Ledger.UnderWay = func() (bool, error) { return upgrade.Begun(r.upgrade) }
	if err := refused(r.Ledger.Compare(ctx)); err != nil {
		return installer.Result{}, err
	}
	var unfinished []string
	for _, t := range r.Targets {
		if !t.Joined() {
			unfinished = append(unfinished, t.IP.String())
		}
	}
	if len(unfinished) > 0 {
		r.Report.Infof("%s: recorded, and not in the cluster: left as they are", installer.HostList(unfinished))
		site.Without(r.Site, unfinished)
	}
	err := r.Ledger.OwnState()
	if err == nil {
		err = r.secrets.AdoptAndSettle(ctx)
	}
	if err == nil {
		err = refused(r.health.Answers(ctx, false), nil)
	}
	if err == nil {
		err = r.health.AskAgain(ctx) // masters that boot come up by themselves; this run starts nothing
	}
	if err == nil && r.Ledger.Midway {
		r.Report.Infof("an upgrade is under way: hosts keep the rootfs that they have; finish it with `upgrade` afterwards, or take it back with `rollback`")
	}
	if err == nil {
		err = r.judgeLeaving(ctx)
	}
	return installer.Result{Note: fmt.Sprintf("%s, %d %s", count.Of(len(r.Targets), "host stays", "hosts stay"), len(r.Site.Leaving), count.Word(len(r.Site.Leaving), "leaves", "leave"))}, err
}

// midway tells that an upgrade is under way: hosts keep what they have come to, and are not all ready before it has come to its
// end.
func midway(r *Run) bool { return r.Ledger.Midway }

// judgeLeaving finds what speaks against hosts leaving the cluster, which answers, and asks the operator.
func (r *Run) judgeLeaving(ctx context.Context) error {
	if err := refused(r.members.CanLeave(ctx), nil); err != nil {
		return err
	}
	for _, t := range r.Site.Leaving {
		if t.Dead {
			if err := r.leaving.Silent(ctx, t); err != nil {
				return &preflight.Error{Problems: preflight.From(t.Failed(err), "dead")}
			}
		}
	}
	losses, room, err := r.leaving.Losses(ctx)
	if err != nil {
		return fmt.Errorf("ask what runs on the hosts that leave: %w", err)
	}
	serious, warnings := preflight.Settle(room, r.IgnoreChecks)
	for _, w := range preflight.Warnings(warnings) {
		r.Report.Warnf("%s", w)
	}
	if err := refused(serious, nil); err != nil {
		return err
	}
	r.leaving.Tell(losses)
	if r.Confirm == nil {
		return nil
	}
	return r.Confirm(losses)
}

// drain moves the pods of the hosts that leave away. From here on the record says that a run is at work.
func (r *Run) drain(ctx context.Context) (installer.Result, error) {
	if err := r.begin(ctx); err != nil {
		return installer.Result{}, err
	}
	n, err := r.leaving.Drain(ctx, r.DrainTimeout)
	return installer.Result{Changes: n, Note: fmt.Sprintf("%s drained", count.Of(n, "node"))}, err
}

// leave takes the hosts out of etcd and the cluster, the dead ones first, and one after the other: etcd takes one change at a
// time, and must have its majority after each.
func (r *Run) leave(ctx context.Context) (installer.Result, error) {
	left := 0
	if err := refused(r.members.CanLeave(ctx), nil); err != nil { // a host may have died since it was looked at
		return installer.Result{}, err
	}
	for _, t := range members.LeaveOrder(r.Site.Leaving) {
		var err error
		if t.Dead {
			err = r.leaving.LeaveDead(ctx, t, r.DrainTimeout)
		} else {
			err = r.leaving.Leave(ctx, t, "leave")
		}
		if err != nil {
			return installer.Result{Changes: left}, t.Failed(err)
		}
		r.Changed(t, 1)
		left++
	}
	return installer.Result{Changes: left}, nil
}

// leaveDead takes those hosts out that are dead, before masters join: etcd takes in no member while another is missing.
func (r *Run) leaveDead(ctx context.Context) (installer.Result, error) {
	left := 0
	for _, t := range members.LeaveOrder(r.Site.Leaving) {
		if t.Dead {
			if err := r.leaving.LeaveDead(ctx, t, r.DrainTimeout); err != nil {
				return installer.Result{Changes: left}, t.Failed(err)
			}
			r.Changed(t, 1)
			left++
		}
	}
	return installer.Result{Changes: left}, nil
}

// cleanLeft leaves the hosts that left, and answer, as a reset leaves them.
func (r *Run) cleanLeft(ctx context.Context) (installer.Result, error) {
	gone := func(context.Context, *fleet.Target) error { return nil } // its member has left etcd
	hosts := r.leaving.Live()
	err := r.Each(ctx, hosts, func(ctx context.Context, t *fleet.Target) error { return r.clean.Kubernetes(ctx, t, "clean", gone) })
	if err != nil {
		return installer.Result{}, err
	}
	if _, err := r.clean.Scripts(ctx, hosts); err != nil {
		return installer.Result{}, err
	}
	n, err := r.clean.Files(ctx, hosts)
	if err != nil {
		return installer.Result{}, err
	}
	return installer.Result{Changes: n}, r.Withdraw(ctx) // while they are known: nobody looks at them again
}

// followMasters makes certificates, kubeconfigs and kubeadm's configuration in the cluster name the masters that stay.
func (r *Run) followMasters(ctx context.Context) (installer.Result, error) {
	joined := r.ControlPlanes()
	kept, err := r.keepMaster(ctx, joined, "follow-masters")
	if err != nil {
		return kept, err
	}
	n, err := r.nodes.FollowMasters(ctx)
	kept.Changes += n
	if err == nil && kept.Changes > 0 {
		err = r.health.WaitAPI(ctx)
	}
	kept.Note = count.Of(len(joined), "master")
	return kept, err
}
