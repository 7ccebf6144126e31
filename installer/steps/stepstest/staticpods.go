package stepstest

import (
	"io/fs"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/sealbuild/sealbuild/installer/care"
)

// container is what runs of a static pod: what its manifest said when kubelet started it, and since when.
type container struct {
	manifest string
	image    string
	file     stamp
	since    time.Time
	by       int // minor version of the kubelet that started it: one of another minor does not know it, and starts it anew
}

// stamp tells files apart without reading them.
type stamp struct {
	at   time.Time
	size int64
}

func stampOf(info fs.FileInfo) stamp { return stamp{info.ModTime(), info.Size()} }

func allStatic() []string { return append(staticPods(), care.PodName) }

// static brings the containers of static pods in line with their manifests, as kubelet does while it runs: they end when their
// manifest goes, and start anew when it changes. Without kubelet they go on as they are; without the runtime there are none.
func (m *Machine) static() {
	if m.settling || m.site.memo[fact{"settled", m}] {
		return // it was asked by what it asks, or not long ago
	}
	m.settling = true
	defer func() { m.settling = false }()
	recall(m.site, "settled", m, func() bool { return true })
	switch {
	case !m.runtime || m.off:
		clear(m.running)
		return
	case !m.kubelet():
		return
	}
	if !m.stuck {
		since := time.Now()
		if m.booting { // nobody has asked since kubelet came up
			since, m.booting = m.boots.Add(m.site.Pace.Boot*kubeletUp/apiUp), false
		}
		for _, pod := range allStatic() {
			reconcile(m, pod, since)
		}
	}
	if _, runs := m.running["etcd"]; runs {
		m.site.startEtcd(m)
	}
}

// reconcile is static for one pod. What it starts runs since a time.
func reconcile(m *Machine, pod string, since time.Time) {
	info, err := os.Lstat(m.tree.path(manifest(pod)))
	old, runs := m.running[pod]
	switch {
	case err != nil && !runs, err == nil && runs && old.file == stampOf(info) && old.by == minor(m.programs.kubelet):
		return
	case err != nil:
		ends(m, pod)
		return
	}
	text := m.tree.text(manifest(pod))
	if runs && old.manifest == text && old.by == minor(m.programs.kubelet) {
		old.file = stampOf(info)
		m.running[pod] = old
		return
	}
	if runs {
		ends(m, pod)
	}
	if !obtain(m, imageOf(text)) {
		return
	}
	if m.running == nil {
		m.running = map[string]container{}
	}
	m.running[pod] = container{text, imageOf(text), stampOf(info), since, minor(m.programs.kubelet)}
	watchSkew(m.site)
}

// ends ends the container of a static pod because its manifest says so.
func ends(m *Machine, pod string) {
	watchStop(m, pod)
	delete(m.running, pod)
	if pod == "etcd" {
		m.steady = time.Time{}
	}
}

// version is that of the image that a static pod runs on a machine; empty if it runs none that says one.
func (m *Machine) version(pod string) string {
	return tagOf(m.running[pod].image)
}

// runsPod tells whether the container of a static pod runs, and is past its start.
func (m *Machine) runsPod(name string) bool {
	m.static()
	c, runs := m.running[name]
	return runs && m.ended[name] == "" && !time.Now().Before(c.since.Add(m.site.Pace.Static)) &&
		broken(m, name, m.version(name)) == "" && !strings.Contains(c.manifest, "--"+NoSuchFlag+"=")
}

// podWorks tells whether a static pod is ready, by what its probes find.
func podWorks(m *Machine, name string) bool {
	switch {
	case !m.runsPod(name):
		return false
	case name == "kube-apiserver":
		return m.site.serves(m) && isReadyz(m)
	case name == "etcd":
		return m.site.runs(m)
	}
	return true
}

// isReadyz is what the API server of a machine answers at /readyz, once it answers.
func isReadyz(m *Machine) bool {
	return broken(m, "kube-apiserver/readyz", m.version("kube-apiserver")) == ""
}

// mirror lets kubelets tell the API of their static pods. What one that is silent has told stays as long as its Node.
func mirror(s *Site) {
	for _, m := range s.machines {
		if m.stuck || !m.kubelet() || !s.reaches(m) || !s.kube.has(m.node()) {
			continue
		}
		m.mirrors = map[string]string{}
		for _, pod := range allStatic() {
			if text := m.tree.text(manifest(pod)); text != "" {
				m.mirrors[pod] = text
			}
		}
	}
}

// mirrored tells whether the API has a static pod of a machine, and with which manifest.
func mirrored(m *Machine, pod string) (manifest string, ok bool) {
	manifest, ok = m.mirrors[pod]
	return manifest, ok && m.site.kube.has(m.node())
}

// serversOf are the machines whose API servers the kubelet of a machine may come to, as far as they run.
func serversOf(m *Machine) (servers []*Machine) {
	if _, own := m.running["kube-apiserver"]; own || m.tree.has(manifest("kube-apiserver")) {
		servers = []*Machine{m}
	} else {
		for _, other := range m.site.machines {
			if sendsTo(m, other) {
				servers = append(servers, other)
			}
		}
	}
	return slices.DeleteFunc(servers, func(s *Machine) bool {
		_, runs := s.running["kube-apiserver"]
		return !runs
	})
}

// sendsTo tells whether care on a machine gives new connections to the API server of another one.
func sendsTo(m, server *Machine) bool {
	list, err := m.careList()
	if err != nil {
		return false
	}
	at := func(list []netip.AddrPort) bool {
		return slices.ContainsFunc(list, func(a netip.AddrPort) bool { return a.Addr().String() == server.IP })
	}
	return at(list.Servers) && !at(list.Withheld)
}

