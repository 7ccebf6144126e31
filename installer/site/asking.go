package site

import (
	"context"
	"slices"
	"time"

	"github.com/sealbuild/sealbuild/installer/agent"
	"github.com/sealbuild/sealbuild/installer/fleet"
	"github.com/sealbuild/sealbuild/installer/kube"
)

// KubectlCache is where kubectl keeps what it has learnt of the API.
func (st *Site) KubectlCache() string { return st.Dir("cache", "kubectl") }

// ControlPlanes are the masters of which the cluster can be asked.
func (st *Site) ControlPlanes() []*fleet.Target {
	return slices.DeleteFunc(st.Masters(), func(t *fleet.Target) bool { return !t.Looked || !t.Joined() })
}

// askable are the same, as the client of the cluster takes them.
func (st *Site) askable() []kube.ControlPlane {
	var out []kube.ControlPlane
	for _, t := range st.ControlPlanes() {
		out = append(out, st.ControlPlane(t))
	}
	return out
}

// ControlPlane is a master as the client of the cluster takes it.
func (st *Site) ControlPlane(t *fleet.Target) kube.ControlPlane {
	return kube.ControlPlane{IP: t.IP, Agent: t.Agent, Runtime: st.Share(t).RootfsEnv()["SEALOS_SYS_CRI_ENDPOINT"]}
}

// KubeHosts are the hosts of the run as the client of the cluster takes them.
func (st *Site) KubeHosts() []kube.Host {
	var out []kube.Host
	for _, t := range st.Targets {
		out = append(out, KubeHost(t))
	}
	return out
}

// Lacks asks what the cluster of this run's hosts still waits for.
func (st *Site) Lacks(ctx context.Context) (kube.Lacks, error) {
	return st.Kube.Lacks(ctx, st.KubeHosts())
}

// LifeRequest asks for what must run on a host of a cluster.
func (st *Site) LifeRequest(t *fleet.Target) agent.FactsRequest {
	return agent.FactsRequest{Sockets: []string{st.Share(t).RuntimeSocket()}, Programs: []string{"kubelet"}}
}

// APIPatience is how long the API may refuse in this run.
func (st *Site) APIPatience() time.Duration { return min(maxAPIPatience, st.Timeout) }

// KubeHost is a host as the client of the cluster takes it.
func KubeHost(t *fleet.Target) kube.Host {
	return kube.Host{IP: t.IP, Node: t.NodeName(), Master: t.Master}
}

// maxAPIPatience is how long the API may refuse while etcd takes in a member or
// elects a leader; on slow disks that takes many seconds.
const maxAPIPatience = time.Minute
