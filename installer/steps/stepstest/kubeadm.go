package stepstest

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
)

// kubeadm does in a few steps what the real one (1.36) does in many. It refuses what the real one refuses: a host that is
// already in a cluster, a directory for etcd that holds something, a token or an authority that is not the cluster's, a
// Node that is there and Ready, a second member for etcd to learn about at once. It waits for what the real one waits for, as
// long as a few boots take.
func (c *call) kubeadm(ctx context.Context, args []string) (string, error) {
	switch {
	case args[0] == "init":
		return "", c.kubeadmInit(ctx, args[len(args)-1])
	case args[0] == "join":
		return "", c.kubeadmJoin(ctx, args[len(args)-1])
	case args[0] == "upgrade":
		return "", c.kubeadmUpgrade(ctx, args[1:])
	case args[0] == "reset":
		return "", c.kubeadmReset(ctx, args)
	case args[0] == "--kubeconfig" && args[2] == "token":
		return c.kubeadmToken(args[1])
	}
	return "", fmt.Errorf("not simulated: kubeadm %v", args)
}

// step does one step of a program, with the site locked.
func (c *call) step(what string, do func(s *Site, m *Machine) error) error {
	if err := c.happen("step", what); err != nil {
		return err
	}
	s := c.session.site
	defer s.locked()()
	if err := c.ended(); err != nil {
		return err
	}
	return do(s, c.machine)
}

// preflight gives etcd's data directory, if the configuration says one.
func (c *call) preflight(config string) (dataDir string, err error) {
	return dataDir, c.step("preflight", func(s *Site, m *Machine) error {
		for _, name := range []string{kubeletConf, bootstrapConf, manifest("kube-apiserver"), manifest("etcd")} {
			if m.tree.has(name) {
				return fmt.Errorf("[ERROR FileAvailable]: %s already exists", name)
			}
		}
		if !m.containerd() {
			return fmt.Errorf("[ERROR CRI]: container runtime is not running")
		}
		if !m.tree.has(config) {
			return fmt.Errorf("open %s: no such file", config)
		}
		text := m.tree.text(config)
		if err := m.checkNodeName(text); err != nil {
			return err
		}
		if strings.Contains(text, "kind: JoinConfiguration") && !strings.Contains(text, "controlPlane:") {
			return nil
		}
		dataDir = etcdDir
		if s.kube != nil {
			dataDir = s.kube.dataDir
		}
		if found := dataDirForm.FindStringSubmatch(text); found != nil {
			dataDir = found[1]
		}
		check := "DirAvailable-" + strings.ReplaceAll(dataDir, "/", "-")
		if !m.tree.empty(dataDir) && !strings.Contains(text, "- "+check+"\n") {
			return fmt.Errorf("[ERROR %s]: %s is not empty", check, dataDir)
		}
		return nil
	})
}

func (c *call) kubeadmInit(ctx context.Context, config string) error {
	dataDir, err := c.preflight(config)
	if err != nil {
		return err
	}
	if err := c.session.site.pause(ctx, "kubeadm init"); err != nil {
		return err
	}
	ca := ""
	return c.steps(
		ctx,
		"init: certificates", func(_ *Site, m *Machine) error {
			for _, name := range append(authorities(), "apiserver.crt", "apiserver.key") {
				if !m.tree.has("/etc/kubernetes/pki/" + name) {
					return fmt.Errorf("the installer brought no %s", name)
				}
			}
			ca = m.tree.text("/etc/kubernetes/pki/ca.crt")
			return nil
		},
		"init: kubelet", func(_ *Site, m *Machine) error {
			m.before()
			m.stopped = false
			return errors.Join(leaveTraces(m), c.release.kubeletFiles(m, m.tree.text(config)), m.tree.put(kubeletConf, kubeletOf(ca)))
		},
		"init: control plane", func(s *Site, m *Machine) error {
			if s.kube != nil && len(s.kube.nodes) > 0 && !s.lost() {
				s.violated("%s: kubeadm init while there is a cluster of %d nodes", m.IP, len(s.kube.nodes))
			}
			s.kube = &kube{
				ca: ca, dataDir: dataDir, members: map[string]member{m.IP: {id: 1, voter: true}}, added: 1,
				nodes: map[string]kubeNode{}, tokens: map[string]bool{}, values: map[string]string{},
			}
			return errors.Join(m.controlPlane(m.tree.text(config)), c.release.etcdManifest(m, dataDir, s.kube.memberList()))
		},
		"init: wait for the API", patiently(func(s *Site, m *Machine) error {
			if !s.serves(m) {
				return fmt.Errorf("[wait-control-plane] the API server does not answer (%s)", s.startEtcd(m))
			}
			return nil
		}),
		"init: register node", func(s *Site, m *Machine) error {
			s.kube.nodes[m.node()] = kubeNode{ip: m.IP, master: true}
			m.proxyAPI = m.tree.lookup("apiserver.cluster.local")
			return nil
		},
		"init: addons", func(s *Site, m *Machine) error {
			c.release.keepSettings(s, m.tree.text(config))
			c.release.addons(s, documents(m.tree.text(config))["ClusterConfiguration"])
			m.done["kubeadm init"]++
			return nil
		},
	)
}

