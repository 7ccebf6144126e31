package steps

import (
	"context"
	"fmt"
	"path"
	"sync/atomic"

	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/agent"
	"github.com/sealbuild/sealbuild/installer/fleet"
	"github.com/sealbuild/sealbuild/installer/journal"
	"github.com/sealbuild/sealbuild/installer/payload"
)

// bootstrap makes hosts ready for kubeadm: names, the registry on its hosts,
// then the container runtime and kubelet everywhere.
func (r *Run) bootstrap(ctx context.Context) (installer.Result, error) {
	var changes atomic.Int64
	err := r.Each(ctx, r.Targets, func(ctx context.Context, t *fleet.Target) error {
		changed, err := r.net.SetHosts(ctx, t, r.net.APIAddress(t))
		changes.Add(int64(count(changed)))
		return err
	})
	if err != nil {
		return installer.Result{}, fmt.Errorf("write /etc/hosts: %w", err)
	}
	if err := r.net.Settle(ctx, &changes); err != nil {
		return installer.Result{}, err
	}
	shown, err := r.registry.Files(ctx, &changes)
	if err != nil {
		return installer.Result{}, err
	}
	if err := r.Each(ctx, r.Targets, r.dirs.CheckAgain); err != nil {
		return installer.Result{}, err
	}
	if err := r.Each(ctx, r.RegistryHosts(), func(ctx context.Context, t *fleet.Target) error {
		return r.registry.Start(ctx, t, shown[t], &changes)
	}); err != nil {
		return installer.Result{}, err
	}
	err = r.Each(ctx, r.Targets, func(ctx context.Context, t *fleet.Target) error {
		return r.initHost(ctx, t, &changes)
	})
	return installer.Result{Changes: int(changes.Load())}, err
}

func count(changed bool) int {
	if changed {
		return 1
	}
	return 0
}

// initHost runs init-cri, init and auth of the image.
func (r *Run) initHost(ctx context.Context, t *fleet.Target, changes *atomic.Int64) error {
	type step struct {
		key, line string
		img       *payload.Image
	}
	var todo []step
	var ins []any
	for _, key := range []string{"init-cri", "init", "auth"} {
		img, line := r.Share(t).Script(key)
		if line == "" {
			continue
		}
		todo = append(todo, step{key, line, img})
		ins = append(ins, key, line, r.Share(t).Env(img), t.Overlays[img])
	}
	in := journal.Inputs(append(ins, r.Share(t).Digests())...)
	stopped, err := r.nodes.Asleep(ctx, t)
	if err != nil {
		return err
	}
	if stopped != "" {
		r.Report.Infof("%s: %s, though it was set up; it is set up again", t.IP, stopped)
		if err := t.Journal.Drop(ctx, journal.Init); err != nil {
			return err
		}
	}
	_, err = t.Journal.Under(ctx, journal.Init, in, func(w *journal.Work) error {
		for i, s := range todo {
			var record []agent.File
			if i == len(todo)-1 {
				record = append(record, w.ByHost())
			}
			if err := r.RunScript(ctx, t, "bootstrap", path.Join(r.RootfsDir(), "scripts"), s.line, r.Share(t).Env(s.img), record...); err != nil {
				return err
			}
			changes.Add(1)
		}
		return nil
	})
	if err == nil && stopped != "" && t.Joined() {
		return r.nodes.Wake(ctx, t, "bootstrap")
	}
	return err
}
