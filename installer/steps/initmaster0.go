package steps

import (
	"context"
	"sync/atomic"

	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/fleet"
	"github.com/sealbuild/sealbuild/installer/journal"
	"github.com/sealbuild/sealbuild/installer/kubeadm"
)

// initMaster0 starts the control plane on the first master, with certificates
// made on this machine.
func (r *Run) initMaster0(ctx context.Context) (installer.Result, error) {
	t := r.Master0()
	if err := r.health.AskAgain(ctx); err != nil {
		return installer.Result{}, err
	}
	if t.Joined() {
		return r.keepMaster(ctx, []*fleet.Target{t}, "init-master0")
	}
	err := r.nodes.Run(ctx, t, "init-master0", func(ctx context.Context) (string, error) {
		files, err := r.secrets.MasterFiles(ctx, t)
		if err != nil {
			return "", err
		}
		return r.nodes.Prepare(ctx, t, r.KubeadmInput(kubeadm.Init, t), files)
	}, "init", "--skip-token-print", "--skip-certificate-key-print")
	if err != nil {
		return installer.Result{}, t.Failed(err)
	}
	if err := r.nodes.AdminKubeconfig(ctx, t); err != nil {
		return installer.Result{}, t.Failed(err)
	}
	return installer.Result{Changes: 1}, nil
}

// keepMaster puts certificates and kubeconfigs back on masters that have
// joined, should somebody have lost them, and finishes what a run left that was
// killed right after kubeadm; nothing is written when all is there. Nodes that
// somebody deleted come back.
func (r *Run) keepMaster(ctx context.Context, targets []*fleet.Target, step string) (installer.Result, error) {
	var changes atomic.Int64
	again, err := r.nodes.RegisterAgain(ctx, targets, step)
	if changes.Add(int64(again)); err != nil {
		return installer.Result{Changes: again}, err
	}
	err = r.Each(ctx, targets, func(ctx context.Context, t *fleet.Target) error {
		files, err := r.secrets.MasterFiles(ctx, t)
		if err != nil {
			return err
		}
		changed, err := t.Agent.WriteFiles(ctx, files)
		changes.Add(int64(len(changed)))
		if err != nil || t.Journal.Has(journal.Kubeconfig) || !t.Joined() {
			return err
		}
		changes.Add(1)
		return r.settleMaster(ctx, t)
	})
	return installer.Result{Changes: int(changes.Load())}, err
}
