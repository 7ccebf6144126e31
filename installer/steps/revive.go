package steps

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/fleet"
	"github.com/sealbuild/sealbuild/installer/journal"
	"github.com/sealbuild/sealbuild/installer/kube"
	"github.com/sealbuild/sealbuild/installer/kubeadm"
)

// A mark says what was done, not what is: somebody may have stopped a runtime, emptied its data, or deleted a node
// since. What can be seen is looked at, and started again.

// startPatience is how long services of a host that has just booted may take to come up by themselves.
const startPatience = 10 * time.Second

// asleep says what of a host should run by what was done there, and does not; empty if all does. It asks again for a
// while before it says so.
func (r *Run) asleep(ctx context.Context, t *fleet.Target) (string, error) {
	if !t.Journal.Has(journal.Init) && !t.Joined() {
		return "", nil
	}
	judge := func() string {
		f := t.Facts
		if !t.Joined() {
			f.Programs = nil // kubelet has nothing to run with yet
		}
		return stoppedIn(f)
	}
	for end := time.Now().Add(startPatience); judge() != ""; {
		f, err := t.Agent.Facts(ctx, r.lifeRequest(t))
		if err != nil {
			return "", err
		}
		t.Facts.Sockets, t.Facts.Programs = f.Sockets, f.Programs
		what := judge()
		if what == "" || time.Now().After(end) {
			return what, nil
		}
		select {
		case <-ctx.Done():
			return "", context.Cause(ctx)
		case <-time.After(time.Second):
		}
	}
	return "", nil
}

// wake lets a host's kubelet begin anew, once what it needs runs.
func (r *Run) wake(ctx context.Context, t *fleet.Target, step string) error {
	if _, err := r.Exec(ctx, t, step, "systemctl", "restart", "kubelet"); err != nil {
		return fmt.Errorf("start kubelet again: %w", err)
	}
	f, err := t.Agent.Facts(ctx, r.lifeRequest(t))
	t.Facts.Sockets, t.Facts.Programs = f.Sockets, f.Programs
	return err
}

// settleNodes asks a cluster that could not be asked while hosts were looked at, since something had to be started first.
func (r *Run) settleNodes(ctx context.Context) error {
	if r.known != nil || len(r.controlPlanes()) == 0 {
		return nil
	}
	err := installer.Insist(ctx, min(answerPatience, r.Timeout), func(ctx context.Context) (err error) {
		r.known, err = r.kube.Nodes(ctx)
		return err
	})
	if err != nil {
		cctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), finalCause)
		defer cancel()
		for _, c := range r.causes(cctx, kube.Lacks{}) {
			err = fmt.Errorf("%w\n  cause: %s", err, c)
		}
		return fmt.Errorf("the cluster does not answer, though what was stopped has been started again: %w", err)
	}
	r.findGone()
	return nil
}

// registerPatience is how long kubelet may take to register its node.
const registerPatience = time.Minute

