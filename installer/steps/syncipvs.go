package steps

import (
	"context"
	"fmt"
	"sync/atomic"

	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/agent"
	"github.com/sealbuild/sealbuild/installer/care"
	"github.com/sealbuild/sealbuild/installer/fleet"
	"github.com/sealbuild/sealbuild/installer/hostnet"
)

// syncIPVS writes the care pod with exactly the masters of now on every node.
func (r *Run) syncIPVS(ctx context.Context) (installer.Result, error) {
	vip, servers, err := r.VirtualServer()
	if err != nil {
		return installer.Result{}, err
	}
	if _, err := r.CareImage(r.Master0()); err != nil {
		return installer.Result{}, err
	}
	var changes atomic.Int64
	err = r.Each(ctx, r.Workers(), func(ctx context.Context, t *fleet.Target) error {
		image, err := r.CareImage(t)
		if err != nil {
			return err
		}
		pod, err := care.StaticPod(image, vip, servers, care.ModeAuto)
		if err != nil {
			return err
		}
		if err := r.net.PullCare(ctx, t, image, pod); err != nil {
			return err
		}
		changed, err := t.Agent.WriteFiles(ctx, []agent.File{{Path: hostnet.CareManifest, Mode: 0o600, Content: pod}})
		changes.Add(int64(len(changed)))
		return err
	})
	return installer.Result{Changes: int(changes.Load()), Note: fmt.Sprintf("%d masters behind %s", len(servers), vip)}, err
}
