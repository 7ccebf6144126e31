package nodes

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/sealbuild/sealbuild/ground/count"
	"github.com/sealbuild/sealbuild/ground/wait"
	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/fleet"
	"github.com/sealbuild/sealbuild/installer/journal"
	"github.com/sealbuild/sealbuild/installer/kube"
	"github.com/sealbuild/sealbuild/installer/site"
)

// A mark says what was done, not what is: somebody may have stopped a runtime, emptied its data, or deleted a Node since. So a run
// looks at what can be seen, and starts again what does not run.

// startPatience is how long services of a host that has just booted may take to start by themselves.
const startPatience = 10 * time.Second

// Asleep says what does not run on a host although its marks say that it should; it is empty if all runs. It asks for up to
// [startPatience] before it says so.
func (n *Nodes) Asleep(ctx context.Context, t *fleet.Target) (string, error) {
	if !t.Journal.Has(journal.Init) && !t.Joined() {
		return "", nil
	}
	stopped := func() string {
		f := t.Facts
		if !t.Joined() {
			f.Programs = nil // kubelet has no configuration to run with yet
		}
		return fleet.StoppedIn(f)
	}
	for end := time.Now().Add(startPatience); stopped() != ""; {
		f, err := t.Agent.Facts(ctx, n.LifeRequest(t))
		if err != nil {
			return "", err
		}
		t.Facts.Sockets, t.Facts.Programs = f.Sockets, f.Programs
		what := stopped()
		if what == "" || time.Now().After(end) {
			return what, nil
		}
		if err := wait.For(ctx, time.Second); err != nil {
			return "", err
		}
	}
	return "", nil
}

// Wake restarts the kubelet of a host, once what kubelet needs runs.
func (n *Nodes) Wake(ctx context.Context, t *fleet.Target, step string) error {
	if _, err := n.Exec(ctx, t, step, "systemctl", "restart", "kubelet"); err != nil {
		return fmt.Errorf("start kubelet again: %w", err)
	}
	f, err := t.Agent.Facts(ctx, n.LifeRequest(t))
	t.Facts.Sockets, t.Facts.Programs = f.Sockets, f.Programs
	return err
}

// registerPatience is how long kubelet may take to register its Node.
const registerPatience = time.Minute

// RegisterAgain brings back the Nodes of hosts that are in the cluster but whose Nodes somebody has deleted, and returns
// how many. Kubelet registers its Node only when it starts.
func (n *Nodes) RegisterAgain(ctx context.Context, targets []*fleet.Target, step string) (int, error) {
	gone := fleet.Only(targets, func(t *fleet.Target) bool { return t.Gone })
	return n.Count(ctx, gone, func(ctx context.Context, t *fleet.Target) (int, error) {
		n.Report.Infof("%s: node %s was deleted from the cluster; kubelet registers it again, without the labels that others gave it", t.IP, t.NodeName())
		if err := n.waitForgotten(ctx, t); err != nil {
			return 0, err
		}
		if slices.Contains(t.Facts.CNI, "network link cni0") {
			// The new Node gets other addresses for its pods, and this bridge would keep the old ones.
			if _, err := n.Exec(ctx, t, step, "ip", "link", "delete", "cni0"); err != nil {
				n.Report.Warnf("%s: the bridge of its pods stays, which may keep new ones from starting: %s", t.IP, installer.TellAt(err, t.IP.String()))
			}
		}
		if err := n.Wake(ctx, t, step); err != nil {
			return 0, err
		}
		err := installer.Insist(ctx, min(registerPatience, n.Timeout), func(ctx context.Context) error {
			nodes, err := n.Kube.Nodes(ctx)
			if err != nil {
				return err
			}
			if _, ok := kube.NodeOf(nodes, site.KubeHost(t)); !ok {
				return fmt.Errorf("node %s is not in the cluster", t.NodeName())
			}
			return nil
		})
		if err != nil {
			return 0, fmt.Errorf("kubelet did not register its node again: %w (look at `journalctl -u kubelet` on the host)", err)
		}
		if t.Master {
			if err := n.markControlPlane(ctx, t); err != nil {
				return 0, err
			}
		}
		t.Gone = false
		return 1, nil
	})
}

// forgetPatience is how long a cluster may take to remove the pods of a Node that was deleted. Most of a minute is usual.
const forgetPatience = 2 * time.Minute

// waitForgotten waits until the cluster has removed the pods of a Node that was deleted. Their addresses are no longer the
// Node's; pods that are still there when the Node comes back keep them.
func (n *Nodes) waitForgotten(ctx context.Context, t *fleet.Target) error {
	err := installer.Insist(ctx, min(forgetPatience, n.Timeout), func(ctx context.Context) error {
		pods, err := n.Kube.Pods(ctx, "--all-namespaces", "--field-selector", "spec.nodeName="+t.NodeName())
		if err == nil && len(pods) > 0 {
			err = fmt.Errorf("%s of it %s still there: %s first", count.Of(len(pods), "pod"), count.Word(len(pods), "is", "are"), pods[0].Title())
		}
		return err
	})
	if err != nil && ctx.Err() == nil {
		n.Report.Warnf("%s: the cluster does not remove the pods of the node that was deleted; they may have no network until they are made anew: %s", t.IP, installer.Tell(err))
		return nil
	}
	return err
}

// markControlPlane gives the Node of a master the labels and taints that kubeadm gives to it.
func (n *Nodes) markControlPlane(ctx context.Context, t *fleet.Target) error {
	taints, err := n.MasterTaints(t)
	if err != nil {
		return err
	}
	err = installer.Insist(ctx, n.APIPatience(), func(ctx context.Context) error {
		_, err := n.Kube.Kubectl(ctx, "label", "node", t.NodeName(), "--overwrite", "node-role.kubernetes.io/control-plane=", "node.kubernetes.io/exclude-from-external-load-balancers=")
		if err == nil && len(taints) > 0 {
			_, err = n.Kube.Kubectl(ctx, slices.Concat([]string{"taint", "node", t.NodeName(), "--overwrite"}, taints)...)
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("mark node %s as one of the control plane: %w", t.NodeName(), err)
	}
	return nil
}
