package stepstest

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"text/template"
	"time"

	"github.com/sealbuild/sealbuild/installer/care"
)

func (s *Site) kubeletRuns(m *Machine) bool { return m.kubelet() && m.tree.has(kubeletConf) }

// StopKubelet stops kubelet by hand. The marks of the machine stay.
func (m *Machine) StopKubelet() {
	defer m.site.locked()()
	m.stopped = true
}

// LoseRuntime stops the container runtime and takes its data away.
func (m *Machine) LoseRuntime() {
	defer m.site.locked()()
	m.runtime = false
}

// LoseRegistry stops the registry.
func (m *Machine) LoseRegistry() {
	defer m.site.locked()()
	m.registry = false
}

// PowerOff takes the power from a machine, until Repair.
func (m *Machine) PowerOff() {
	defer m.site.locked()()
	m.crash()
	m.off = true
	clear(m.units)
	m.boot()
}

// Runs has a machine's systemd run a unit that has no file.
func (m *Machine) Runs(unit, description string) {
	defer m.site.locked()()
	m.units[unit] = description
}

// Leave leaves so much room, in bytes, on the disk of a path.
func (m *Machine) Leave(path string, free int64) {
	defer m.site.locked()()
	if m.free == nil {
		m.free = map[string]int64{}
	}
	m.free[path] = free
}

// DeleteNode is kubectl delete node, by hand. Kubelet registers no Node that it has registered before.
func (s *Site) DeleteNode(name string) {
	defer s.locked()()
	delete(s.kube.nodes, name)
}

// Add makes an object of a kind (pods, events, workloads) that nothing changes.
func (s *Site) Add(kind string, o map[string]any) {
	defer s.locked()()
	if s.kube.objects == nil {
		s.kube.objects = map[string][]object{}
	}
	s.kube.objects[kind] = append(s.kube.objects[kind], o)
}

// NoProxy keeps every kube-proxy from answering.
func (s *Site) NoProxy() {
	defer s.locked()()
	s.noProxy = true
}

func (s *Site) proxyless() bool {
	defer s.locked()()
	return s.noProxy
}

// Silence keeps every API server from answering for a while, as after a boot.
func (s *Site) Silence(d time.Duration) {
	defer s.locked()()
	s.kube.silent = time.Now().Add(d)
}

// Crowd gives the cluster n further Nodes, Ready and with all that real ones hold.
func (s *Site) Crowd(n int) {
	defer s.locked()()
	s.kube.crowd = n
}

func ready(status string) []any {
	why := "kubelet is posting ready status"
	if status != "True" {
		why = "Kubelet stopped posting node status."
	}
	return []any{
		object{"type": "MemoryPressure", "status": "False", "message": "kubelet has sufficient memory available"},
		object{"type": "Ready", "status": status, "message": why},
	}
}

func (s *Site) nodeObject(name string) object {
	status := "True"
	if !s.nodeReady(name) {
		status = "Unknown"
	}
	return object{
		"kind": "Node", "metadata": object{"name": name},
		"status": object{"nodeInfo": object{"kubeletVersion": s.Kubelet}, "conditions": ready(status), "addresses": []any{object{"type": "InternalIP", "address": s.kube.nodes[name].ip}, object{"type": "Hostname", "address": name}}},
	}
}

// oneNode is a Node as JSON; empty if there is none.
func (s *Site) oneNode(name string) string {
	s.register()
	if !s.kube.has(name) {
		return ""
	}
	text, err := json.Marshal(s.nodeObject(name))
	if err != nil {
		panic(err) // maps, strings and slices of them can be encoded
	}
	return string(text)
}

func (s *Site) nodeList() []object {
	s.register()
	items := []object{}
	for _, m := range s.machines {
		if s.kube.has(m.node()) {
			items = append(items, s.nodeObject(m.node()))
		}
	}
	images := []any{} // the most of a real node's 10 KB
	for i := range 50 {
		images = append(images, object{"names": []any{strings.Repeat("x", 150)}, "sizeBytes": i})
	}
	for i := range s.kube.crowd {
		items = append(items, object{
			"kind": "Node", "metadata": object{"name": fmt.Sprintf("crowd-%d", i)},
			"status": object{"conditions": ready("True"), "images": images, "addresses": []any{object{"type": "InternalIP", "address": fmt.Sprintf("10.78.%d.%d", i/250, i%250)}}},
		})
	}
	return items
}

// podList lists the static pods by the manifests of each machine, kube-proxy, and the pods that were added.
func (s *Site) podList() []object {
	items := []object{}
	for _, m := range s.machines {
		if !s.kube.has(m.node()) {
			continue
		}
		add := func(name string, labels object) {
			items = append(items, object{
				"kind": "Pod", "metadata": object{"name": name + "-" + m.node(), "namespace": "kube-system", "labels": labels},
				"spec":   object{"nodeName": m.node()},
				"status": object{"phase": "Running", "conditions": []any{object{"type": "Ready", "status": truth(s.kubeletRuns(m))}}},
			})
		}
		add("kube-proxy", object{"k8s-app": "kube-proxy"})
		for _, pod := range append(staticPods(), care.PodName) {
			if m.tree.has(manifest(pod)) {
				add(pod, object{"component": pod, "tier": "control-plane"})
			}
		}
	}
	return append(items, s.kube.objects["pods"]...)
}

