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
		for _, pod := range allStatic() {
			reconcile(m, pod)
		}
	}
	if _, runs := m.running["etcd"]; runs {
		m.site.startEtcd(m)
	}
}

// reconcile is static for one pod.
func reconcile(m *Machine, pod string) {
	info, err := os.Lstat(m.tree.path(manifest(pod)))
	old, runs := m.running[pod]
	switch {
	case err != nil && !runs, err == nil && runs && old.file == stampOf(info):
		return
	case err != nil:
		ends(m, pod)
		return
	}
	text := m.tree.text(manifest(pod))
	if runs && old.manifest == text {
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
	m.running[pod] = container{text, imageOf(text), stampOf(info), time.Now()}
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
