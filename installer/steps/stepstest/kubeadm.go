package stepstest

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// kubeadm does in a few steps what the real one does in many, and refuses what that refuses: a host that is already a
// part of a cluster, a token or an authority that is not the cluster's, a node that is there and Ready, a second
// member that etcd has to learn about at once.
func (c *call) kubeadm(ctx context.Context, args []string) (string, error) {
	switch {
	case args[0] == "init":
		return "", c.kubeadmInit(ctx, args[len(args)-1])
	case args[0] == "join":
		return "", c.kubeadmJoin(ctx, args[len(args)-1])
	case args[0] == "reset":
		return "", c.kubeadmReset(args[1:])
	case args[0] == "--kubeconfig" && args[2] == "token":
		return c.kubeadmToken(args[1])
	}
	return "", fmt.Errorf("not simulated: kubeadm %v", args)
}

// step does one step of a program; the site is locked meanwhile.
func (c *call) step(what string, do func(s *Site, m *Machine) error) error {
	if err := c.happen("step", what); err != nil {
		return err
	}
	s := c.session.site
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := c.ended(); err != nil {
		return err
	}
	return do(s, c.machine)
}

func (c *call) preflight(config string) error {
	return c.step("preflight", func(_ *Site, m *Machine) error {
		for _, name := range []string{kubeletConf, manifest("kube-apiserver"), manifest("etcd"), "/var/lib/etcd/member"} {
			if m.tree.has(name) {
				return fmt.Errorf("[ERROR FileAvailable]: %s already exists", name)
			}
		}
		if !m.runtime {
			return fmt.Errorf("[ERROR CRI]: container runtime is not running")
		}
		if !m.tree.has(config) {
			return fmt.Errorf("open %s: no such file", config)
		}
		return m.checkNodeName(m.tree.text(config))
	})
}

func (c *call) kubeadmInit(ctx context.Context, config string) error {
	if err := c.preflight(config); err != nil {
		return err
	}
	if err := c.session.site.pause(ctx, "kubeadm init"); err != nil {
		return err
	}
	ca := ""
	return c.steps(
		"init: certificates", func(_ *Site, m *Machine) error {
			for _, name := range append(authorities(), "apiserver.crt", "apiserver.key") {
				if !m.tree.has("/etc/kubernetes/pki/" + name) {
					return fmt.Errorf("the installer brought no %s", name)
				}
			}
			ca = m.tree.text("/etc/kubernetes/pki/ca.crt")
			return nil
		},
		"init: kubelet", func(_ *Site, m *Machine) error { return m.kubelet() },
		"init: control plane", func(s *Site, m *Machine) error {
			if s.kube != nil && len(s.kube.nodes) > 0 {
				s.violated("%s: kubeadm init while there is a cluster of %d nodes", m.IP, len(s.kube.nodes))
			}
			s.kube = &kube{ca: ca, members: map[string]string{m.IP: "voter"}, nodes: map[string]bool{}, tokens: map[string]bool{}, marked: map[string]bool{}}
			return m.controlPlane()
		},
		"init: register node", func(s *Site, m *Machine) error {
			s.kube.nodes[m.node()], s.kube.marked[m.node()] = true, true
			m.proxyAPI = m.tree.lookup("apiserver.cluster.local")
			return nil
		},
		"init: addons", func(_ *Site, m *Machine) error {
			m.done["kubeadm init"]++
			return nil
		},
	)
}

// steps does steps in turn: their names, each followed by what it does.
func (c *call) steps(list ...any) error {
	for i := 0; i < len(list); i += 2 {
		if err := c.step(list[i].(string), list[i+1].(func(*Site, *Machine) error)); err != nil {
			return err
		}
	}
	return nil
}

func authorities() []string {
	return []string{"ca.crt", "ca.key", "front-proxy-ca.crt", "front-proxy-ca.key", "etcd/ca.crt", "etcd/ca.key", "sa.key", "sa.pub"}
}

func (m *Machine) controlPlane() error {
	if err := m.tree.mkdir(manifests, []string{"0700"}); err != nil {
		return err
	}
	for _, pod := range staticPods() {
		if err := m.tree.put(manifest(pod), pod+"\n"); err != nil {
			return err
		}
	}
	if err := m.tree.put("/var/log/kubernetes/audit.log", "{}\n"); err != nil {
		return err
	}
	return m.tree.put("/var/lib/etcd/member", "data\n")
}

// kubelet starts, and leaves what it has of its own and of pods in many places.
func (m *Machine) kubelet() error {
	for _, unit := range []string{"kubepods.slice", "kubepods-besteffort.slice"} {
		m.units[unit] = unit
	}
	for _, name := range []string{
		kubeletDir + "/config.yaml", kubeletDir + "/pki/kubelet-client-current.pem", kubeletDir + "/pods/1f/volumes/token", "/etc/kubernetes/tmp/kubeadm-init-1/x",
		"/var/log/pods/kube-system_proxy_1f/proxy/0.log", "/var/log/containers/proxy_kube-system_proxy-1f.log", kubeletConf,
	} {
		if err := m.tree.put(name, "kubelet\n"); err != nil {
			return err
		}
	}
	return nil
}

