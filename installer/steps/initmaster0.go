package steps

import (
	"context"

	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/fleet"
	"github.com/sealbuild/sealbuild/installer/journal"
	"github.com/sealbuild/sealbuild/installer/kubeadm"
)

// initMaster0 starts the control plane on the first master, with certificates made on this machine.
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
	if err == nil {
		err = r.nodes.AdminKubeconfig(ctx, t)
	}
	if err != nil {
		return installer.Result{}, t.Failed(err)
	}
	r.Changed(t, 1)
	return installer.Result{Changes: 1}, nil
}

// keepMaster puts certificates and kubeconfigs back that masters of the cluster have lost, and brings back Nodes that
// somebody deleted. It finishes what is left to do on a master if a run was killed right after kubeadm. It writes nothing
// if all is there.
func (r *Run) keepMaster(ctx context.Context, targets []*fleet.Target, step string) (installer.Result, error) {
	again, err := r.nodes.RegisterAgain(ctx, targets, step)
	if err != nil {
		return installer.Result{Changes: again}, err
	}
	changes, err := r.Count(ctx, targets, func(ctx context.Context, t *fleet.Target) (int, error) {
		files, err := r.secrets.MasterFiles(ctx, t)
		if err != nil {
			return 0, err
		}
		changed, err := t.Agent.WriteFiles(ctx, files)
		if err != nil || t.Journal.Has(journal.Kubeconfig) || !t.Joined() {
			return len(changed), err
		}
		return len(changed) + 1, r.settleMaster(ctx, t)
	})
	return installer.Result{Changes: again + changes}, err
}
