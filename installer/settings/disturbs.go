package settings

import (
	"slices"
	"strings"

	"github.com/sealbuild/sealbuild/installer/kubeadm"
)

// What a change disturbs, in words.
const (
	disturbsNothing   = "nothing that runs"
	disturbsAPIServer = "the API server of one master at a time"
	disturbsManager   = "the controller manager of one master at a time"
	disturbsScheduler = "the scheduler of one master at a time"
	disturbsKubelet   = "kubelet, host by host; pods go on"
	disturbsPods      = "kubelet, host by host; its pods move away first"
	disturbsProxy     = "kube-proxy, rolled out host by host"
)

// disturbance tells what a change of a field disturbs.
func disturbance(d kubeadm.Difference) string {
	top, _, _ := strings.Cut(d.Field, ".")
	switch {
	case d.Document == kubeadm.KubeProxy:
		return disturbsProxy
	case d.Document == kubeadm.Cluster && top == "apiServer":
		return disturbsAPIServer
	case d.Document == kubeadm.Cluster && top == "controllerManager":
		return disturbsManager
	case d.Document == kubeadm.Cluster && top == "scheduler":
		return disturbsScheduler
	case d.Document == kubeadm.Cluster:
		return disturbsNothing
	case slices.Contains(withDrain(), kubeletField(d)):
		return disturbsPods
	}
	return disturbsKubelet
}

// kubeletField is the first part of a field of kubelet's configuration, also for the argument of the same meaning.
func kubeletField(d kubeadm.Difference) string {
	name, isArgument := strings.CutPrefix(d.Field, "nodeRegistration.kubeletExtraArgs.")
	if !isArgument {
		top, _, _ := strings.Cut(d.Field, ".")
		return top
	}
	words := strings.Split(name, "-")
	for i, w := range words[1:] {
		if w != "" {
			words[i+1] = strings.ToUpper(w[:1]) + w[1:]
		}
	}
	return strings.Join(words, "")
}

// withDrain are the fields of kubelet's configuration that pods which run already may not fit: how many there may be, what each
// may have, and in which control groups they are. With all others kubelet takes its pods over as they are.
func withDrain() []string {
	return []string{
		"maxPods", "podsPerCore", "podPidsLimit", // how many
		"cgroupDriver", "cgroupRoot", "cgroupsPerQOS", "enforceNodeAllocatable", "systemReservedCgroup", "kubeReservedCgroup", // where
		"systemReserved", "kubeReserved", "reservedSystemCPUs", "reservedMemory", "qosReserved", // what is left for them
		"cpuManagerPolicy", "cpuManagerPolicyOptions", "memoryManagerPolicy", "cpuCFSQuota", "cpuCFSQuotaPeriod", "memorySwap", "memoryThrottlingFactor",
		"topologyManagerPolicy", "topologyManagerScope", "topologyManagerPolicyOptions",
		"evictionHard", "evictionMinimumReclaim", "mergeDefaultEvictionSettings", // which of them are ended at once
		"featureGates", "userNamespaces",
	}
}

// checkpoints are the files in which kubelet keeps what a policy has given to pods, by the fields that make it refuse them:
// it ends at once if the policy is another than that of the file. They are removed while no pod needs them.
func checkpoints(fields []kubeadm.Difference) (paths []string) {
	for file, of := range map[string][]string{
		kubeletDir + "/cpu_manager_state":    {"cpuManagerPolicy", "cpuManagerPolicyOptions", "reservedSystemCPUs", "systemReserved", "kubeReserved"},
		kubeletDir + "/memory_manager_state": {"memoryManagerPolicy", "reservedMemory", "systemReserved", "kubeReserved", "evictionHard"},
	} {
		if slices.ContainsFunc(fields, func(d kubeadm.Difference) bool { return slices.Contains(of, kubeletField(d)) }) {
			paths = append(paths, file)
		}
	}
	slices.Sort(paths)
	return paths
}

// fixedArguments are arguments of kubelet by which a host is what it is in the cluster.
func fixedArguments() []string {
	return []string{"nodeIp", "hostnameOverride", "nodeLabels", "registerWithTaints", "containerRuntimeEndpoint"}
}

// fixedKubelet are fields of kubelet's configuration that other parts of the cluster depend on.
func fixedKubelet() []string {
	return []string{"clusterDomain", "staticPodPath", "podCIDR", "providerID"}
}

// isFixed tells whether a field of kubelet or kube-proxy is decided when a host joins.
func isFixed(d kubeadm.Difference) bool {
	if d.Document == kubeadm.KubeProxy {
		return d.Field == "clusterCIDR"
	}
	return d.Document != kubeadm.Cluster && slices.Contains(slices.Concat(fixedArguments(), fixedKubelet()), kubeletField(d))
}

// whyFixed says why a field cannot be changed.
func whyFixed(d kubeadm.Difference) string {
	top, rest, _ := strings.Cut(d.Field, ".")
	switch {
	case d.Document != kubeadm.Cluster:
		return "it is decided when a host joins"
	case top == "etcd":
		return "etcd's members have it from the day they joined"
	case top == "networking" && rest == "dnsDomain":
		return "names of Services that pods know end with it"
	case top == "networking":
		return "pods and Services have addresses of the network that the cluster was made with"
	case top == "clusterName", top == "controlPlaneEndpoint", top == "certificatesDir":
		return "kubeconfigs and certificates of every host have it"
	case top == "imageRepository", top == "dns", top == "proxy":
		return "it comes with the bundle"
	}
	return "it is decided when the cluster is made"
}
