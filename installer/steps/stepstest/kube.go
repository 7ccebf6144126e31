package stepstest

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/sealbuild/sealbuild/installer/care"
)

// kube is the cluster: what its API server and etcd know.
type kube struct {
	ca      string
	dataDir string            // of etcd
	members map[string]member // of etcd, by address
	added   int               // members there ever were: each has its number
	nodes   map[string]kubeNode
	tokens  map[string]bool
	values  map[string]string // what was put into etcd
	objects map[string][]object
	leader  string    // address of etcd's leader
	elected time.Time // there is no leader before
	silent  time.Time // no API server answers before
	crowd   int       // of further nodes, which are no machines

	configs map[string]string // ConfigMaps that kubeadm keeps in kube-system; never changed, but replaced
	notes   map[string]string // annotations of these; likewise
	// proxyRuns is the configuration that every kube-proxy has read.
	proxyRuns string
	apps      []App
	pods      []pod // of the workloads
	attached  []attachment
	made      int // pods there ever were
}

// has tells whether there is a Node of a name.
func (k *kube) has(name string) bool {
	_, ok := k.nodes[name]
	return ok
}

func (k *kube) clone() *kube {
	if k == nil {
		return nil
	}
	c := *k
	c.members, c.nodes, c.tokens, c.values = maps.Clone(k.members), maps.Clone(k.nodes), maps.Clone(k.tokens), maps.Clone(k.values)
	c.objects = maps.Clone(k.objects)
	c.apps, c.pods, c.attached = slices.Clone(k.apps), slices.Clone(k.pods), slices.Clone(k.attached)
	return &c
}

const (
	manifests   = "/etc/kubernetes/manifests"
	kubeletDir  = "/var/lib/kubelet"
	kubeletConf = "/etc/kubernetes/kubelet.conf"
	// bootstrapConf is what kubelet has before it has a certificate.
	bootstrapConf = "/etc/kubernetes/bootstrap-kubelet.conf"
	adminConf     = "/etc/kubernetes/admin.conf"
)

func staticPods() []string {
	return []string{"kube-apiserver", "kube-controller-manager", "kube-scheduler", "etcd"}
}

func manifest(pod string) string { return manifests + "/" + pod + ".yaml" }

// serves tells whether the API answers on a machine: its server runs there, and the etcd beside it has a leader. Without
// that it neither writes nor reads.
func (s *Site) serves(m *Machine) bool {
	return m != nil && s.kube != nil && !time.Now().Before(s.kube.silent) && m.booted(apiUp) && m.runsPod("kube-apiserver") &&
		s.kube.members[m.IP].voter && s.runs(m) && s.led()
}

// reaches tells whether the API answers on a machine by the name in kubeconfigs. At the virtual address, one of the servers
// that are listed there answers.
func (s *Site) reaches(m *Machine) bool {
	at := m.tree.lookup("apiserver.cluster.local")
	if other := s.machine(at); other != nil {
		return s.serves(other)
	}
	return at != "" && slices.ContainsFunc(m.listed(), func(ip string) bool { return s.serves(s.machine(ip)) })
}

var realServer = regexp.MustCompile(`--rs['"]?[\s,-]+['"]?([0-9.]+):6443`)

// listed are the API servers behind the virtual address of a machine, as the one says that keeps it.
func (m *Machine) listed() (servers []string) {
	text := m.units["sealos-care.service"]
	if m.runsPod(care.PodName) {
		text += m.tree.text(manifest(care.PodName))
	}
	for _, found := range realServer.FindAllStringSubmatch(text, -1) {
		servers = append(servers, found[1])
	}
	return servers
}

// lookup reads the address of a name from the hosts file.
func (t tree) lookup(name string) string {
	for line := range strings.Lines(t.text("/etc/hosts")) {
		line, _, _ = strings.Cut(line, "#")
		if f := strings.Fields(line); len(f) > 1 && slices.Contains(f[1:], name) {
			return f[0]
		}
	}
	return ""
}

type object = map[string]any

func truth(b bool) string {
	if b {
		return "True"
	}
	return "False"
}

