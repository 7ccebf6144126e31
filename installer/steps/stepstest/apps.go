package stepstest

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
)

// App is a workload in the cluster. Its pods have the label app with its name.
type App struct {
	Namespace, Name string
	Kind            string // Deployment, StatefulSet, DaemonSet, or Pod: one that nobody makes anew
	Replicas        int    // not of a DaemonSet, nor of a Pod
	MinAvailable    int    // of its PodDisruptionBudget; 0: it has none
	Masters         bool   // its pods run on masters, too
	Apart           bool   // no two of its pods run on one node
	On              string // the node on which its first pods are, whatever else would keep them from it
	Sticky          bool   // the scheduler chooses that node always
	Selector        string // KEY=VALUE: a label of the nodes that it wants
	Mounts          string // the kind of one more volume of its pods: hostPath, configMap
	EmptyDir        bool   // its pods keep data on their node
	Local           string // the node on whose disk its volume is: its pods run nowhere else
	Volume          bool   // it has a volume, that of a StatefulSet one for each pod, which is attached to one node at a time
	Kept            bool   // its pods have a finalizer, which nobody takes away
	Sick            bool   // its pods never get Ready
	Brittle         bool   // its pods in place of the first ones never get Ready

	image  string // of its pods; empty: they do not say one
	label  string // its pods have it with the key k8s-app
	served bool   // as many of its pods were Ready as its budget wants
	round  int    // raised by a restart
	made   int    // pods there ever were
}

// pod is a Pod object, and what became of it.
type pod struct {
	app       App // as it was when the pod was made
	name, uid string
	node      string
	cuts      int       // of the machine's power, when its containers were started; with seen
	seen      bool      // its kubelet has started its containers
	readyAt   time.Time // once it is seen
	deleted   time.Time // when somebody deleted it; it ends some time after that
	orphaned  time.Time // since when its Node is gone
}

// attachment is a VolumeAttachment.
type attachment struct {
	volume, node string
	unused       time.Time // since when no pod on that node uses it
}

// volume is the name of the volume that a pod of a workload has; empty if it has none.
func (a App) volume(pod string) string {
	switch {
	case a.Local != "":
		return "local-" + a.Name
	case a.Volume && a.Kind == "StatefulSet":
		return "pv-" + pod
	case a.Volume:
		return "pv-" + a.Name
	}
	return ""
}

// disk is the volume of a pod that has to be attached to its node; empty if it has none.
func (p pod) disk() string {
	if !p.app.Volume {
		return ""
	}
	return p.app.volume(p.name)
}

// templateHash is that of the one ReplicaSet that a Deployment has.
const templateHash = "7d9f"

// workloads is what runs in the cluster of a site, and the API that tells of it. The site is locked.
type workloads struct{ *Site }

// Deploy makes a workload in the cluster. Its pods run after a while.
func (s *Site) Deploy(a App) {
	defer s.locked()()
	s.kube.apps = append(s.kube.apps, a)
	if a.On != "" {
		for range a.Replicas {
			workloads{s}.makeCopy(&s.kube.apps[len(s.kube.apps)-1], a.On)
		}
	}
	workloads{s}.tick()
}

// Made gives how many pods of a workload there ever were.
func (s *Site) Made(namespace, name string) int {
	defer s.locked()()
	return s.kube.apps[slices.IndexFunc(s.kube.apps, func(a App) bool { return a.Namespace == namespace && a.Name == name })].made
}

// Pods gives the node of each pod of a workload that is Ready, by the name of the pod.
func (s *Site) Pods(namespace, name string) map[string]string {
	defer s.locked()()
	defer s.remembering()()
	workloads{s}.tick()
	out := map[string]string{}
	for _, p := range s.kube.pods {
		if p.app.Namespace == namespace && p.app.Name == name && (workloads{s}).podReady(p) && p.deleted.IsZero() {
			out[p.name] = p.node
		}
	}
	return out
}

// tick lets the cluster's controllers, its scheduler and its kubelets do what they have to do by now. They look at the cluster
// through an API server.
func (s workloads) tick() {
	if s.kube == nil {
		return
	}
	for _, m := range s.machines {
		m.tidyContainers()
	}
	if s.register(); !slices.ContainsFunc(s.machines, s.serves) {
		return
	}
	s.endPods()
	s.detach()
	s.makePods()
	s.bindPods()
	s.startPods()
	s.rollProxy()
	s.watchApps()
}