// watchSkew notes programs that are newer, or older, than those that they talk to allow: API servers more than one minor
// apart, a kubelet or a kube-proxy that is newer than an API server it may come to, a kubelet more than three minors older.
func watchSkew(s *Site) {
	if s.kube == nil {
		return
	}
	var oldest, newest *Machine
	for _, m := range s.machines {
		if m.off || minor(m.version("kube-apiserver")) < 0 {
			continue
		}
		if oldest == nil || minor(m.version("kube-apiserver")) < minor(oldest.version("kube-apiserver")) {
			oldest = m
		}
		if newest == nil || minor(m.version("kube-apiserver")) > minor(newest.version("kube-apiserver")) {
			newest = m
		}
	}
	if oldest == nil {
		return
	}
	low, high := oldest.version("kube-apiserver"), newest.version("kube-apiserver")
	if minor(high)-minor(low) > 1 {
		breach(s, "skew: the API server of %s is %s, and that of %s is %s", newest.IP, high, oldest.IP, low)
	}
	if proxy := s.kube.proxyImage; proxy != "" && minor(tagOf(proxy)) > minor(low) {
		breach(s, "skew: kube-proxy is to be %s, and the API server of %s is %s", tagOf(proxy), oldest.IP, low)
	}
	for _, m := range s.machines {
		runs := minor(m.programs.kubelet)
		if runs < 0 || !m.kubelet() || !m.tree.has(kubeletConf) {
			continue
		}
		for _, server := range serversOf(m) {
			switch at := server.version("kube-apiserver"); {
			case minor(at) < 0:
			case runs > minor(at) && !(server == m && struck(s)): // a power cut that was in the middle
				breach(s, "skew: the kubelet of %s is %s, and it may come to the API server of %s, which is %s", m.IP, m.programs.kubelet, server.IP, at)
			case runs < minor(at)-3:
				breach(s, "skew: the kubelet of %s is %s, and the API server of %s is %s", m.IP, m.programs.kubelet, server.IP, at)
			}
		}
	}
}

// breach is a violation that is noted once.
func breach(s *Site, format string, args ...any) {
	before := len(s.violations)
	s.violated(format, args...)
	if slices.Contains(s.violations[:before], s.violations[before]) {
		s.violations = s.violations[:before]
	}
}

// watchHang notes that kubelet and kubeadm of a master wait for its own API server while the etcd beside it is exchanged, though
// others would answer: their requests hang there, about a minute. It notes nothing on a site that does not watch.
func watchHang(s *Site, m *Machine, pod string) {
	others := slices.ContainsFunc(s.machines, func(o *Machine) bool { return o != m && s.serves(o) })
	if s.Watch && pod == "etcd" && others && m.tree.lookup("apiserver.cluster.local") == m.IP {
		breach(s, "%s: its etcd is exchanged while it reaches the API by itself", m.IP)
	}
}

// watchStop notes what clients see when the container of a static pod is ended because its manifest says so, while others could
// have served them. It notes nothing on a site that does not watch.
func watchStop(m *Machine, pod string) {
	s := m.site
	if !s.Watch || s.kube == nil {
		return
	}
	voters, up, _ := voters(s)
	switch pod {
	case "etcd":
		is := s.kube.members[m.IP]
		switch {
		case voters < 3 || !is.voter || !s.runs(m):
			return
		case up-1 <= voters/2 && !struck(s):
			breach(s, "etcd: its member on %s was stopped while %d of %d run", m.IP, up, voters)
		case s.kube.leader == m.IP:
			breach(s, "etcd: its leader, on %s, was stopped; all requests wait for the next one", m.IP)
		}
	case "kube-apiserver":
	default:
		return
	}
	// Its API server does not answer without the etcd beside it, either.
	if !slices.ContainsFunc(s.machines, func(o *Machine) bool { return o != m && s.serves(o) }) || !s.serves(m) {
		return
	}
	for _, o := range s.machines {
		if o != m && sendsTo(o, m) && o.kubelet() {
			breach(s, "clients: %s on %s was stopped while %s sent requests there", pod, m.IP, o.IP)
		}
	}
}

// struck tells whether a fault has taken a machine, or its disk, since [Site.Arm].
func struck(s *Site) bool {
	return s.fault != nil && s.fault.fired != Event{} && slices.Contains([]FaultKind{PowerCut, Reboot, DiskFull}, s.fault.Kind)
}

// watchKubelet notes a kubelet of another minor that starts while pods of workloads run on its host: it may start them anew.
// Where there is no other node, pods have nowhere to go.
func watchKubelet(m *Machine, before string) {
	s := m.site
	now := m.programs.kubelet
	if s.kube == nil || minor(before) < 0 || minor(before) == minor(now) || !s.kube.has(m.node()) || len(s.kube.nodes) < 2 || struck(s) {
		return
	}
	for _, p := range s.kube.pods {
		if p.node == m.node() && p.app.Kind != "DaemonSet" && p.seen {
			breach(s, "skew: kubelet of %s went from %s to %s while %s/%s ran there", m.IP, before, now, p.app.Namespace, p.name)
		}
	}
}

// watchApps notes workloads of which fewer pods are Ready than their budget allows, once as many were.
func (s workloads) watchApps() {
	if !s.Watch || struck(s.Site) {
		return
	}
	for i := range s.kube.apps {
		a := &s.kube.apps[i]
		if a.MinAvailable == 0 || a.Sick {
			continue
		}
		switch healthy, _, _ := s.budget(*a); {
		case healthy >= a.MinAvailable:
			a.served = true
		case a.served:
			breach(s.Site, "clients: %d of the %d pods that %s/%s needs were Ready", healthy, a.MinAvailable, a.Namespace, a.Name)
		}
	}
}
