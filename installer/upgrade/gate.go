package upgrade

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/sealbuild/sealbuild/installer/fleet"
	"github.com/sealbuild/sealbuild/installer/kube"
	kubeadmdocs "github.com/sealbuild/sealbuild/installer/kubeadm"
	"github.com/sealbuild/sealbuild/installer/site"
)

// gatePatience is how long a host may take to show that it lives with what it was given: as long as kubeadm waits for a static
// pod.
const gatePatience = 5 * time.Minute

// lives is an error unless a host shows that it lives with a version: kubelet runs and has told the cluster so with that version,
// its Node is Ready, and on a master all static pods run as their manifests say, the API server is ready, and etcd follows.
func (u *Upgrade) lives(ctx context.Context, t *fleet.Target, version string) error {
	f, err := t.Agent.Facts(ctx, u.LifeRequest(t))
	if err != nil {
		return err
	}
	if what := fleet.StoppedIn(f); what != "" {
		return fmt.Errorf("%s (look at `journalctl -u kubelet -u containerd` on the host)", what)
	}
	nodes, err := u.Kube.Nodes(ctx)
	if err != nil {
		return err
	}
	n, there := kube.NodeOf(nodes, site.KubeHost(t))
	switch {
	case !there:
		return fmt.Errorf("node %s is not in the cluster", t.NodeName())
	case version != "" && n.Version != version:
		return fmt.Errorf("kubelet %s runs there, not %s (look at `journalctl -u kubelet` on the host)", n.Version, version)
	case n.Ready != "True":
		return fmt.Errorf("node %s is not Ready: %s", n.Name, n.Message)
	}
	if !t.Master {
		return nil
	}
	if err := u.serves(ctx, t); err != nil {
		return fmt.Errorf("its API server: %w", err)
	}
	for _, c := range components() {
		if c == "etcd" && t.EtcdManifest == "" {
			continue
		}
		if err := u.runs(ctx, t, c); err != nil {
			return err
		}
	}
	if t.EtcdManifest == "" {
		return nil
	}
	return u.Members.CaughtUp(ctx, t)
}

// serves is an error unless the API server of a master says itself that it is ready.
func (u *Upgrade) serves(ctx context.Context, t *fleet.Target) error {
	_, err := u.Kube.KubectlOn(ctx, u.ControlPlane(t), "get", "--raw", "/readyz")
	return err
}

// runs is an error unless the static pod of a component runs on a master as its manifest says, and is ready.
func (u *Upgrade) runs(ctx context.Context, t *fleet.Target, component string) error {
	name := component + "-" + t.NodeName()
	found, err := t.Agent.ReadFiles(ctx, []string{manifest(component)})
	if err != nil {
		return err
	}
	if found[manifest(component)] == nil {
		return fmt.Errorf("%s is missing", manifest(component))
	}
	raw, err := u.Kube.Kubectl(ctx, "get", "pod", "-n", "kube-system", name, "-o", "json")
	if err != nil {
		return err
	}
	if ok, err := kubeadmdocs.Holds(raw, found[manifest(component)]); err != nil {
		return err
	} else if !ok {
		return fmt.Errorf("kubelet has not taken the manifest of %s yet", name)
	}
	pods, err := u.Kube.Pods(ctx, "-n", "kube-system", "-l", "component="+component, "--field-selector", "spec.nodeName="+t.NodeName())
	if err != nil {
		return err
	}
	for _, p := range pods {
		if p.Name == name {
			return p.NotReady()
		}
	}
	return fmt.Errorf("pod %s is not there", name)
}

// clusterVersion is the version that the data of ConfigMap kubeadm-config name; empty if they name none.
func clusterVersion(data []byte) string {
	var stored struct {
		Data map[string]string `json:"data"`
	}
	var docs struct {
		Version string `yaml:"kubernetesVersion"`
	}
	if json.Unmarshal(data, &stored) != nil || yaml.Unmarshal([]byte(stored.Data["ClusterConfiguration"]), &docs) != nil {
		return ""
	}
	return docs.Version
}