// alive tells whether the kubelet of a node runs, and hears of the cluster.
func (s workloads) alive(node string) bool {
	m := s.machine(s.kube.nodes[node].ip)
	return m != nil && m.kubelet() && s.reaches(m)
}

func (s workloads) podReady(p pod) bool {
	return p.seen && !p.app.Sick && !time.Now().Before(p.readyAt) && s.nodeReady(p.node)
}

// tidyContainers ends the containers of pods that are no more, which a kubelet that runs does.
func (m *Machine) tidyContainers() {
	if len(m.containers) == 0 || !m.kubelet() || !m.site.reaches(m) {
		return
	}
	for uid := range m.containers {
		if !slices.ContainsFunc(m.site.kube.pods, func(p pod) bool { return p.uid == uid }) {
			delete(m.containers, uid)
		}
	}
}

// startPods lets kubelets start the pods that are theirs, again after a boot. A volume that is attached elsewhere is waited for.
func (s workloads) startPods() {
	for i := range s.kube.pods {
		p := &s.kube.pods[i]
		if p.node == "" || !p.deleted.IsZero() || !s.alive(p.node) {
			continue
		}
		m := s.machine(s.kube.nodes[p.node].ip)
		if p.seen && p.cuts == m.cuts {
			continue
		}
		if v := p.disk(); v != "" && !s.attach(v, p.node) {
			continue
		}
		p.seen, p.cuts, p.readyAt = true, m.cuts, time.Now().Add(s.Pace.Pod)
		for _, other := range s.machines {
			for uid, name := range other.containers {
				if p.app.Kind == "StatefulSet" && name == p.app.Namespace+"/"+p.name && uid != p.uid && !other.off {
					s.violated("%s/%s was started on %s, and still runs on %s", p.app.Namespace, p.name, m.IP, other.IP)
				}
			}
		}
		if m.containers == nil {
			m.containers = map[string]string{}
		}
		m.containers[p.uid] = p.app.Namespace + "/" + p.name
	}
}

// attach attaches a volume to a node, unless it is attached to another one.
func (s workloads) attach(volume, node string) bool {
	for i, a := range s.kube.attached {
		if a.volume == volume {
			if a.node == node {
				s.kube.attached[i].unused = time.Time{}
			}
			return a.node == node
		}
	}
	s.kube.attached = append(s.kube.attached, attachment{volume: volume, node: node})
	return true
}

// detach takes volumes from nodes where no pod uses them any more. Where kubelet is silent, nobody knows whether it is still
// mounted: that takes as long as it takes to give up, but for a node that is out of service.
func (s workloads) detach() {
	s.kube.attached = slices.DeleteFunc(s.kube.attached, func(a attachment) bool {
		return !s.usesVolume(a) && (s.nodeReady(a.node) || s.outOfService(a.node) || !a.unused.IsZero() && time.Since(a.unused) >= s.Pace.Evict)
	})
	for i, a := range s.kube.attached {
		if a.unused.IsZero() && !s.usesVolume(a) {
			s.kube.attached[i].unused = time.Now()
		}
	}
}

func (s workloads) usesVolume(a attachment) bool {
	return slices.ContainsFunc(s.kube.pods, func(p pod) bool { return p.disk() == a.volume && p.node == a.node })
}

func (s workloads) outOfService(node string) bool {
	return slices.ContainsFunc(s.kube.nodes[node].taints, func(t taint) bool { return t.key == "node.kubernetes.io/out-of-service" })
}

// endPods deletes the pods of nodes that are silent for too long or drive pods away, and removes those that have ended. What a
// silent kubelet has does not end, until somebody forces it, its node is out of service, or has been gone for a while.
func (s workloads) endPods() {
	for i := range s.kube.pods {
		p := &s.kube.pods[i]
		n, ok := s.kube.nodes[p.node]
		switch {
		case p.node == "":
		case !ok && p.orphaned.IsZero():
			p.orphaned = time.Now()
		case ok:
			p.orphaned = time.Time{}
			away := slices.ContainsFunc(n.taints, func(t taint) bool { return t.effect == "NoExecute" }) ||
				p.app.Kind != "DaemonSet" && s.silentFor(p.node) > s.Pace.Evict
			if away && p.deleted.IsZero() {
				p.deleted = time.Now()
			}
		}
	}
	s.kube.pods = slices.DeleteFunc(s.kube.pods, func(p pod) bool {
		switch {
		case p.app.Kept:
			return false
		case !p.orphaned.IsZero() && time.Since(p.orphaned) >= s.Pace.Lease:
			return true
		case p.deleted.IsZero():
			return false
		case p.node == "" || !s.nodeReady(p.node) && s.outOfService(p.node):
			return true
		case time.Since(p.deleted) < s.Pace.Pod || !s.alive(p.node):
			return false
		}
		delete(s.machine(s.kube.nodes[p.node].ip).containers, p.uid)
		return true
	})
}

