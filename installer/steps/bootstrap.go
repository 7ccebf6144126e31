package steps

import (
	"context"
	"fmt"

	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/fleet"
	"github.com/sealbuild/sealbuild/installer/journal"
)

// bootstrap makes hosts ready for kubeadm: names, the registry on every master, then the container runtime and kubelet everywhere.
func (r *Run) bootstrap(ctx context.Context) (res installer.Result, err error) {
	did := func(n int, failed error) error { // what was changed counts, whatever follows
		res.Changes += n
		return failed
	}
	err = did(r.Count(ctx, r.Targets, func(ctx context.Context, t *fleet.Target) (int, error) {
		return r.net.SetHosts(ctx, t, r.net.APIAddress(t))
	}))
	if err != nil {
		return res, fmt.Errorf("write /etc/hosts: %w", err)
	}
	if midway(r) { // what follows is of the rootfs
		return res, nil
	}
	if err := did(r.net.Settle(ctx)); err != nil {
		return res, err
	}
	shown, written, err := r.registry.Files(ctx)
	if err := did(written, err); err != nil {
		return res, err
	}
	if err := r.Each(ctx, r.Targets, r.dirs.CheckAgain); err != nil {
		return res, err
	}
	err = did(r.Count(ctx, r.Masters(), func(ctx context.Context, t *fleet.Target) (int, error) {
		return r.registry.Start(ctx, t, shown[t])
	}))
	if err != nil {
		return res, err
	}
	return res, did(r.Count(ctx, r.Targets, r.initHost))
}

// initHost runs the scripts init-cri, init and auth of the images on a host, and counts those that have succeeded.
func (r *Run) initHost(ctx context.Context, t *fleet.Target) (ran int, err error) {
	setUp := r.dirs.SetUp(t, r.Share(t))
	stopped, err := r.nodes.Asleep(ctx, t)
	if err != nil {
		return 0, err
	}
	if stopped != "" {
		r.Report.Infof("%s: %s, though it was set up; it is set up again", t.IP, stopped)
		if err := t.Journal.Drop(ctx, journal.Init); err != nil {
			return 0, err
		}
	}
	_, err = t.Journal.Under(ctx, journal.Init, setUp.Inputs, func(w *journal.Work) (err error) {
		ran, err = r.dirs.RunSetUp(ctx, t, "bootstrap", setUp, w.ByHost)
		return err
	})
	if err == nil && stopped != "" && t.Joined() {
		err = r.nodes.Wake(ctx, t, "bootstrap")
	}
	return ran, err
}
