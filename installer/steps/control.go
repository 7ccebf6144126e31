package steps

import (
	"context"
	"fmt"
	"path"
	"sync/atomic"

	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/agent"
	"github.com/sealbuild/sealbuild/installer/kubeadm"
)

// initMaster0 starts the control plane on the first master, with certificates
// made on this machine.
func (r *Run) initMaster0(ctx context.Context) (installer.Result, error) {
	t := r.master0()
	if err := r.settleNodes(ctx); err != nil {
		return installer.Result{}, err
	}
	if t.joined() {
		return r.keepMaster(ctx, []*Target{t}, "init-master0")
	}
	err := r.runKubeadm(ctx, t, "init-master0", func(ctx context.Context) (string, error) {
		files, err := r.masterFiles(ctx, t)
		if err != nil {
			return "", err
		}
		return r.prepareKubeadm(ctx, t, r.kubeadmInput(kubeadm.Init, t), files)
	}, "init", "--skip-token-print", "--skip-certificate-key-print")
	if err != nil {
		return installer.Result{}, &installer.HostError{Host: t.IP.String(), Err: err}
	}
	if err := r.adminKubeconfig(ctx, t); err != nil {
		return installer.Result{}, &installer.HostError{Host: t.IP.String(), Err: err}
	}
	return installer.Result{Changes: 1}, nil
}

// joinMasters joins the other masters one after the other: each brings a member
// into etcd, which takes one change at a time.
func (r *Run) joinMasters(ctx context.Context) (installer.Result, error) {
	changes := 0
	for _, t := range r.otherMasters() {
		if t.joined() {
			continue
		}
		if err := r.joinMaster(ctx, t); err != nil {
			return installer.Result{Changes: changes}, &installer.HostError{Host: t.IP.String(), Err: err}
		}
		changes++
	}
	res, err := r.keepMaster(ctx, r.otherMasters(), "join-masters")
	res.Changes += changes
	return res, err
}

func (r *Run) joinMaster(ctx context.Context, t *Target) error {
	err := r.runKubeadm(ctx, t, "join-masters", func(ctx context.Context) (string, error) {
		token, err := r.joinToken(ctx)
		if err != nil {
			return "", err
		}
		files, err := r.masterFiles(ctx, t)
		if err != nil {
			return "", err
		}
		in := r.kubeadmInput(kubeadm.JoinMaster, t)
		discovery, err := r.discovery(in, token)
		if err != nil {
			return "", err
		}
		return r.prepareKubeadm(ctx, t, in, append(files, discovery))
	}, "join")
	if err != nil {
		return err
	}
	return r.settleMaster(ctx, t)
}

// settleMaster does what is left to do on a master once kubeadm has joined it. That it is the first by now tells nothing of how
// it came in: it may be the first by its address, and have come back with an empty disk. The mark of the kubeconfig, which comes
// last, stands for all of it.
func (r *Run) settleMaster(ctx context.Context, t *Target) error {
	// From now on its own API server is the nearest.
	if _, err := r.setHosts(ctx, t, t.IP.String()); err != nil {
		return fmt.Errorf("point %s to the host itself: %w", installer.APIServerDomain, err)
	}
	// Its kube-proxy may have been started with the earlier meaning of that name.
	err := installer.Insist(ctx, r.apiPatience(), func(ctx context.Context) error {
		_, err := r.kube.Kubectl(ctx, "delete", "pod", "-n", "kube-system", "-l", "k8s-app=kube-proxy", "--field-selector", "spec.nodeName="+t.nodeName(), "--ignore-not-found", "--wait=false")
		return err
	})
	if err != nil {
		return fmt.Errorf("restart kube-proxy: %w", err)
	}
	return r.adminKubeconfig(ctx, t)
}

// joinNodes joins all nodes at once, through the virtual address.
func (r *Run) joinNodes(ctx context.Context) (installer.Result, error) {
	var todo []*Target
	for _, t := range r.nodes() {
		if !t.joined() {
			todo = append(todo, t)
		}
	}
	again, err := r.registerAgain(ctx, r.nodes(), "join-nodes")
	if err != nil || len(todo) == 0 {
		return installer.Result{Changes: again}, err
	}
	token, err := r.joinToken(ctx)
	if err != nil {
		return installer.Result{Changes: again}, err
	}
	var changes atomic.Int64
	changes.Add(int64(again))
	err = r.each(ctx, todo, func(ctx context.Context, t *Target) error {
		err := r.runKubeadm(ctx, t, "join-nodes", func(ctx context.Context) (string, error) {
			in := r.kubeadmInput(kubeadm.JoinNode, t)
			discovery, err := r.discovery(in, token)
			if err != nil {
				return "", err
			}
			if err := r.startCare(ctx, t); err != nil {
				return "", fmt.Errorf("start the keeper of the virtual address: %w", err)
			}
			// kubelet watches the directory of static pods only if it is there when it starts; else it looks
			// every 20 seconds, and the cluster would wait that long for the keeper's pod.
			if _, err := r.exec(ctx, t, "join-nodes", "mkdir", "-p", "-m", "0700", path.Dir(careManifest)); err != nil {
				return "", err
			}
			return r.prepareKubeadm(ctx, t, in, []agent.File{discovery})
		}, "join")
		if err == nil {
			changes.Add(1)
		}
		return err
	})
	return installer.Result{Changes: int(changes.Load())}, err
}

// keepMaster puts certificates and kubeconfigs back on masters that have
// joined, should somebody have lost them, and finishes what a run left that was
// killed right after kubeadm; nothing is written when all is there. Nodes that
// somebody deleted come back.
func (r *Run) keepMaster(ctx context.Context, targets []*Target, step string) (installer.Result, error) {
	var changes atomic.Int64
	again, err := r.registerAgain(ctx, targets, step)
	if changes.Add(int64(again)); err != nil {
		return installer.Result{Changes: again}, err
	}
	err = r.each(ctx, targets, func(ctx context.Context, t *Target) error {
		files, err := r.masterFiles(ctx, t)
		if err != nil {
			return err
		}
		changed, err := t.Agent.WriteFiles(ctx, files)
		changes.Add(int64(len(changed)))
		if err != nil || t.marks[markKubeAdmin] != "" || !t.joined() {
			return err
		}
		changes.Add(1)
		return r.settleMaster(ctx, t)
	})
	return installer.Result{Changes: int(changes.Load())}, err
}