var (
	discoveryPath = regexp.MustCompile(`kubeConfigPath: (\S+)`)
	tokenForm     = regexp.MustCompile(`token: (\S+)`)
	serverForm    = regexp.MustCompile(`server: https://([^:\s]+):6443`)
)

func (c *call) kubeadmJoin(ctx context.Context, config string) error {
	if err := c.preflight(config); err != nil {
		return err
	}
	text := c.tree.text(config)
	found := discoveryPath.FindStringSubmatch(text)
	if found == nil {
		return fmt.Errorf("%s names no discovery file", config)
	}
	discovery := c.tree.text(found[1])
	token, server := tokenForm.FindStringSubmatch(discovery), serverForm.FindStringSubmatch(discovery)
	if token == nil || server == nil {
		return fmt.Errorf("%s is no discovery file", found[1])
	}
	err := c.step("join: discovery", func(s *Site, m *Machine) error {
		switch {
		case !s.reaches(m):
			return fmt.Errorf("https://%s:6443 does not answer (%s)", server[1], m.tree.lookup(server[1]))
		case !s.kube.tokens[token[1]]:
			return fmt.Errorf("token %s is not the cluster's", token[1])
		case s.ready(m):
			return fmt.Errorf("a Node with name %q and status \"Ready\" already exists in the cluster", m.node())
		}
		return nil
	})
	if err != nil {
		return err
	}
	what := "join node"
	if strings.Contains(text, "controlPlane:") {
		what = "join master"
	}
	if err := c.session.site.pause(ctx, "kubeadm "+what); err != nil {
		return err
	}
	if what == "join master" {
		if err := c.joinMaster(); err != nil {
			return err
		}
	}
	return c.steps(
		"join: kubelet", func(_ *Site, m *Machine) error { return m.kubelet() },
		"join: register node", func(s *Site, m *Machine) error {
			s.kube.nodes[m.node()] = true
			m.proxyAPI = m.tree.lookup("apiserver.cluster.local")
			return nil
		},
		"join: last", func(s *Site, m *Machine) error {
			if what == "join master" {
				s.kube.members[m.IP], s.kube.marked[m.node()] = "voter", true
			}
			m.done["kubeadm join"]++
			return nil
		},
	)
}

func (c *call) joinMaster() error {
	return c.steps(
		"join: certificates", func(s *Site, m *Machine) error {
			for _, name := range authorities() {
				if !m.tree.has("/etc/kubernetes/pki/" + name) {
					return fmt.Errorf("the installer brought no %s", name)
				}
			}
			if m.tree.text("/etc/kubernetes/pki/ca.crt") != s.kube.ca {
				s.violated("%s: joins with an authority that is not the cluster's", m.IP)
			}
			return nil
		},
		"join: etcd", func(s *Site, m *Machine) error {
			for ip, kind := range s.kube.members {
				if kind == "learner" && ip != m.IP {
					return fmt.Errorf("etcdserver: too many learner members in cluster: %s is one", ip)
				}
			}
			if s.kube.members[m.IP] == "" {
				s.kube.members[m.IP] = "learner"
			}
			return nil
		},
		"join: control plane", func(_ *Site, m *Machine) error { return m.controlPlane() },
	)
}

// kubeadmReset empties, as the real one does, directories as they are: what others have put there goes, too. What is hidden from
// it stays.
func (c *call) kubeadmReset(args []string) error {
	certs := "/etc/kubernetes/pki"
	if i := slices.Index(args, "--cert-dir"); i >= 0 {
		certs = args[i+1]
	}
	return c.steps(
		"reset: etcd member", func(s *Site, m *Machine) error {
			if m.done["kubeadm init"]+m.done["kubeadm join"] > m.done["kubeadm reset"] {
				m.done["kubeadm reset"]++
			}
			if s.kube == nil || !m.tree.has(manifest("etcd")) {
				return nil
			}
			if !s.quorum() {
				return nil // warns, and goes on
			}
			delete(s.kube.members, m.IP)
			return nil
		},
		"reset: files", func(_ *Site, m *Machine) error {
			for _, dir := range []string{manifests, certs, kubeletDir} {
				if slices.Contains(c.hide, dir) {
					continue
				}
				if err := m.tree.empty(dir); err != nil {
					return err
				}
			}
			return m.tree.remove(kubeletConf, adminConf, "/etc/kubernetes/super-admin.conf", "/etc/kubernetes/bootstrap-kubelet.conf",
				"/etc/kubernetes/controller-manager.conf", "/etc/kubernetes/scheduler.conf")
		},
		"reset: etcd data", func(s *Site, m *Machine) error {
			if s.kube != nil && len(s.kube.members) == 0 {
				s.kube = nil
			}
			if err := m.tree.remove("/var/lib/etcd/member"); err != nil {
				return err
			}
			return m.tree.mkdir(manifests, []string{"0700"})
		},
	)
}

func (c *call) kubeadmToken(kubeconfig string) (string, error) {
	token := ""
	err := c.step("token create", func(s *Site, m *Machine) error {
		if err := s.api(m, kubeconfig, m.tree.lookup("apiserver.cluster.local")); err != nil {
			return err
		}
		token = fmt.Sprintf("abcdef.%016d", len(s.kube.tokens))
		s.kube.tokens[token] = true
		return nil
	})
	return token + "\n", err
}
