package stepstest

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
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
	size    int64     // of etcd's database
	alarms  []string  // of etcd
	// etcdMinor is the minor of etcd's 3 that all voters have had; 0 before that is known.
	etcdMinor int
	hangs     bool // no API server answers, or refuses, until who asks gives up

	configs map[string]string // ConfigMaps that kubeadm keeps in kube-system; never changed, but replaced
	notes   map[string]string // annotations of these; likewise
	// proxyRuns is the configuration that every kube-proxy has read.
	proxyRuns string
	// proxyImage is the image of kube-proxy's DaemonSet; empty if that does not say one.
	proxyImage string
	apps       []App
	pods       []pod // of the workloads
	attached   []attachment
	made       int      // pods there ever were
	policies   []policy // never changed, but replaced
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
	return m != nil && s.kube != nil && recall(s, "serves", m, func() bool {
		return !time.Now().Before(s.kube.silent) && m.booted(apiUp) && m.runsPod("kube-apiserver") &&
			s.kube.members[m.IP].voter && s.runs(m) && s.led()
	})
}

// reaches tells whether the API answers on a machine by the name in kubeconfigs. At the virtual address, one of the servers
// that are listed there answers.
func (s *Site) reaches(m *Machine) bool {
	return recall(s, "reaches", m, func() bool {
		at := m.tree.lookup("apiserver.cluster.local")
		if other := s.machine(at); other != nil {
			return s.serves(other)
		}
		return at != "" && s.keeps(m) == nil
	})
}

const careUnit = care.Unit + ".service"

// careList is what the care of a machine has in force: the list of servers on the disk, if it runs.
func (m *Machine) careList() (care.List, error) {
	if _, runs := m.units[careUnit]; !runs || m.off {
		return care.List{}, errors.New("no care follows the list")
	}
	return care.ParseList([]byte(m.tree.text(care.ListFile)))
}

// keeps gives the error for which the virtual address does not answer on a machine.
func (s *Site) keeps(m *Machine) error {
	list, err := m.careList()
	if err == nil && !slices.ContainsFunc(list.Servers, s.answersAPI) {
		err = fmt.Errorf("the virtual address does not answer: none of %v does", list.Servers)
	}
	return err
}

// answersAPI tells whether there is an API server at an address.
func (s *Site) answersAPI(a netip.AddrPort) bool { return s.serves(s.machine(a.Addr().String())) }

// confirms gives the error for which `care --check` on a machine, with these arguments, does not end well.
func (s *Site) confirms(m *Machine, args []string) error {
	if err := s.keeps(m); err != nil {
		return err
	}
	list, err := m.careList()
	if err != nil {
		return err
	}
	other := func(a netip.AddrPort) bool { return !slices.Contains(list.Withheld, a) && s.answersAPI(a) }
	if len(list.Withheld) > 0 && !slices.ContainsFunc(list.Servers, other) {
		return fmt.Errorf("of %v, which are withheld, one still gets connections", list.Withheld)
	}
	if i := slices.Index(args, "--ready"); i >= 0 {
		if a, err := netip.ParseAddrPort(args[i+1]); err != nil || slices.Contains(list.Withheld, a) || !s.answersAPI(a) {
			return fmt.Errorf("not all of [%s] are ready", args[i+1])
		}
	}
	return nil
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
	defer s.remembering()()
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
		wrong(!s.kube.refused(m.node()), "a Node of %s is refused", m.IP)
		n := s.kube.nodes[m.node()]
		wrong(!n.unschedulable && len(n.taints) == 0, "%s is cordoned, or has taints: %v", m.IP, n.taints)
		if !slices.Contains(servers, m) {
			wrong(m.keepsExactly(servers), "%s does not keep the virtual address with exactly the masters: %q", m.IP, m.tree.text(care.ListFile))
			wrong(!n.master, "%s is marked as a master", m.IP)
			wrong(s.reaches(m), "%s does not reach the API", m.IP)
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

// keepsExactly tells whether care on a machine has these masters in force, in whatever order, and withholds none.
func (m *Machine) keepsExactly(masters []*Machine) bool {
	list, err := m.careList()
	return err == nil && len(list.Servers) == len(masters) && len(list.Withheld) == 0 && !slices.ContainsFunc(masters, func(master *Machine) bool {
		return !slices.ContainsFunc(list.Servers, func(a netip.AddrPort) bool { return a.Addr().String() == master.IP })
	})
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
		if m.held {
			out = append(out, fmt.Sprintf("%s still has the routes that hold packets back while it boots", m.IP))
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

const unitDir = "/etc/systemd/system/"

// startUnit starts a unit that has a file, and tells whether it has. What systemd knows of it is its description.
func (m *Machine) startUnit(unit string) bool {
	_, rest, ok := strings.Cut(m.tree.text(unitDir+unit), "\nDescription=")
	if ok {
		m.units[unit], _, _ = strings.Cut(rest, "\n")
	}
	return ok
}

// holdCommand is what holds packets to pods and Services back before kubelet starts. Without the installer it must not fail.
var holdCommand = regexp.MustCompile(`(?s)\nConditionFileIsExecutable=\S+\nBefore=kubelet\.service .*\nExecStartPre=\S+ care --hold --pods \S+ --services \S+ --run-once\n.*\nExecStopPost=\S+ care --hold --clean\n`)

// boot does what the machine's units do when it starts. The site is locked.
func (m *Machine) boot() {
	m.serviceRoutes = nil
	m.held = m.tree.has(unitDir+"multi-user.target.wants/"+care.HoldUnit) && holdCommand.MatchString(m.tree.text(unitDir+care.HoldUnit))
	// kube-proxy writes its rules as soon as it starts, the network of pods its routes long after that.
	if !m.held && m.tree.has(kubeletConf) {
		m.site.violated("%s boots, and nothing keeps packets to pods from leaving the site by its default route", m.IP)
	}
	if m.tree.has(unitDir + "multi-user.target.wants/" + careUnit) {
		m.startUnit(careUnit)
	}
	if !m.tree.has(routeWanted) {
		return
	}
	for _, found := range routeCommand.FindAllStringSubmatch(m.tree.text(routeUnit), -1) {
		m.serviceRoutes = append(m.serviceRoutes, found[1])
	}
}
