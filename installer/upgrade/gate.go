package upgrade

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/fleet"
	"github.com/sealbuild/sealbuild/installer/kube"
	kubeadmdocs "github.com/sealbuild/sealbuild/installer/kubeadm"
	"github.com/sealbuild/sealbuild/installer/members"
	"github.com/sealbuild/sealbuild/installer/site"
)

// gatePatience is how long a host may take to show that it lives with what it was given: as long as kubeadm waits for a static
// pod.
const gatePatience = 5 * time.Minute

// gate is what a host has to show before the next one follows.
type gate struct {
	*site.Site
	Members members.Members
}

func (u *Upgrade) gate() gate { return gate{u.Site, u.Members} }

// insist repeats an action for as long as a host may take.
func (u gate) insist(ctx context.Context, what func(context.Context) error) error {
	return installer.Insist(ctx, u.patience(), what)
}

func (u gate) patience() time.Duration { return min(gatePatience, u.Timeout) }

// lives is an error unless a host shows that it lives with a version: kubelet runs and has told the cluster so with that version,
// its Node is Ready, and on a master all static pods run as their manifests say, the API server is ready, and etcd follows.
func (u gate) lives(ctx context.Context, t *fleet.Target, version string) error {
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
func (u gate) serves(ctx context.Context, t *fleet.Target) error {
	_, err := u.Kube.KubectlOn(ctx, u.ControlPlane(t), "get", "--raw", "/readyz")
	return err
}

// runs is an error unless the static pod of a component runs on a master as its manifest says, and is ready.
func (u gate) runs(ctx context.Context, t *fleet.Target, component string) error {
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

// A kubelet of another minor version takes the static pods that run for strangers: it knows them by a digest over all that it knows
// of a pod, which is not what the kubelet before it knew. So, some seconds after it has told that its Node is Ready, it stops all
// of them at once and starts them anew. Until then all that the cluster says of them is what the kubelet before has told.

// restarted is what a host ran when its kubelet was started anew.
type restarted struct {
	at     time.Time
	starts int               // how many times systemd had started it again by then
	hashes map[string]string // by component: the digest by which kubelet knows the static pod; none where that cannot tell anything
}

// strangersPatience is how long a kubelet of another minor version may go on with static pods as they are: if their digests are the
// same for it, it has nothing to start anew.
const strangersPatience = time.Minute

// looks is how many times in a row a host must be found well: what ends again soon after its start is not.
const looks = 5

// settles waits until a host lives with a version, and shows it some times in a row.
func (u gate) settles(ctx context.Context, t *fleet.Target, version string, since restarted) error {
	well := 0
	return fleet.InsistOnKubelet(ctx, t, since.starts, u.patience(), func(ctx context.Context) error {
		err := u.lives(ctx, t, version)
		if err == nil {
			err = u.anew(ctx, t, since)
		}
		if well++; err != nil {
			well = 0
		} else if well < looks {
			err = fmt.Errorf("it has just come up")
		}
		return err
	})
}

// anew is an error while static pods of a master are still those of the kubelet before.
func (u gate) anew(ctx context.Context, t *fleet.Target, since restarted) error {
	if len(since.hashes) == 0 || time.Since(since.at) > strangersPatience {
		return nil
	}
	now, err := u.hashes(ctx, t)
	if err != nil {
		return err
	}
	for c, before := range since.hashes {
		if before != "" && now[c] == before {
			return fmt.Errorf("kubelet has not started the static pod %s anew yet", c)
		}
	}
	return nil
}

// hashes are the digests by which kubelet knows the static pods of a master.
func (u gate) hashes(ctx context.Context, t *fleet.Target) (map[string]string, error) {
	out := map[string]string{}
	for _, c := range components() {
		if c == "etcd" && t.EtcdManifest == "" {
			continue
		}
		raw, err := u.Kube.Kubectl(ctx, "get", "pod", "-n", "kube-system", c+"-"+t.NodeName(), "-o", "json")
		if err != nil {
			return nil, err
		}
		var pod struct {
			Metadata struct {
				Annotations map[string]string `json:"annotations"`
			} `json:"metadata"`
		}
		if err := json.Unmarshal(raw, &pod); err != nil {
			return nil, fmt.Errorf("decode static pod %s: %w", c, err)
		}
		out[c] = pod.Metadata.Annotations["kubernetes.io/config.hash"]
	}
	return out, nil
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
