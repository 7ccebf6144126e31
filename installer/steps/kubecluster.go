package steps

import (
	"context"
	"slices"

	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/fleet"
	"github.com/sealbuild/sealbuild/installer/kube"
)

const adminConf = installer.KubeDir + "/admin.conf"

func (r *Run) kubectlCache() string { return r.dir("cache", "kubectl") }

// controlPlanes are the masters of which the cluster can be asked.
func (r *Run) controlPlanes() []*fleet.Target {
	return slices.DeleteFunc(r.Masters(), func(t *fleet.Target) bool { return !t.Looked || !t.Joined() })
}

// askable are the same, as the client of the cluster takes them.
func (r *Run) askable() []kube.ControlPlane {
	var out []kube.ControlPlane
	for _, t := range r.controlPlanes() {
		out = append(out, r.controlPlane(t))
	}
	return out
}

func (r *Run) controlPlane(t *fleet.Target) kube.ControlPlane {
	return kube.ControlPlane{IP: t.IP, Agent: t.Agent, Runtime: r.share(t).RootfsEnv()["SEALOS_SYS_CRI_ENDPOINT"]}
}

// kubeHost is a host as the client of the cluster takes it.
func kubeHost(t *fleet.Target) kube.Host {
	return kube.Host{IP: t.IP, Node: t.NodeName(), Master: t.Master}
}

func (r *Run) kubeHosts() []kube.Host {
	var out []kube.Host
	for _, t := range r.Targets {
		out = append(out, kubeHost(t))
	}
	return out
}

// lacks asks what the cluster of this run's hosts still waits for.
func (r *Run) lacks(ctx context.Context) (kube.Lacks, error) { return r.kube.Lacks(ctx, r.kubeHosts()) }
