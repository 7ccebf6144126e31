package stepstest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/agent"
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

// policy is a ValidatingAdmissionPolicy that refuses a Node of one name.
type policy struct {
	name, refuses, message string
	bound                  bool
}

const policyKinds = "validatingadmissionpolicybindings.admissionregistration.k8s.io,validatingadmissionpolicies.admissionregistration.k8s.io"

var errNoPolicies = errors.New(`error: the server doesn't have a resource type "validatingadmissionpolicies"`)

// refused tells whether a policy refuses a Node of a name.
func (k *kube) refused(node string) bool {
	return slices.ContainsFunc(k.policies, func(p policy) bool { return p.bound && p.refuses == node })
}

// apply takes the documents that refuse a Node, as kubectl apply does.
func (s workloads) apply(stdin []byte) error {
	var list struct {
		Items []struct {
			APIVersion, Kind string
			Metadata         struct{ Name string }
			Spec             struct {
				PolicyName        string
				ValidationActions []string
				MatchConstraints  struct {
					ResourceRules []struct{ APIGroups, APIVersions, Operations, Resources []string }
				}
				Validations []struct{ Expression, Message string }
			}
		}
	}
	if err := json.Unmarshal(stdin, &list); err != nil {
		return err
	}
	if s.NoPolicies {
		return errors.New(`error: resource mapping not found for name: "x" namespace: "" from "STDIN": no matches for kind "ValidatingAdmissionPolicy" in version "admissionregistration.k8s.io/v1"`)
	}
	s.kube.policies = slices.Clone(s.kube.policies)
	for _, o := range list.Items {
		if o.APIVersion != "admissionregistration.k8s.io/v1" {
			return fmt.Errorf("not simulated: apply %s", o.APIVersion)
		}
		of := func(name string) int {
			return slices.IndexFunc(s.kube.policies, func(p policy) bool { return p.name == name })
		}
		switch o.Kind {
		case "ValidatingAdmissionPolicy":
			quoted, ok := strings.CutPrefix(o.Spec.Validations[0].Expression, "object.metadata.name != ")
			node, err := strconv.Unquote(quoted)
			rule := o.Spec.MatchConstraints.ResourceRules[0]
			if !ok || err != nil || fmt.Sprint(rule) != "{[] [v1] [CREATE] [nodes]}" {
				return fmt.Errorf("not simulated: %s, %v", o.Spec.Validations[0].Expression, rule)
			}
			if of(o.Metadata.Name) < 0 {
				s.kube.policies = append(s.kube.policies, policy{name: o.Metadata.Name, refuses: node, message: o.Spec.Validations[0].Message})
			}
		case "ValidatingAdmissionPolicyBinding":
			if i := of(o.Spec.PolicyName); i >= 0 && slices.Equal(o.Spec.ValidationActions, []string{"Deny"}) {
				s.kube.policies[i].bound = true
			}
		default:
			return fmt.Errorf("not simulated: apply a %s", o.Kind)
		}
	}
	return nil
}

// policyList lists the policies.
func (s workloads) policyList() []object {
	items := []object{}
	for _, p := range s.kube.policies {
		items = append(items, object{"kind": "ValidatingAdmissionPolicy", "metadata": object{"name": p.name}})
	}
	return items
}

// unapply deletes policies with their bindings.
func (s workloads) unapply(names []string) {
	s.kube.policies = slices.DeleteFunc(slices.Clone(s.kube.policies), func(p policy) bool { return slices.Contains(names, p.name) })
	s.register() // one that was refused asks again every few seconds
}

// takesConnections tells whether something takes connections at an endpoint: a kubelet that runs does at its port.
func takesConnections(s *Site) func(agent.Endpoint) bool {
	return func(e agent.Endpoint) bool {
		defer s.locked()()
		m := s.machine(e.IP)
		return e.Port == installer.KubeletPort && m != nil && m.kubelet()
	}
}

// kubeadmReset does what the real one does, in its order. It takes the member out of etcd only if it finds the cluster's
// configuration, for which it needs an administrator's kubeconfig or kubelet's, an API that answers and the machine's Node;
// otherwise, or if etcd refuses, it warns. In any case it empties etcd's data directory, on every machine, even if the files
// are not the cluster's, unless it is told to skip that phase. It stops kubelet, unmounts what is mounted in kubelet's
// directory, removes containers if the runtime answers, and empties directories with all that others have put there. What is
// hidden from it stays.
func (c *call) kubeadmReset(ctx context.Context, args []string) error {
	if !slices.Contains(args, "--force") && !slices.Contains(args, "-f") {
		return errors.New("aborted reset operation: it asks, and nobody answers")
	}
	certs := "/etc/kubernetes/pki"
	if i := slices.Index(args, "--cert-dir"); i >= 0 {
		certs = args[i+1]
	}
	var steps []any
	if !slices.Contains(args, "--skip-phases=remove-etcd-member") {
		steps = []any{
			"reset: etcd member", func(s *Site, m *Machine) error {
				if s.kube == nil || !s.reaches(m) || !m.tree.has(adminConf) && !m.tree.has(kubeletConf) {
					return nil // warns, and goes on
				}
				if _, ok := s.kube.nodes[m.node()]; !ok || len(s.kube.members) == 1 {
					return nil
				}
				_ = members{s}.removeMember(m.IP) // warns, and goes on
				return nil
			},
			"reset: etcd data", func(_ *Site, m *Machine) error { return errors.Join(m.tree.wipe(m.dataDir()), m.tree.wipe(etcdDir)) },
		}
	}
	return c.steps(ctx, slices.Concat(steps, []any{
		"reset: kubelet", func(_ *Site, m *Machine) error {
			if m.done["kubeadm init"]+m.done["kubeadm join"] > m.done["kubeadm reset"] {
				m.done["kubeadm reset"]++
			}
			m.before()
			m.stopped = true
			return nil
		},
		"reset: mounts and containers", func(_ *Site, m *Machine) error {
			if m.containerd() {
				clear(m.running)
				clear(m.containers)
			}
			if slices.Contains(c.hide, kubeletDir) {
				return nil
			}
			return m.unmount(kubeletDir)
		},
		"reset: files", func(_ *Site, m *Machine) error {
			for _, dir := range []string{manifests, kubeletDir, certs} {
				if slices.Contains(c.hide, dir) {
					continue
				}
				if err := m.tree.wipe(dir); err != nil {
					return err
				}
			}
			if slices.Contains(args, "--cleanup-tmp-dir") {
				if err := m.tree.wipe("/etc/kubernetes/tmp"); err != nil {
					return err
				}
			}
			return m.tree.remove(kubeletConf, bootstrapConf, adminConf, "/etc/kubernetes/super-admin.conf", "/etc/kubernetes/controller-manager.conf", "/etc/kubernetes/scheduler.conf")
		},
	})...)
}
