package nodes

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"

	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/kube"
	"github.com/sealbuild/sealbuild/installer/kubeadm"
	"github.com/sealbuild/sealbuild/installer/site"
)

// FollowMasters makes the documents that the cluster keeps for kubeadm name the masters of now, and no longer those that
// leave. It counts the change.
func (n *Nodes) FollowMasters(ctx context.Context) (changes int, err error) {
	const name = "ClusterConfiguration"
	var gone []string
	for _, h := range n.Cluster.Leaving {
		gone = append(gone, h.IP.String())
	}
	err = installer.Insist(ctx, n.APIPatience(), func(ctx context.Context) error {
		raw, err := n.Kube.Kubectl(ctx, "get", "configmap", "-n", "kube-system", "kubeadm-config", "-o", "json", "--ignore-not-found")
		if err != nil || len(bytes.TrimSpace(raw)) == 0 {
			return err // a cluster whose kubeadm-config somebody removed works, too
		}
		var stored struct {
			Data map[string]string `json:"data"`
		}
		if err := json.Unmarshal(raw, &stored); err != nil {
			return fmt.Errorf("decode it: %w", err)
		}
		if stored.Data[name] == "" {
			return nil
		}
		text, changed, err := kubeadm.FollowMasters([]byte(stored.Data[name]), n.Cluster.MasterIPs(), gone)
		if err != nil || !changed {
			return err
		}
		patch, err := json.Marshal(map[string]any{"data": map[string]string{name: string(text)}})
		if err != nil {
			return err
		}
		if err = n.Kube.PatchMap(ctx, "kubeadm-config", patch); err == nil {
			changes = 1
		}
		return err
	})
	if err != nil {
		return changes, fmt.Errorf("kubeadm's configuration in the cluster: %w", err)
	}
	return changes, nil
}

// Uncordon takes back what runs that did not come to their end have cordoned, or have taken for dead, on the hosts of this run. It
// returns how many.
func (n *Nodes) Uncordon(ctx context.Context) (changes int, err error) {
	for _, t := range n.Targets {
		node, there := kube.NodeOf(n.Known, site.KubeHost(t))
		if there && node.TakenOut {
			n.Report.Infof("%s: an earlier run has taken it for dead and was cut off; it lives and stays in the cluster, and node %s gets pods again", t.IP, node.Name)
			err := installer.Insist(ctx, n.APIPatience(), func(ctx context.Context) error { return n.Kube.BackInService(ctx, node.Name) })
			if err != nil {
				return changes, t.Failed(fmt.Errorf("node %s stays out of service: %w", node.Name, err))
			}
			n.Changed(t, 1)
			changes++
		}
		if !there || !node.Leaving {
			continue
		}
		end := "gets pods again"
		if node.Cordoned {
			end = "stays cordoned, as somebody else had left it"
		}
		n.Report.Infof("%s: an earlier run has cordoned node %s and was cut off; it stays in the cluster, and %s", t.IP, node.Name, end)
		if err := n.Readmit(ctx, node.Name); err != nil {
			return changes, t.Failed(err)
		}
		n.Changed(t, 1)
		changes++
	}
	return changes, nil
}
