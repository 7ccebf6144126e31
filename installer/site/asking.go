package site

import (
	"context"
	"time"

	"github.com/sealbuild/sealbuild/installer/agent"
	"github.com/sealbuild/sealbuild/installer/fleet"
	"github.com/sealbuild/sealbuild/installer/kube"
)

// KubectlCache is the directory on a master where kubectl keeps what it has learnt of the API.
func (st *Site) KubectlCache() string {
	return st.Dir("cache", "kubectl") //docs:file masters /var/lib/sealos/data/<cluster>/cache/: what kubectl keeps for itself
}

// ControlPlanes are the masters that can be asked about the cluster.
func (st *Site) ControlPlanes() []*fleet.Target {
	return fleet.Only(st.Masters(), (*fleet.Target).InCluster)
}

// askable are the same masters for the client of the cluster.
func askable(st *Site) []kube.ControlPlane {
	var out []kube.ControlPlane
	for _, t := range st.ControlPlanes() {
		out = append(out, st.ControlPlane(t))
	}
	return out
}

// ControlPlane describes a master to the client of the cluster.
func (st *Site) ControlPlane(t *fleet.Target) kube.ControlPlane {
	return kube.ControlPlane{IP: t.IP, Agent: t.Agent, Runtime: st.Share(t).RootfsEnv()["SEALOS_SYS_CRI_ENDPOINT"]}
}

// KubeHosts describes the hosts of the run to the client of the cluster.
func (st *Site) KubeHosts() []kube.Host {
	var out []kube.Host
	for _, t := range st.Targets {
		out = append(out, KubeHost(t))
	}
	return out
}

// Lacks asks the cluster what it still waits for on the hosts of this run.
func (st *Site) Lacks(ctx context.Context) (kube.Lacks, error) {
	return st.Kube.Lacks(ctx, st.KubeHosts())
}

// LifeRequest is the request for facts about what must run on a host of the cluster.
func (st *Site) LifeRequest(t *fleet.Target) agent.FactsRequest {
	return agent.FactsRequest{Sockets: []string{st.Share(t).RuntimeSocket()}, Programs: []string{"kubelet"}}
}

// APIPatience is how long this run lets the API refuse.
func (st *Site) APIPatience() time.Duration { return min(maxAPIPatience, st.Timeout) }

// KubeHost describes a host to the client of the cluster.
func KubeHost(t *fleet.Target) kube.Host {
	return kube.Host{IP: t.IP, Node: t.NodeName(), Master: t.Master}
}

// maxAPIPatience bounds how long the API may refuse while etcd takes in a member or elects a leader. On slow disks that
// takes many seconds.
const maxAPIPatience = time.Minute