// podsOf lists the places of a workload's pods.
func (s workloads) podsOf(a App) (list []int) {
	for i, p := range s.kube.pods {
		if p.app.Namespace == a.Namespace && p.app.Name == a.Name {
			list = append(list, i)
		}
	}
	return list
}

// makePods makes the pods that workloads lack. A Deployment makes another one as soon as one is deleted, a StatefulSet when it
// is gone.
func (s workloads) makePods() {
	for i := range s.kube.apps {
		a := &s.kube.apps[i]
		names, live := map[string]bool{}, 0
		var old []int
		for _, j := range s.podsOf(*a) {
			p := s.kube.pods[j]
			names[p.name] = true
			if p.deleted.IsZero() {
				live++
				if p.app.round < a.round {
					old = append(old, j)
				}
			}
		}
		switch a.Kind {
		case "Deployment":
			want := a.Replicas
			if len(old) > 0 {
				want++ // one more than there should be, while they are replaced
			}
			for ; live < want; live++ {
				s.makeCopy(a, "")
			}
			if len(old) > 0 && !slices.ContainsFunc(s.podsOf(*a), func(j int) bool { return s.kube.pods[j].deleted.IsZero() && !s.podReady(s.kube.pods[j]) }) {
				s.kube.pods[old[0]].deleted = time.Now()
			}
		case "StatefulSet":
			for n := range a.Replicas {
				if name := fmt.Sprintf("%s-%d", a.Name, n); !names[name] {
					s.makePod(a, name, "")
					break // the next one when this one runs
				} else if !slices.ContainsFunc(s.kube.pods, func(p pod) bool { return p.name == name && p.app.Namespace == a.Namespace && s.podReady(p) }) {
					break
				}
			}
		case "DaemonSet":
			for node, n := range s.kube.nodes {
				if name := a.Name + "-" + node; !names[name] && (!n.master || a.Masters) {
					s.makePod(a, name, node)
				}
			}
		case "Pod":
			if a.round == 0 {
				a.round = 1
				s.makePod(a, a.Name, "")
			}
		}
	}
}

func (s workloads) makeCopy(a *App, node string) {
	s.makePod(a, fmt.Sprintf("%s-%s-%d", a.Name, templateHash, a.made+1), node)
}

func (s workloads) makePod(a *App, name, node string) {
	s.kube.made++
	a.made++
	p := pod{app: *a, name: name, uid: fmt.Sprintf("uid-%d", s.kube.made), node: node}
	p.app.Sick = a.Sick || a.Brittle && a.made > a.Replicas
	s.kube.pods = append(s.kube.pods, p)
}

// bindPods is the scheduler: of the nodes that a pod may run on it takes the one with the fewest pods of the same workload,
// then the one with the fewest.
func (s workloads) bindPods() {
	for i := range s.kube.pods {
		p := &s.kube.pods[i]
		if p.node != "" || !p.deleted.IsZero() {
			continue
		}
		type candidate struct {
			name      string
			same, all int
		}
		var fit []candidate
		for name, n := range s.kube.nodes {
			c := candidate{name: name}
			for _, other := range s.kube.pods {
				if other.node == name {
					c.all++
					if other.app.Name == p.app.Name && other.app.Namespace == p.app.Namespace {
						c.same++
					}
				}
			}
			drives := slices.ContainsFunc(n.taints, func(t taint) bool { return t.effect == "NoSchedule" || t.effect == "NoExecute" })
			elsewhere := p.app.Apart && c.same > 0 || p.app.Local != "" && p.app.Local != name || p.app.Sticky && p.app.On != name
			if key, value, wants := strings.Cut(p.app.Selector, "="); wants && s.nodeLabels(name)[key] != value {
				continue
			}
			if !n.unschedulable && !drives && (!n.master || p.app.Masters) && s.nodeReady(name) && !elsewhere {
				fit = append(fit, c)
			}
		}
		if len(fit) == 0 {
			continue
		}
		p.node = slices.MinFunc(fit, func(a, b candidate) int {
			return cmp.Or(cmp.Compare(a.same, b.same), cmp.Compare(a.all, b.all), cmp.Compare(a.name, b.name))
		}).name
	}
}
