package stepstest

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// kubeNode is a Node object.
type kubeNode struct {
	ip            string
	kubelet       string // version, as that has told it; likewise of containerd
	containerd    string
	master        bool // it has a control plane's label and taint
	unschedulable bool
	taints        []taint           // beside that of a control plane
	labels        map[string]string // beside those of a control plane; never changed, but replaced
	annotations   map[string]string // likewise
}

type taint struct{ key, value, effect string }

func (t taint) String() string { return t.key + "=" + t.value + ":" + t.effect }

// kubeletOf is what kubelet's kubeconfig holds: a certificate of a cluster.
func kubeletOf(ca string) string {
	return fmt.Sprintf("kubelet of %.80s\n", strings.ReplaceAll(ca, "\n", ""))
}

// register lets each kubelet that was started, by a boot or by hand, get its certificate if it has a token for that, and make
// its Node if that is missing. The Node has no label and taint of a control plane: kubeadm sets these. A Node that is there
// stays as it is, cordoned if it was. A kubelet that goes on running makes none, nor does one with another cluster's
// certificate; one whose Node a policy refuses goes on asking.
func (s *Site) register() {
	defer tellVersions(s)
	for _, m := range s.machines {
		if !m.fresh || !m.kubelet() || s.kube == nil || !s.reaches(m) {
			continue
		}
		own := kubeletOf(s.kube.ca)
		switch text := m.tree.text(kubeletConf); {
		case text == "" && s.kube.tokens[strings.TrimSpace(strings.TrimPrefix(m.tree.text(bootstrapConf), "token: "))]:
			if err := m.tree.put(kubeletConf, own); err != nil {
				s.violated("the simulation failed: %v", err)
			}
		case text != own:
			continue
		}
		if !s.kube.has(m.node()) && s.kube.refused(m.node()) {
			continue
		}
		m.fresh = false
		n := s.kube.nodes[m.node()]
		n.ip = m.IP
		s.kube.nodes[m.node()] = n
	}
}

// tellVersions lets kubelets that run tell the versions of themselves and of the runtime.
func tellVersions(s *Site) {
	for _, m := range s.machines {
		if s.kube == nil || m.programs == (programs{}) || !m.kubelet() {
			continue
		}
		if n, ok := s.kube.nodes[m.node()]; ok && n.ip == m.IP && (n.kubelet != m.programs.kubelet || n.containerd != m.programs.containerd) && s.reaches(m) {
			n.kubelet, n.containerd = m.programs.kubelet, m.programs.containerd
			s.kube.nodes[m.node()] = n
		}
	}
}

// ready tells whether a machine's node is Ready.
func (s *Site) ready(m *Machine) bool {
	if s.kube == nil {
		return false
	}
	s.register()
	return s.kube.nodes[m.node()].ip == m.IP && s.nodeReady(m.node())
}

// nodeReady tells whether the Node of a name is Ready: its kubelet renews its lease, or did so not long ago.
func (s *Site) nodeReady(name string) bool {
	n, ok := s.kube.nodes[name]
	m := s.machine(n.ip)
	if !ok || m == nil {
		return false
	}
	if m.kubelet() && m.tree.has(kubeletConf) && s.reaches(m) {
		return m.reachesServices()
	}
	return !m.heard.IsZero() && time.Since(m.heard) < s.Pace.Lease
}

// silentFor is for how long a Node has been Unknown; 0 if it is Ready.
func (s *Site) silentFor(name string) time.Duration {
	if s.nodeReady(name) {
		return 0
	}
	m := s.machine(s.kube.nodes[name].ip)
	if m == nil || m.heard.IsZero() {
		return 1<<63 - 1
	}
	return max(time.Since(m.heard)-s.Pace.Lease, 1)
}

// change changes a Node.
func (s *Site) change(node string, change func(n *kubeNode) error) error {
	n, ok := s.kube.nodes[node]
	if !ok {
		return fmt.Errorf("error from server (NotFound): nodes %q not found", node)
	}
	if err := change(&n); err != nil {
		return err
	}
	s.kube.nodes[node] = n
	return nil
}

func (s *Site) cordon(node string, on bool) error {
	return s.change(node, func(n *kubeNode) error {
		n.unschedulable = on
		return nil
	})
}

// label sets labels or annotations (KEY=VALUE) and takes them away (KEY-).
func (s *Site) label(annotations bool, node string, pairs []string, overwrite bool) error {
	return s.change(node, func(n *kubeNode) error {
		of := &n.labels
		if annotations {
			of = &n.annotations
		}
		set := maps.Clone(*of)
		if set == nil {
			set = map[string]string{}
		}
		for _, pair := range pairs {
			key, value, ok := strings.Cut(pair, "=")
			old, there := set[key]
			switch {
			case !ok:
				delete(set, strings.TrimSuffix(key, "-"))
			case there && old != value && !overwrite:
				return fmt.Errorf("error: '%s' already has a value (%s), and --overwrite is false", key, old)
			default:
				set[key] = value
			}
		}
		*of = set
		return nil
	})
}

// controlPlaneTaint is the key of the taint that kubeadm gives to masters.
const controlPlaneTaint = "node-role.kubernetes.io/control-plane"

// taint sets taints (KEY=VALUE:EFFECT, KEY:EFFECT) and takes them away (KEY:EFFECT-, KEY-).
func (s *Site) taint(node string, specs []string, overwrite bool) error {
	return s.change(node, func(n *kubeNode) error {
		taints := slices.Clone(n.taints)
		for _, spec := range specs {
			rest, away := strings.CutSuffix(spec, "-")
			pair, effect, _ := strings.Cut(rest, ":")
			key, value, _ := strings.Cut(pair, "=")
			is := func(t taint) bool { return t.key == key && (t.effect == effect || away && effect == "") }
			switch there := slices.ContainsFunc(taints, is); {
			case key == controlPlaneTaint:
				n.master = !away
			case away && !there:
				return fmt.Errorf("error: taint %q not found", key)
			case away:
				taints = slices.DeleteFunc(taints, is)
			case !slices.Contains([]string{"NoSchedule", "PreferNoSchedule", "NoExecute"}, effect):
				return fmt.Errorf("error: invalid taint effect: %s, unsupported taint effect", effect)
			case there && !overwrite:
				return fmt.Errorf("error: node %s already has %s taint(s) with same effect(s) and --overwrite is false", node, key)
			default:
				taints = append(slices.DeleteFunc(taints, is), taint{key, value, effect})
			}
		}
		n.taints = taints
		return nil
	})
}
