package scan

import "go.yaml.in/yaml/v3"

// kubeadm takes the images that kubeadm makes of its configuration: those of
// the control plane, and the DNS server and etcd where their tags are given.
func (w *walker) kubeadm(m *yaml.Node) {
	repository := text(get(m, "imageRepository"))
	if repository == "" {
		repository = "registry.k8s.io"
	}
	take := func(at *yaml.Node, repository, name, tag string) {
		ref := joinRef(repository, name, tag, "")
		if s, ok := shapeOf(ref); ok && s.pinned() {
			w.report(ref, at, Suspected, "kubeadm's configuration")
		}
	}
	if version := get(m, "kubernetesVersion"); kubernetesVersion.MatchString(text(version)) {
		for _, name := range []string{"kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy"} {
			take(version, repository, name, text(version))
		}
	}
	for name, part := range map[string]*yaml.Node{"coredns/coredns": get(m, "dns"), "etcd": get(get(m, "etcd"), "local")} {
		own := text(get(part, "imageRepository"))
		if own == "" {
			own = repository
		} else if name == "coredns/coredns" {
			name = "coredns"
		}
		if tag := get(part, "imageTag"); text(tag) != "" {
			take(tag, own, name, text(tag))
		}
	}
}
