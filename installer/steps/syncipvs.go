package steps

import (
	"context"
	"fmt"

	"github.com/sealbuild/sealbuild/ground/count"
	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/agent"
	"github.com/sealbuild/sealbuild/installer/care"
	"github.com/sealbuild/sealbuild/installer/fleet"
	"github.com/sealbuild/sealbuild/installer/hostnet"
)

// syncIPVS tells care on every worker exactly the masters of now, and writes the static pod by which the cluster sees care.
func (r *Run) syncIPVS(ctx context.Context) (installer.Result, error) {
	vip, servers, err := r.VirtualServer()
	if err != nil {
		return installer.Result{}, err
	}
	if _, err := r.CareImage(r.Master0()); err != nil {
		return installer.Result{}, err
	}
	changes, err := r.net.SyncCare(ctx, r.Workers())
	if err != nil {
		return installer.Result{Changes: changes}, err
	}
	pods, err := r.Count(ctx, r.Workers(), func(ctx context.Context, t *fleet.Target) (int, error) {
		image, err := r.CareImage(t)
		if err != nil {
			return 0, err
		}
		pod, err := care.StaticPod(image, vip)
		if err != nil {
			return 0, err
		}
		changed, err := t.Agent.WriteFiles(ctx, []agent.File{{Path: hostnet.CareManifest, Mode: 0o600, Content: pod}})
		return len(changed), err
	})
	return installer.Result{Changes: changes + pods, Note: fmt.Sprintf("%s behind %s", count.Of(len(servers), "master"), vip)}, err
}
