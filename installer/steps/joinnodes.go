package steps

import (
	"context"
	"path"

	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/agent"
	"github.com/sealbuild/sealbuild/installer/fleet"
	"github.com/sealbuild/sealbuild/installer/hostnet"
	"github.com/sealbuild/sealbuild/installer/kubeadm"
)

// joinNodes joins all workers at once, through the virtual address.
func (r *Run) joinNodes(ctx context.Context) (installer.Result, error) {
	todo := fleet.Only(r.Workers(), func(t *fleet.Target) bool { return !t.Joined() })
	again, err := r.nodes.RegisterAgain(ctx, r.Workers(), "join-nodes")
	if err != nil || len(todo) == 0 {
		return installer.Result{Changes: again}, err
	}
	token, err := r.nodes.Admit(ctx, todo...)
	if err != nil {
		return installer.Result{Changes: again}, err
	}
	joined, err := r.Count(ctx, todo, func(ctx context.Context, t *fleet.Target) (int, error) {
		err := r.nodes.Run(ctx, t, "join-nodes", func(ctx context.Context) (string, error) {
			in := r.KubeadmInput(kubeadm.JoinNode, t)
			discovery, err := r.nodes.Discovery(in, token)
			if err != nil {
				return "", err
			}
			// kubeadm would wait five minutes for an address that does not answer, and say little.
			if err := r.net.CareFollows(ctx, []*fleet.Target{t}); err != nil {
				return "", err
			}
			// kubelet watches the directory of static pods only if it is there when kubelet starts. Otherwise it looks there
			// every 20 seconds, and the cluster would wait that long for the pod of care.
			if _, err := r.Exec(ctx, t, "join-nodes", "mkdir", "-p", "-m", "0700", path.Dir(hostnet.CareManifest)); err != nil {
				return "", err
			}
			return r.nodes.Prepare(ctx, t, in, []agent.File{discovery})
		}, "join")
		if err != nil {
			return 0, err
		}
		return 1, nil
	})
	return installer.Result{Changes: again + joined}, err
}