// patiently is a step that kubeadm tries until it succeeds, or kubeadm's time is over.
type patiently func(*Site, *Machine) error

// steps does steps in turn. list holds the name of each, followed by the function that does it.
func (c *call) steps(ctx context.Context, list ...any) error {
	for i := 0; i < len(list); i += 2 {
		name, err := list[i].(string), error(nil)
		switch do := list[i+1].(type) {
		case patiently:
			if err = c.happen("step", name); err == nil {
				err = c.await(ctx, patience(c.session.site), do)
			}
		case func(*Site, *Machine) error:
			err = c.step(name, do)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func authorities() []string {
	return []string{"ca.crt", "ca.key", "front-proxy-ca.crt", "front-proxy-ca.key", "etcd/ca.crt", "etcd/ca.key", "sa.key", "sa.pub"}
}

func (m *Machine) controlPlane(text string) error {
	if err := m.tree.mkdir(manifests, []string{"0700"}); err != nil {
		return err
	}
	for _, pod := range staticPods() {
		if pod == "etcd" {
			continue
		}
		if err := m.tree.put(manifest(pod), podManifest(pod, clusterDocument(m, text), m.IP)); err != nil {
			return err
		}
	}
	return m.tree.put("/var/log/kubernetes/audit.log", "{}\n")
}

func (r release) etcdManifest(m *Machine, dataDir, members string) error {
	return errors.Join(m.tree.put(manifest("etcd"), r.etcdPod(dataDir, members)), m.tree.mkdir(dataDir, []string{"0700"}))
}

// etcdPod is the manifest of etcd.
func (r release) etcdPod(dataDir, members string) string {
	image := ""
	if r.etcd != "" {
		image = "\n    image: " + imageRepository + "etcd:" + r.etcd + "\n    name: etcd"
	}
	return "spec:\n  containers:\n  - command:\n    - --initial-cluster=" + members + image +
		"\n  volumes:\n  - hostPath:\n      path: " + dataDir + "\n      type: DirectoryOrCreate\n    name: etcd-data\n"
}

// leaveTraces leaves the files and units that kubelet and pods leave in many places.
func leaveTraces(m *Machine) error {
	for _, unit := range []string{"kubepods.slice", "kubepods-besteffort.slice"} {
		m.units[unit] = unit
	}
	for _, name := range []string{
		kubeletDir + "/pki/kubelet-client-current.pem", kubeletDir + "/pods/1f/volumes/token", "/etc/kubernetes/tmp/kubeadm-init-1/x",
		"/var/log/pods/kube-system_proxy_1f/proxy/0.log", "/var/log/containers/proxy_kube-system_proxy-1f.log",
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
	dataDir, err := c.preflight(config)
	if err != nil {
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
	what := "join node"
	if strings.Contains(text, "controlPlane:") {
		what = "join master"
	}
	list := []any{"join: discovery", patiently(func(s *Site, m *Machine) error {
		switch {
		case s.machine(server[1]) != nil && !s.serves(s.machine(server[1])):
			return fmt.Errorf("dial tcp %s:6443: connect: connection refused", server[1])
		case !s.reaches(m):
			return fmt.Errorf("https://%s:6443 does not answer (%s)", server[1], m.tree.lookup(server[1]))
		case !s.kube.tokens[token[1]]:
			return fmt.Errorf("token %s is not the cluster's", token[1])
		}
		return nil
	})}
	if what == "join master" {
		list = append(list, prepareMaster()...)
	}
	list = append(list, "join: node name", func(s *Site, m *Machine) error {
		if s.nodeReady(m.node()) {
			return fmt.Errorf("a Node with name %q and status \"Ready\" already exists in the cluster", m.node())
		}
		return nil
	}, "join: kubelet", func(_ *Site, m *Machine) error {
		m.before()
		m.stopped, m.fresh = false, true
		return errors.Join(leaveTraces(m), c.release.kubeletFiles(m, text), m.tree.put(bootstrapConf, "token: "+token[1]+"\n"))
	})
	if what == "join master" {
		list = append(list, c.release.joinEtcd(dataDir)...)
	}
	if err := c.session.site.pause(ctx, "kubeadm "+what); err != nil {
		return err
	}
	return c.steps(ctx, append(list,
		"join: register node", patiently(func(s *Site, m *Machine) error {
			// kubelet gets its certificate by itself, and makes the Node. That of a master asks the API server beside it.
			if s.register(); !m.tree.has(kubeletConf) || m.fresh {
				return errors.New("[kubelet-wait-bootstrap]: kubelet has no certificate yet")
			}
			m.proxyAPI = m.tree.lookup("apiserver.cluster.local")
			return m.tree.remove(bootstrapConf)
		}),
		"join: mark", func(s *Site, m *Machine) error {
			if n, ok := s.kube.nodes[m.node()]; what == "join master" && ok {
				n.master = true
				s.kube.nodes[m.node()] = n
			}
			return nil
		},
		"join: last", patiently(func(s *Site, m *Machine) error {
			if what == "join master" && !s.serves(m) {
				return errors.New("[wait-control-plane] the API server does not answer")
			}
			m.done["kubeadm join"]++
			return nil
		}),
	)...)
}

// prepareMaster are the steps before kubelet is started.
func prepareMaster() []any {
	return []any{
		"join: certificates", func(s *Site, m *Machine) error {
			for _, name := range authorities() {
				if !m.tree.has("/etc/kubernetes/pki/" + name) {
					return fmt.Errorf("the installer brought no %s", name)
				}
			}
			if m.tree.text("/etc/kubernetes/pki/ca.crt") != s.kube.ca {
				s.violated("%s: joins with an authority that is not the cluster's", m.IP)
			}
			return m.controlPlane("")
		},
		"join: check-etcd", patiently(func(s *Site, _ *Machine) error {
			if !s.led() {
				return errors.New("[check-etcd] etcdserver: no leader")
			}
			return nil
		}),
	}
}

// joinEtcd are the steps by which etcd takes in a member: a learner, which starts, catches up and gets a vote.
func (r release) joinEtcd(dataDir string) []any {
	return []any{
		"join: etcd learner", patiently(func(s *Site, m *Machine) error { return members{s}.addLearner(m.IP) }),
		"join: etcd manifest", func(_ *Site, m *Machine) error { return r.etcdManifest(m, dataDir, m.site.kube.memberList()) },
		"join: etcd starts", patiently(func(s *Site, m *Machine) error {
			if !s.runs(m) {
				return fmt.Errorf("the etcd member is not started: %s", s.startEtcd(m))
			}
			return nil
		}),
		"join: etcd vote", patiently(func(s *Site, m *Machine) error { return members{s}.promote(m) }),
	}
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

// node is the name of the machine's Node: kubelet takes the host name in lower case, and no other.
func (m *Machine) node() string { return strings.ToLower(m.Name) }

var nodeNameForm = regexp.MustCompile(`(?m)^nodeRegistration:\n(?:  .*\n)*?  name: (\S+)$`)

// checkNodeName refuses a name that kubeadm refuses, and one for which its kubelet would wait in vain.
func (m *Machine) checkNodeName(config string) error {
	found := nodeNameForm.FindStringSubmatch(config)
	switch {
	case found == nil:
		return nil
	case found[1] != strings.ToLower(found[1]) || len(found[1]) > 63:
		return fmt.Errorf("nodeRegistration.name: Invalid value: %q: a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.'", found[1])
	case found[1] != m.node():
		return fmt.Errorf("nodes %q not found: kubelet registered %s", found[1], m.node())
	}
	return nil
}
