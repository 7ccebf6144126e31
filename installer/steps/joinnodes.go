package steps

import (
	"context"
	"fmt"
	"path"
	"sync/atomic"

	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/agent"
	"github.com/sealbuild/sealbuild/installer/fleet"
	"github.com/sealbuild/sealbuild/installer/hostnet"
	"github.com/sealbuild/sealbuild/installer/kubeadm"
)

// joinNodes joins all nodes at once, through the virtual address.
func (r *Run) joinNodes(ctx context.Context) (installer.Result, error) {
	var todo []*fleet.Target
	for _, t := range r.Workers() {
		if !t.Joined() {
			todo = append(todo, t)
		}
	}
	again, err := r.nodes.RegisterAgain(ctx, r.Workers(), "join-nodes")
	if err != nil || len(todo) == 0 {
		return installer.Result{Changes: again}, err
	}
	token, err := r.nodes.Token(ctx)
	if err != nil {
		return installer.Result{Changes: again}, err
	}
	var changes atomic.Int64
	changes.Add(int64(again))
	err = r.Each(ctx, todo, func(ctx context.Context, t *fleet.Target) error {
		err := r.nodes.Run(ctx, t, "join-nodes", func(ctx context.Context) (string, error) {
			in := r.KubeadmInput(kubeadm.JoinNode, t)
			discovery, err := r.nodes.Discovery(in, token)
			if err != nil {
				return "", err
			}
			if err := r.net.StartCare(ctx, t); err != nil {
				return "", fmt.Errorf("start the keeper of the virtual address: %w", err)
			}
			// kubelet watches the directory of static pods only if it is there when it starts; else it looks
			// every 20 seconds, and the cluster would wait that long for the keeper's pod.
			if _, err := r.Exec(ctx, t, "join-nodes", "mkdir", "-p", "-m", "0700", path.Dir(hostnet.CareManifest)); err != nil {
				return "", err
			}
			return r.nodes.Prepare(ctx, t, in, []agent.File{discovery})
		}, "join")
		if err == nil {
			changes.Add(1)
		}
		return err
	})
	return installer.Result{Changes: int(changes.Load())}, err
}