// Unsound says what is wrong with the cluster. It should be one of all machines, the first of which are masters, but for those
// at the addresses that are gone.
func (s *Site) Unsound(masters int, gone ...string) []string {
	defer s.locked()()
	out := slices.Clone(s.violations)
	wrong := func(ok bool, format string, args ...any) {
		if !ok {
			out = append(out, fmt.Sprintf(format, args...))
		}
	}
	if s.kube == nil {
		return append(out, "there is no cluster")
	}
	var staying, servers []*Machine
	var addresses []string
	for i, m := range s.machines {
		if slices.Contains(gone, m.IP) {
			_, member := s.kube.members[m.IP]
			wrong(!member, "%s is a member of etcd", m.IP)
			wrong(s.kube.nodes[m.node()].ip != m.IP, "%s still has a Node", m.IP)
			continue
		}
		if staying = append(staying, m); i < masters {
			servers, addresses = append(servers, m), append(addresses, m.IP)
		}
	}
	for ip, member := range s.kube.members {
		wrong(slices.Contains(addresses, ip), "%s is a member of etcd", ip)
		wrong(member.voter, "%s has no vote in etcd", ip)
	}
	for _, m := range staying {
		wrong(s.ready(m), "%s is not Ready", m.IP)
		wrong(m.runtime, "%s has no container runtime", m.IP)
		n := s.kube.nodes[m.node()]
		wrong(!n.unschedulable && len(n.taints) == 0, "%s is cordoned, or has taints: %v", m.IP, n.taints)
		_, unit := m.units["sealos-care.service"]
		wrong(!unit, "%s: what was only for joining still runs", m.IP)
		if !slices.Contains(servers, m) {
			wrong(!n.master, "%s is marked as a master", m.IP)
			wrong(s.reaches(m), "%s does not reach the API", m.IP)
			wrong(slices.Equal(slices.Sorted(slices.Values(m.listed())), addresses), "%s has %v behind the virtual address", m.IP, m.listed())
			continue
		}
		wrong(m.registry, "%s has no registry", m.IP)
		wrong(n.master, "%s is not marked as a master", m.IP)
		wrong(s.serves(m), "%s does not serve the API: etcd has it as %+v", m.IP, s.kube.members[m.IP])
		wrong(m.proxyAPI == m.IP, "kube-proxy on %s asks the API server of %s", m.IP, m.proxyAPI)
		wrong(m.tree.text("/etc/kubernetes/pki/ca.crt") == s.kube.ca, "%s has an authority that is not the cluster's", m.IP)
		for _, name := range authorities() {
			file := "/etc/kubernetes/pki/" + name
			wrong(m.tree.has(file) && m.tree.text(file) == servers[0].tree.text(file), "%s differs on %s", file, m.IP)
		}
	}
	return out
}

// Gone says what is left of a cluster after its reset.
func (s *Site) Gone() []string {
	defer s.locked()()
	out := slices.Clone(s.violations)
	for _, m := range s.machines {
		if m.lost {
			continue
		}
		if len(m.serviceRoutes) > 0 {
			out = append(out, fmt.Sprintf("%s still has a route to %v", m.IP, m.serviceRoutes))
		}
		if m.runtime || m.registry || len(m.units) > 0 {
			out = append(out, fmt.Sprintf("%s still runs something: runtime %v, registry %v, units %v", m.IP, m.runtime, m.registry, m.units))
		}
	}
	return out
}

const (
	routeUnit   = "/etc/systemd/system/sealos-service-route.service"
	routeWanted = "/etc/systemd/system/multi-user.target.wants/sealos-service-route.service"
)

// serviceRoute makes a route if the machine has none, and prints it. It prints nothing if the machine has its own.
func (c *call) serviceRoute(network string) (out string, err error) {
	return out, c.step("service route", func(_ *Site, m *Machine) error {
		switch {
		case !m.NoDefaultRoute:
		case slices.Contains(m.serviceRoutes, network):
			out = "there " + network + "\n"
		default:
			m.serviceRoutes = append(slices.Clone(m.serviceRoutes), network)
			out = "added " + network + "\n"
		}
		return nil
	})
}

// reachesServices tells whether a network plugin reaches the API: it connects to the address of a Service.
func (m *Machine) reachesServices() bool { return !m.NoDefaultRoute || len(m.serviceRoutes) > 0 }

var routeCommand = regexp.MustCompile(`(?m)^ExecStart=\S+ care --service-route (\S+)$`)

// loadRoutes makes the routes that the machine's units make when it starts. The site is locked.
func (m *Machine) loadRoutes() {
	m.serviceRoutes = nil
	if !m.tree.has(routeWanted) {
		return
	}
	for _, found := range routeCommand.FindAllStringSubmatch(m.tree.text(routeUnit), -1) {
		m.serviceRoutes = append(m.serviceRoutes, found[1])
	}
}
