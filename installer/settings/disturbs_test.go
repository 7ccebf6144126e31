package settings

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sealbuild/sealbuild/installer/kubeadm"
)

func TestWhatAChangeDisturbs(t *testing.T) {
	for field, want := range map[kubeadm.Difference]string{
		{Document: kubeadm.Cluster, Field: "apiServer.extraArgs.v"}:                                         disturbsAPIServer,
		{Document: kubeadm.Cluster, Field: "controllerManager.extraArgs.v"}:                                 disturbsManager,
		{Document: kubeadm.Cluster, Field: "scheduler.extraEnvs.TZ"}:                                        disturbsScheduler,
		{Document: kubeadm.Cluster, Field: "certificateValidityPeriod"}:                                     disturbsNothing,
		{Document: kubeadm.KubeProxy, Field: "mode"}:                                                        disturbsProxy,
		{Document: kubeadm.Kubelet, Field: "containerLogMaxFiles"}:                                          disturbsKubelet,
		{Document: kubeadm.Kubelet, Field: "maxPods"}:                                                       disturbsPods,
		{Document: kubeadm.Kubelet, Field: "evictionHard.memory.available"}:                                 disturbsPods,
		{Document: kubeadm.Kubelet, Field: "cpuManagerPolicy"}:                                              disturbsPods,
		{Document: "JoinConfiguration", Field: "nodeRegistration.kubeletExtraArgs.v"}:                       disturbsKubelet,
		{Document: "JoinConfiguration", Field: "nodeRegistration.kubeletExtraArgs.topology-manager-policy"}: disturbsPods,
	} {
		if got := disturbance(field); got != want {
			t.Errorf("%s: %s; want %s", field, got, want)
		}
	}
}

func TestKubeletForgetsWhatAPolicyGaveToPods(t *testing.T) {
	of := func(fields ...string) (out []kubeadm.Difference) {
		for _, f := range fields {
			out = append(out, kubeadm.Difference{Document: kubeadm.Kubelet, Field: f})
		}
		return out
	}
	if got := checkpoints(of("containerLogMaxFiles", "maxPods")); len(got) > 0 {
		t.Error(got)
	}
	want := []string{"/var/lib/kubelet/cpu_manager_state", "/var/lib/kubelet/memory_manager_state"}
	if diff := cmp.Diff(want, checkpoints(of("cpuManagerPolicy", "memoryManagerPolicy"))); diff != "" {
		t.Error(diff)
	}
	for _, field := range []string{"cpuManagerPolicy", "memoryManagerPolicy", "reservedMemory", "systemReserved"} {
		if len(checkpoints(of(field))) > 0 && !slices.Contains(withDrain(), field) {
			t.Errorf("%s: what pods have is forgotten while they run", field)
		}
	}
}

func TestWhatIsDecidedWhenAHostJoins(t *testing.T) {
	for field, want := range map[kubeadm.Difference]bool{
		{Document: "JoinConfiguration", Field: "nodeRegistration.kubeletExtraArgs.node-ip"}: true,
		{Document: "JoinConfiguration", Field: "nodeRegistration.kubeletExtraArgs.v"}:       false,
		{Document: kubeadm.Kubelet, Field: "clusterDomain"}:                                 true,
		{Document: kubeadm.Kubelet, Field: "maxPods"}:                                       false,
		{Document: kubeadm.KubeProxy, Field: "clusterCIDR"}:                                 true,
		{Document: kubeadm.Cluster, Field: "apiServer.extraArgs.v"}:                         false,
	} {
		if got := isFixed(field); got != want {
			t.Errorf("%s: %v", field, got)
		}
	}
}
