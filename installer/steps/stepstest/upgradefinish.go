package stepstest

import (
	"context"
	"errors"
	"maps"
	"slices"
)

// finish is what comes after the control plane: what the cluster keeps, kubelet's configuration on this host and, if the API
// lists no API server of before any more, the add-ons. If it lists one, it does nothing about them and succeeds.
func (u *upgrade) finish(ctx context.Context) error {
	upload := func(change func(s *Site)) func(s *Site, m *Machine) error {
		return func(s *Site, _ *Machine) error {
			if slices.Contains(s.kube.alarms, "NOSPACE") {
				return errNoSpace
			}
			s.kube.configs = maps.Clone(s.kube.configs)
			change(s)
			return nil
		}
	}
	if u.apply {
		err := u.patient(ctx, "upgrade: upload kubeadm-config", u.short(), upload(func(s *Site) { s.kube.configs["kubeadm-config"] = inYAML(u.cluster) }))
		if err != nil {
			return err
		}
		err = u.patient(ctx, "upgrade: upload kubelet-config", u.short(), upload(func(s *Site) {
			s.kube.configs["kubelet-config"] = u.release.kubeletDocument(documents(s.kube.configs["kubelet-config"])["KubeletConfiguration"], "")
		}))
		if err != nil {
			return err
		}
	}
	var config object
	err := u.patient(ctx, "upgrade: kubelet's configuration of before", u.short(), func(s *Site, m *Machine) error {
		config = documents(s.kube.configs["kubelet-config"])["KubeletConfiguration"]
		dir, err := u.tmp(m, "kubeadm-kubelet-config")
		return errors.Join(err, m.tree.put(dir+"/config.yaml", m.tree.text(kubeletConfig)))
	})
	if err != nil {
		return err
	}
	err = u.step("upgrade: kubelet's configuration", func(_ *Site, m *Machine) error {
		socket, _ := below(documents(m.tree.text(instanceConfig))["KubeletConfiguration"], "containerRuntimeEndpoint").(string)
		return m.tree.put(kubeletConfig, u.release.kubeletDocument(config, socket))
	})
	if err != nil || !u.master {
		return err
	}
	for _, name := range []string{"coredns", "kube-proxy"} {
		err := u.patient(ctx, "upgrade: add-on "+name, u.short(), func(s *Site, m *Machine) error {
			own, _ := mirrored(m, "kube-apiserver")
			for _, o := range s.machines {
				if text, ok := mirrored(o, "kube-apiserver"); ok && imageOf(text) != imageOf(own) {
					return nil
				}
			}
			u.release.addon(s, name, u.version)
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// addons makes kube-proxy and CoreDNS of a cluster that is begun.
func (r release) addons(s *Site, cluster object) {
	version, _ := cluster["kubernetesVersion"].(string)
	if r.version == "" || version == "" {
		return
	}
	r.addon(s, "coredns", version)
	r.addon(s, "kube-proxy", version)
}

// addon makes an add-on, or gives it the image of a version.
func (r release) addon(s *Site, name, version string) {
	if name == "kube-proxy" {
		s.kube.proxyImage, s.kube.proxyRuns = imageRepository+"kube-proxy:"+version, s.kube.configs["kube-proxy"]
		watchSkew(s)
		return
	}
	image := imageRepository + "coredns/coredns:" + r.dns
	for i := range s.kube.apps {
		if a := &s.kube.apps[i]; a.Namespace == "kube-system" && a.Name == name {
			if a.image != image {
				a.image = image
				a.round++
			}
			return
		}
	}
	s.kube.apps = append(s.kube.apps, App{Namespace: "kube-system", Name: name, Kind: "Deployment", Replicas: 2, Masters: true, image: image, label: "kube-dns"})
}

// rollProxy lets kubelets start kube-proxy's pod of its DaemonSet, where it is another one, once they have the image.
func (s workloads) rollProxy() {
	if s.kube.proxyImage == "" {
		return
	}
	for _, m := range s.machines {
		if m.proxyImage != s.kube.proxyImage && s.kube.has(m.node()) && s.alive(m.node()) && obtain(m, s.kube.proxyImage) {
			m.proxyImage, m.proxyAPI = s.kube.proxyImage, m.tree.lookup("apiserver.cluster.local")
		}
	}
}