// workloadList lists kube-proxy's DaemonSet, and the workloads that were added.
func (s *Site) workloadList() []object {
	nodes, up := s.kube.crowd, s.kube.crowd
	for _, m := range s.machines {
		if s.kube.has(m.node()) {
			nodes++
			if s.kubeletRuns(m) {
				up++
			}
		}
	}
	return append([]object{{
		"kind": "DaemonSet", "metadata": object{"name": "kube-proxy", "namespace": "kube-system", "generation": 1},
		"spec": object{
			"selector": object{"matchLabels": object{"k8s-app": "kube-proxy"}},
			"template": object{"spec": object{"priorityClassName": "system-node-critical"}},
		},
		"status": object{"observedGeneration": 1, "desiredNumberScheduled": nodes, "numberReady": up},
	}}, s.kube.objects["workloads"]...)
}

// list gives the objects of a kind, as the flags select and print them.
func (s *Site) list(kind string, flags map[string]string) (string, error) {
	var items []object
	switch kind {
	case "nodes":
		items = s.nodeList()
	case "pods":
		items = s.podList()
	case "events":
		items = s.kube.objects["events"]
	case "daemonsets.apps,deployments.apps,statefulsets.apps":
		items = s.workloadList()
	default:
		return "", fmt.Errorf("not simulated: get %s", kind)
	}
	items = slices.DeleteFunc(slices.Clone(items), func(o object) bool { return !chosen(o, flags) })
	text, err := json.Marshal(object{"kind": "List", "items": items})
	if err != nil {
		return "", err
	}
	form, ok := strings.CutPrefix(flags["-o"], "go-template=")
	if !ok {
		return string(text), nil
	}
	// As kubectl does it: the template sees what JSON makes of the objects.
	var data any
	if err := json.Unmarshal(text, &data); err != nil {
		return "", err
	}
	t, err := template.New("output").Parse(form)
	if err != nil {
		return "", fmt.Errorf("error parsing template %s, %w", form, err)
	}
	var out strings.Builder
	if err := t.Execute(&out, data); err != nil {
		return "", fmt.Errorf("error executing template: %w", err)
	}
	if strings.Contains(out.String(), "%!") || strings.Contains(out.String(), "<no value>") {
		return "", errors.New("the template prints what is not there: " + out.String())
	}
	return out.String(), nil
}

func chosen(o object, flags map[string]string) bool {
	meta, _ := o["metadata"].(object)
	if ns := flags["--namespace"]; ns != "" && meta["namespace"] != ns {
		return false
	}
	labels, _ := meta["labels"].(object)
	for pair := range strings.SplitSeq(flags["--selector"], ",") {
		if k, v, ok := strings.Cut(pair, "="); ok && labels[k] != v {
			return false
		}
	}
	for pair := range strings.SplitSeq(flags["--field-selector"], ",") {
		k, v, ok := strings.Cut(pair, "=")
		at, _ := o["involvedObject"].(object)
		spec, _ := o["spec"].(object)
		if ok && (k == "spec.nodeName" && spec["nodeName"] != v || k == "type" && o["type"] != v || k == "involvedObject.name" && at["name"] != v) {
			return false
		}
	}
	return true
}

// logs gives the logs that were added for a pod.
func (s *Site) logs(pod string) (string, error) {
	for _, o := range s.kube.objects["logs"] {
		if o["pod"] == pod {
			return fmt.Sprint(o["text"]), nil
		}
	}
	return "", fmt.Errorf("error from server (NotFound): pods %q not found", pod)
}

// EndContainer lets a container of the control plane end on a machine, with its last words. Nothing starts it again.
func (m *Machine) EndContainer(name, words string) {
	defer m.site.locked()()
	if m.ended == nil {
		m.ended = map[string]string{}
	}
	m.ended[name] = words
}

// crictl knows containers that have ended.
func (c *call) crictl(args []string) (string, error) {
	s, m := c.session.site, c.machine
	defer s.locked()()
	if !m.runtime {
		return "", errors.New("connect: no such file or directory")
	}
	words := []string{}
	for _, a := range args {
		if name := strings.Trim(a, "^$"); m.ended[name] != "" {
			words = append(words, name)
		}
	}
	switch {
	case slices.Contains(args, "--quiet") && len(words) == 0:
		return "", nil
	case slices.Contains(args, "ps") && len(words) == 0:
		return `{"containers": []}`, nil
	case slices.Contains(args, "ps"):
		return `{"containers": [{"id": "` + words[0] + `", "state": "CONTAINER_EXITED"}]}`, nil
	case slices.Contains(args, "logs") && len(words) == 1:
		return m.ended[words[0]], nil
	}
	return "", fmt.Errorf("not simulated: crictl %v", args)
}
