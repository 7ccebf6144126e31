package steps

import (
	"context"
	"fmt"

	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/agent"
	"github.com/sealbuild/sealbuild/installer/fleet"
	"github.com/sealbuild/sealbuild/installer/journal"
	"github.com/sealbuild/sealbuild/installer/payload"
)

// bootstrap makes hosts ready for kubeadm: names, the registry on every master, then the container runtime and kubelet everywhere.
func (r *Run) bootstrap(ctx context.Context) (installer.Result, error) {
	named, err := r.Count(ctx, r.Targets, func(ctx context.Context, t *fleet.Target) (int, error) {
		return r.net.SetHosts(ctx, t, r.net.APIAddress(t))
	})
	if err != nil {
		return installer.Result{}, fmt.Errorf("write /etc/hosts: %w", err)
	}
	settled, err := r.net.Settle(ctx)
	if err != nil {
		return installer.Result{}, err
	}
	shown, written, err := r.registry.Files(ctx)
	if err != nil {
		return installer.Result{}, err
	}
	if err := r.Each(ctx, r.Targets, r.dirs.CheckAgain); err != nil {
		return installer.Result{}, err
	}
	started, err := r.Count(ctx, r.Masters(), func(ctx context.Context, t *fleet.Target) (int, error) {
		return r.registry.Start(ctx, t, shown[t])
	})
	if err != nil {
		return installer.Result{}, err
	}
	ran, err := r.Count(ctx, r.Targets, r.initHost)
	return installer.Result{Changes: named + settled + written + started + ran}, err
}

// initHost runs the scripts init-cri, init and auth of the images on a host, and counts those that have succeeded.
func (r *Run) initHost(ctx context.Context, t *fleet.Target) (ran int, err error) {
	type script struct {
		image *payload.Image
		line  string
	}
	var scripts []script
	var inputs []any
	for _, key := range []string{"init-cri", "init", "auth"} {
		if i, line := r.Share(t).Script(key); line != "" {
			scripts = append(scripts, script{i, line})
			inputs = append(inputs, key, line, r.Share(t).Env(i), t.Overlays[i])
		}
	}
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
	_, err = t.Journal.Under(ctx, journal.Init, journal.Inputs(append(inputs, r.Share(t).Digests())...), func(w *journal.Work) error {
		for n, s := range scripts {
			var marks []agent.File
			if n == len(scripts)-1 {
				marks = append(marks, w.ByHost())
			}
			if err := r.RunRootfsScript(ctx, t, "bootstrap", s.image, s.line, marks...); err != nil {
				return err
			}
			ran++
		}
		return nil
	})
	if err == nil && stopped != "" && t.Joined() {
		err = r.nodes.Wake(ctx, t, "bootstrap")
	}
	return ran, err
}
