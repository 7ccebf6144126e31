package steps

import (
	"context"
	"fmt"

	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/fleet"
	"github.com/sealbuild/sealbuild/installer/kubeadm"
)

// joinMasters joins the other masters one after the other: each of them brings a member into etcd, which takes one change
// at a time.
func (r *Run) joinMasters(ctx context.Context) (installer.Result, error) {
	changes := 0
	for _, t := range r.OtherMasters() {
		if t.Joined() {
			continue
		}
		if err := r.joinMaster(ctx, t); err != nil {
			return installer.Result{Changes: changes}, t.Failed(err)
		}
		r.Changed(t, 1)
		changes++
	}
	res, err := r.keepMaster(ctx, r.OtherMasters(), "join-masters")
	res.Changes += changes
	if err == nil && len(r.Cluster.Masters()) > 1 {
		followed := 0
		followed, err = r.nodes.FollowMasters(ctx)
		res.Changes += followed
	}
	return res, err
}

func (r *Run) joinMaster(ctx context.Context, t *fleet.Target) error {
	err := r.nodes.Run(ctx, t, "join-masters", func(ctx context.Context) (string, error) {
		token, err := r.nodes.Admit(ctx, t)
		if err != nil {
			return "", err
		}
		files, err := r.secrets.MasterFiles(ctx, t)
		if err != nil {
			return "", err
		}
		in := r.KubeadmInput(kubeadm.JoinMaster, t)
		discovery, err := r.nodes.Discovery(in, token)
		if err != nil {
			return "", err
		}
		return r.nodes.Prepare(ctx, t, in, append(files, discovery))
	}, "join")
	if err != nil {
		return err
	}
	return r.settleMaster(ctx, t)
}

// settleMaster does what is left to do on a master once kubeadm has ended there. It does all of it for the first master,
// too: that one may have come back with an empty disk, and joined. The mark of the kubeconfig, which is set last, stands
// for all of it.
func (r *Run) settleMaster(ctx context.Context, t *fleet.Target) error {
	// From now on its own API server is the nearest.
	if _, err := r.net.SetHosts(ctx, t, t.IP.String()); err != nil {
		return fmt.Errorf("point %s to the host itself: %w", installer.APIServerDomain, err)
	}
	// Its kube-proxy may have been started with the earlier meaning of that name.
	err := installer.Insist(ctx, r.APIPatience(), func(ctx context.Context) error {
		_, err := r.Kube.Kubectl(ctx, "delete", "pod", "-n", "kube-system", "-l", "k8s-app=kube-proxy", "--field-selector", "spec.nodeName="+t.NodeName(), "--ignore-not-found", "--wait=false")
		return err
	})
	if err != nil {
		return fmt.Errorf("restart kube-proxy: %w", err)
	}
	return r.nodes.AdminKubeconfig(ctx, t)
}
