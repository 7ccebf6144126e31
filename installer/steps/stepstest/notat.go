package stepstest

import (
	"fmt"
	"maps"
	"slices"
)

// NotAt lists what of a cluster does not run, or does not say, a version of Kubernetes and of containerd, on every machine but
// those at the addresses that are left out: a bundle of [Kubernetes] of these, installed on a fresh site, leaves nothing to list.
func NotAt(s *Site, version, containerd string, leaveOut ...string) (out []string) {
	defer s.locked()()
	defer s.remembering()()
	r := releaseOf(version)
	workloads{s}.tick()
	is := func(what, got, want string) {
		if got != want {
			out = append(out, fmt.Sprintf("%s is %q, not %s", what, got, want))
		}
	}
	for _, m := range s.machines {
		if slices.Contains(leaveOut, m.IP) {
			continue
		}
		for _, line := range notAt(m, r, containerd) {
			out = append(out, m.IP+": "+line)
		}
	}
	if len(leaveOut) > 0 {
		return out
	}
	is("the version in kubeadm-config", fmt.Sprint(documents(s.kube.configs["kubeadm-config"])["ClusterConfiguration"]["kubernetesVersion"]), version)
	is("kube-proxy's DaemonSet", tagOf(s.kube.proxyImage), version)
	for _, a := range s.kube.apps {
		if a.label == "kube-dns" {
			is("CoreDNS's Deployment", tagOf(a.image), r.dns)
		}
	}
	return out
}

// notAt is [NotAt] for one machine.
func notAt(m *Machine, r release, containerd string) (out []string) {
	is := func(what, got, want string) {
		if got != want {
			out = append(out, fmt.Sprintf("%s is %q, not %s", what, got, want))
		}
	}
	for _, program := range []string{"kubelet", "kubeadm", "kubectl"} {
		is("the installed "+program, installed(m, program), r.version)
	}
	is("the installed containerd", installed(m, "containerd"), containerd)
	is("the kubelet that runs", m.programs.kubelet, r.version)
	is("the containerd that runs", m.programs.containerd, containerd)
	n := m.site.kube.nodes[m.node()]
	is("the kubelet of the Node", n.kubelet, r.version)
	is("the containerd of the Node", n.containerd, containerd)
	is("kube-proxy", tagOf(m.proxyImage), r.version)
	m.static()
	for _, pod := range staticPods() {
		want := r.version
		if pod == "etcd" {
			want = r.etcd
		}
		if n.master {
			is(pod, m.version(pod), want)
			if !podWorks(m, pod) {
				out = append(out, pod+" does not work")
			}
		}
	}
	pinned := maps.Clone(m.images)
	maps.DeleteFunc(pinned, func(_ string, pinned bool) bool { return !pinned })
	want := r.images(r.version, !n.master)
	slices.Sort(want)
	is("what is pinned", fmt.Sprint(slices.Sorted(maps.Keys(pinned))), fmt.Sprint(want))
	return out
}
