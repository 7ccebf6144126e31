package stepstest

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"text/template"
	"time"
)

// LoseRegistry stops the registry.
func (m *Machine) LoseRegistry() {
	defer m.site.locked()()
	m.registry = false
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

func proxyless(s *Site) bool {
	defer s.locked()()
	return s.noProxy
}

// Silence keeps every API server from answering for a while, as after a boot.
func (s *Site) Silence(d time.Duration) {
	defer s.locked()()
	s.kube.silent = time.Now().Add(d)
}

// Hang lets every API server take questions and never answer them.
func (s *Site) Hang() {
	defer s.locked()()
	s.kube.hangs = true
}

// hangs tells whether the API servers of a site hang.
func hangs(s *Site) bool {
	defer s.locked()()
	return s.kube != nil && s.kube.hangs
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

func (s workloads) nodeLabels(name string) object {
	labels, n := object{"kubernetes.io/hostname": name, "kubernetes.io/os": "linux"}, s.kube.nodes[name]
	for k, v := range n.labels {
		labels[k] = v
	}
	if n.master {
		labels[controlPlaneTaint] = ""
	}
	return labels
}

func (s workloads) nodeObject(name string) object {
	status := "True"
	if !s.nodeReady(name) {
		status = "Unknown"
	}
	n := s.kube.nodes[name]
	spec, taints := object{}, []any{}
	add := func(t taint) { taints = append(taints, object{"key": t.key, "value": t.value, "effect": t.effect}) }
	if n.master {
		add(taint{controlPlaneTaint, "", "NoSchedule"})
	}
	if n.unschedulable {
		spec["unschedulable"] = true
		add(taint{"node.kubernetes.io/unschedulable", "", "NoSchedule"})
	}
	if status != "True" {
		add(taint{"node.kubernetes.io/unreachable", "", "NoExecute"})
	}
	for _, t := range n.taints {
		add(t)
	}
	if len(taints) > 0 {
		spec["taints"] = taints
	}
	annotations := object{"volumes.kubernetes.io/controller-managed-attach-detach": "true"}
	for k, v := range n.annotations {
		annotations[k] = v
	}
	info := object{"kubeletVersion": cmp.Or(n.kubelet, s.Kubelet), "containerRuntimeVersion": "containerd://" + cmp.Or(n.containerd, "2.1.4")}
	return object{
		"apiVersion": "v1", "kind": "Node", "metadata": object{"name": name, "labels": s.nodeLabels(name), "annotations": annotations}, "spec": spec,
		"status": object{
			"allocatable": object{"cpu": "4", "memory": "8Gi", "pods": "110"}, "nodeInfo": info, "conditions": ready(status),
			"addresses": []any{object{"type": "InternalIP", "address": n.ip}, object{"type": "Hostname", "address": name}},
		},
	}
}

func (s workloads) nodeList() []object {
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

// list gives the objects of a kind, or those of them with the names, as the flags select and print them.
func (s workloads) list(kind string, names []string, flags map[string]string) (string, error) {
	if strings.HasPrefix(kind, "validatingadmissionpolicies") && s.NoPolicies {
		return "", errNoPolicies
	}
	kind, one, _ := strings.Cut(kind, "/")
	if one != "" {
		names = append(names, one)
	}
	all, ok := s.objectsOf(kind)
	if !ok {
		return "", fmt.Errorf("not simulated: get %s", kind)
	}
	items := slices.DeleteFunc(slices.Clone(all), func(o object) bool { return !chosen(o, flags) })
	if len(names) > 0 {
		named := []object{}
		for _, name := range names {
			i := slices.IndexFunc(items, func(o object) bool { return o["metadata"].(object)["name"] == name })
			switch {
			case i >= 0:
				named = append(named, items[i])
			case flags["--ignore-not-found"] == "":
				return "", fmt.Errorf("error from server (NotFound): %s %q not found", kind, name)
			}
		}
		items = named
	}
	if len(names) == 1 && len(items) == 0 {
		return "", nil
	}
	if flags["-o"] == "name" {
		var out strings.Builder
		for _, o := range items {
			fmt.Fprintf(&out, "%s/%s\n", strings.ToLower(fmt.Sprint(o["kind"])), o["metadata"].(object)["name"])
		}
		return out.String(), nil
	}
	if len(names) == 1 {
		return format(items[0], flags)
	}
	return format(object{"kind": "List", "items": items}, flags)
}

// format prints an object.
func format(o object, flags map[string]string) (string, error) {
	text, err := json.Marshal(o)
	if err != nil {
		return "", err
	}
	form, ok := strings.CutPrefix(flags["-o"], "go-template=")
	if !ok && flags["-o"] != "json" {
		return "", fmt.Errorf("not simulated: kubectl get -o %q", flags["-o"])
	} else if !ok {
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
func (s workloads) logs(pod string) (string, error) {
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

// lastWords are those of a container of the control plane that has ended; empty if it runs, or was never there.
func (m *Machine) lastWords(name string) string {
	if m.static(); name == "etcd" && m.running[name].manifest != "" && m.ended[name] == "" && broken(m, name, m.version(name)) == "" {
		return m.site.startEtcd(m)
	}
	return cmp.Or(m.ended[name], broken(m, name, m.version(name)))
}

// crictl knows containers that have ended.
func (c *call) crictl(args []string) (string, error) {
	s, m := c.session.site, c.machine
	defer s.locked()()
	if !m.containerd() {
		return "", errors.New("connect: no such file or directory")
	}
	if slices.Contains(args, "--version") {
		return "crictl version v1.36.0\n", nil
	}
	name, says := "", ""
	for _, a := range args {
		if words := m.lastWords(strings.Trim(a, "^$")); words != "" {
			name, says = strings.Trim(a, "^$"), words
		}
	}
	switch {
	case slices.Contains(args, "--quiet") && name == "":
		return "", nil
	case slices.Contains(args, "ps") && name == "":
		return `{"containers": []}`, nil
	case slices.Contains(args, "ps"):
		return `{"containers": [{"id": "` + name + `", "state": "CONTAINER_EXITED"}]}`, nil
	case slices.Contains(args, "logs") && name != "":
		return says, nil
	}
	return "", fmt.Errorf("not simulated: crictl %v", args)
}
