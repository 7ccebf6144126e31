package steps

import (
	"context"
	"fmt"

	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/fleet"
	"github.com/sealbuild/sealbuild/installer/members"
)

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
	return installer.Result{Changes: n}, err
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
	kept.Note = fmt.Sprintf("%d masters", len(joined))
	return kept, err
}