// registerAgain brings back the nodes of hosts that are in the cluster, but whose nodes somebody has deleted: kubelet
// registers its node when it starts, and never after.
func (r *Run) registerAgain(ctx context.Context, targets []*fleet.Target, step string) (int, error) {
	var changes atomic.Int64
	gone := slices.DeleteFunc(slices.Clone(targets), func(t *fleet.Target) bool { return !t.Gone })
	err := r.Each(ctx, gone, func(ctx context.Context, t *fleet.Target) error {
		r.Report.Infof("%s: node %s was deleted from the cluster; kubelet registers it again, without the labels that others gave it", t.IP, t.NodeName())
		if err := r.waitForgotten(ctx, t); err != nil {
			return err
		}
		if slices.Contains(t.Facts.CNI, "network link cni0") {
			// A new node gets other addresses for its pods, and this bridge would keep the old one's.
			if _, err := r.Exec(ctx, t, step, "ip", "link", "delete", "cni0"); err != nil {
				r.Report.Warnf("%s: the bridge of its pods stays, which may keep new ones from starting: %s", t.IP, installer.TellAt(err, t.IP.String()))
			}
		}
		if err := r.wake(ctx, t, step); err != nil {
			return err
		}
		patience := min(registerPatience, r.Timeout)
		err := installer.Insist(ctx, patience, func(ctx context.Context) error {
			nodes, err := r.kube.Nodes(ctx)
			if err != nil {
				return err
			}
			if _, ok := kube.NodeOf(nodes, kubeHost(t)); !ok {
				return fmt.Errorf("node %s is not in the cluster", t.NodeName())
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("kubelet did not register its node again: %w (look at `journalctl -u kubelet` on the host)", err)
		}
		if t.Master {
			if err := r.markControlPlane(ctx, t); err != nil {
				return err
			}
		}
		t.Gone = false
		changes.Add(1)
		return nil
	})
	return int(changes.Load()), err
}

// forgetPatience is how long a cluster may take to remove the pods of a node that was deleted; most of a minute is usual.
const forgetPatience = 2 * time.Minute

// waitForgotten waits until the cluster has removed the pods of a node that was deleted. They have addresses that are
// no longer the node's, and those that were still there would stay so.
func (r *Run) waitForgotten(ctx context.Context, t *fleet.Target) error {
	err := installer.Insist(ctx, min(forgetPatience, r.Timeout), func(ctx context.Context) error {
		pods, err := r.kube.Pods(ctx, "--all-namespaces", "--field-selector", "spec.nodeName="+t.NodeName())
		if err == nil && len(pods) > 0 {
			err = fmt.Errorf("%d pods of it are still there, %s among them", len(pods), pods[0].Title())
		}
		return err
	})
	if err != nil && ctx.Err() == nil {
		r.Report.Warnf("%s: the cluster does not remove the pods of the node that was deleted; they may have no network until they are made anew: %s", t.IP, installer.Tell(err))
		return nil
	}
	return err
}

// markControlPlane gives a master's node what kubeadm gives it.
func (r *Run) markControlPlane(ctx context.Context, t *fleet.Target) error {
	taints, err := r.masterTaints(t)
	if err != nil {
		return err
	}
	err = installer.Insist(ctx, r.apiPatience(), func(ctx context.Context) error {
		_, err := r.kube.Kubectl(ctx, "label", "node", t.NodeName(), "--overwrite", "node-role.kubernetes.io/control-plane=", "node.kubernetes.io/exclude-from-external-load-balancers=")
		if err == nil && len(taints) > 0 {
			_, err = r.kube.Kubectl(ctx, slices.Concat([]string{"taint", "node", t.NodeName(), "--overwrite"}, taints)...)
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("mark node %s as one of the control plane: %w", t.NodeName(), err)
	}
	return nil
}

// masterTaints are the taints that kubeadm gives to a master, as kubectl takes them: its own, or those of the configuration.
func (r *Run) masterTaints(t *fleet.Target) ([]string, error) {
	kind := kubeadm.JoinMaster
	if t == r.Master0() {
		kind = kubeadm.Init
	}
	docs, err := kubeadm.Render(r.kubeadmInput(kind, t))
	if err != nil {
		return nil, err
	}
	text, err := docs.YAML()
	if err != nil {
		return nil, err
	}
	for dec := yaml.NewDecoder(strings.NewReader(string(text))); ; {
		var d struct {
			Kind             string `yaml:"kind"`
			NodeRegistration struct {
				Taints *[]struct {
					Key    string `yaml:"key"`
					Value  string `yaml:"value"`
					Effect string `yaml:"effect"`
				} `yaml:"taints"`
			} `yaml:"nodeRegistration"`
		}
		if err := dec.Decode(&d); errors.Is(err, io.EOF) {
			return []string{"node-role.kubernetes.io/control-plane:NoSchedule"}, nil
		} else if err != nil {
			return nil, fmt.Errorf("read the configuration for kubeadm: %w", err)
		}
		if d.Kind != "InitConfiguration" && d.Kind != "JoinConfiguration" || d.NodeRegistration.Taints == nil {
			continue
		}
		out := []string{}
		for _, taint := range *d.NodeRegistration.Taints {
			out = append(out, strings.TrimSuffix(taint.Key+"="+taint.Value, "=")+":"+taint.Effect)
		}
		return out, nil
	}
}
