package stepstest

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/sealbuild/sealbuild/installer/care"
)

// kube is the cluster: what its API server and etcd know.
type kube struct {
	ca      string
	members map[string]string // of etcd, by address: learner or voter
	nodes   map[string]bool   // by name
	tokens  map[string]bool
	marked  map[string]bool // nodes, by name, with the label and the taint of the control plane
	objects map[string][]object
	silent  time.Time // no API server answers before
	crowd   int       // of further nodes, which are no machines
}

func (k *kube) clone() *kube {
	if k == nil {
		return nil
	}
	c := *k
	c.members, c.nodes, c.tokens = maps.Clone(k.members), maps.Clone(k.nodes), maps.Clone(k.tokens)
	c.marked, c.objects = maps.Clone(k.marked), maps.Clone(k.objects)
	return &c
}

const (
	manifests   = "/etc/kubernetes/manifests"
	kubeletDir  = "/var/lib/kubelet"
	kubeletConf = "/etc/kubernetes/kubelet.conf"
	adminConf   = "/etc/kubernetes/admin.conf"
)

func staticPods() []string {
	return []string{"kube-apiserver", "kube-controller-manager", "kube-scheduler", "etcd"}
}

func manifest(pod string) string { return manifests + "/" + pod + ".yaml" }

// serves tells whether the API answers on a machine: its server runs there, and etcd has a majority.
func (s *Site) serves(m *Machine) bool {
	return m != nil && s.kube != nil && !time.Now().Before(s.kube.silent) && m.lives() && m.tree.has(manifest("kube-apiserver")) && s.kube.members[m.IP] == "voter" && s.quorum()
}

func (s *Site) quorum() bool {
	voters, up := 0, 0
	for ip, kind := range s.kube.members {
		if kind != "voter" {
			continue
		}
		voters++
		if m := s.machine(ip); m.lives() && m.ended["etcd"] == "" && m.tree.has(manifest("etcd")) && m.tree.has(kubeletConf) {
			up++
		}
	}
	return up > voters/2
}

// reaches tells whether the API answers on a machine under the name that kubeconfigs have.
func (s *Site) reaches(m *Machine) bool {
	at := m.tree.lookup("apiserver.cluster.local")
	if other := s.machine(at); other != nil {
		return s.serves(other)
	}
	_, unit := m.units["sealos-care.service"]
	kept := m.tree.has(manifest(care.PodName)) && m.tree.has(kubeletConf)
	return at != "" && (unit || kept) && slices.ContainsFunc(s.machines, s.serves)
}

// lookup reads the hosts file.
func (t tree) lookup(name string) string {
	for line := range strings.Lines(t.text("/etc/hosts")) {
		line, _, _ = strings.Cut(line, "#")
		if f := strings.Fields(line); len(f) > 1 && slices.Contains(f[1:], name) {
			return f[0]
		}
	}
	return ""
}

// ready tells whether a machine's node is Ready.
func (s *Site) ready(m *Machine) bool {
	return s.kube != nil && s.kube.nodes[m.node()] && s.kubeletRuns(m) && m.reachesServices()
}

type object = map[string]any

func truth(b bool) string {
	if b {
		return "True"
	}
	return "False"
}

// Unsound tells what is wrong with the cluster, if it is to be one of all machines, the first of which are masters.
func (s *Site) Unsound(masters int) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := slices.Clone(s.violations)
	wrong := func(ok bool, format string, args ...any) {
		if !ok {
			out = append(out, fmt.Sprintf(format, args...))
		}
	}
	if s.kube == nil {
		return append(out, "there is no cluster")
	}
	for i, m := range s.machines {
		wrong(s.ready(m), "%s is not Ready", m.IP)
		wrong(m.runtime, "%s has no container runtime", m.IP)
		_, unit := m.units["sealos-care.service"]
		wrong(!unit, "%s: what was only for joining still runs", m.IP)
		if i >= masters {
			wrong(s.kube.members[m.IP] == "", "%s is a member of etcd", m.IP)
			wrong(s.reaches(m), "%s does not reach the API", m.IP)
			continue
		}
		wrong(m.registry, "%s has no registry", m.IP)
		wrong(s.kube.marked[m.node()], "the node of %s is not marked as one of the control plane", m.IP)
		wrong(s.serves(m), "%s does not serve the API: etcd has it as %q", m.IP, s.kube.members[m.IP])
		wrong(m.proxyAPI == m.IP, "kube-proxy on %s asks the API server of %s", m.IP, m.proxyAPI)
		wrong(m.tree.text("/etc/kubernetes/pki/ca.crt") == s.kube.ca, "%s has an authority that is not the cluster's", m.IP)
		for _, name := range authorities() {
			file := "/etc/kubernetes/pki/" + name
			wrong(m.tree.has(file) && m.tree.text(file) == s.machines[0].tree.text(file), "%s differs on %s", file, m.IP)
		}
	}
	return out
}

// Gone tells what is left of a cluster that was reset.
func (s *Site) Gone() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := slices.Clone(s.violations)
	for _, m := range s.machines {
		if len(m.serviceRoutes) > 0 {
			out = append(out, fmt.Sprintf("%s still has a route to %v", m.IP, m.serviceRoutes))
		}
		if m.runtime || m.registry || len(m.units) > 0 {
			out = append(out, fmt.Sprintf("%s still runs something: runtime %v, registry %v, units %v", m.IP, m.runtime, m.registry, m.units))
		}
	}
	return out
}
