package stepstest

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// objectsOf lists the objects of a kind.
func (s workloads) objectsOf(kind string) ([]object, bool) {
	switch kind {
	case "node", "nodes":
		return s.nodeList(), true
	case "pod", "pods":
		return s.podList(), true
	case "events":
		return s.kube.objects["events"], true
	case "validatingadmissionpolicies.admissionregistration.k8s.io":
		return s.policyList(), true
	case "daemonsets.apps,deployments.apps,statefulsets.apps":
		return s.workloadList(), true
	case "nodes,pods,daemonsets.apps,deployments.apps,statefulsets.apps":
		pods, _ := s.objectsOf("pods")
		for i := range pods { // in a list of several kinds each says its own
			pods[i] = maps.Clone(pods[i])
			pods[i]["kind"] = "Pod"
		}
		return slices.Concat(s.nodeList(), pods, s.workloadList()), true
	case "deployment", "deployments", "deployments.apps":
		return only(s.workloadList(), "Deployment"), true
	case "statefulset", "statefulsets", "statefulsets.apps":
		return only(s.workloadList(), "StatefulSet"), true
	case "daemonset", "daemonsets", "daemonsets.apps":
		return only(s.workloadList(), "DaemonSet"), true
	case "replicasets.apps,statefulsets.apps":
		return s.controllerList(), true
	case "configmap", "configmaps":
		return s.configList(), true
	case "pdb", "poddisruptionbudget", "poddisruptionbudgets", "poddisruptionbudgets.policy":
		return s.budgetList(), true
	case "pv", "persistentvolume", "persistentvolumes":
		return s.volumeList(false), true
	case "pvc", "persistentvolumeclaim", "persistentvolumeclaims":
		return s.volumeList(true), true
	case "volumeattachment", "volumeattachments", "volumeattachments.storage.k8s.io":
		return s.attachmentList(), true
	case "lease", "leases", "leases.coordination.k8s.io":
		return s.leaseList(), true
	}
	return nil, false
}

func only(items []object, kind string) []object {
	list := []object{}
	for _, o := range items {
		if o["kind"] == kind {
			list = append(list, o)
		}
	}
	return list
}

// podList lists the static pods by the manifests of each machine, kube-proxy, those of the workloads and those that were added.
func (s workloads) podList() []object {
	mirror(s.Site)
	items := []object{}
	for _, m := range s.machines {
		if !s.kube.has(m.node()) {
			continue
		}
		// What runs is told by kubelet; what ran is believed until the Node is Unknown.
		up := s.nodeReady(m.node())
		add := func(name string, labels, more object) {
			spec, works := object{"nodeName": m.node()}, true
			image := m.proxyImage
			if labels["tier"] != nil {
				text, _ := mirrored(m, name)
				maps.Copy(spec, specOf(s.Site, text))
				image, works = imageOf(text), !m.kubelet() || podWorks(m, name)
			} else if image != "" {
				spec["containers"] = []any{object{"name": name, "image": image}}
			}
			ready := truth(works && up)
			status := object{"phase": "Running", "conditions": []any{object{"type": "Ready", "status": ready}}}
			if image != "" {
				status["containerStatuses"] = []any{object{"name": name, "image": image, "ready": works && up}}
			}
			meta := object{"name": name + "-" + m.node(), "namespace": "kube-system", "labels": labels}
			if labels["tier"] != nil {
				meta["annotations"] = object{"kubernetes.io/config.hash": fmt.Sprintf("%x", sha256.Sum256([]byte(fmt.Sprint(image, m.running[name].by))))}
			}
			maps.Copy(meta, more)
			items = append(items, object{
				"kind": "Pod", "metadata": meta, "spec": spec, "status": status,
			})
		}
		add("kube-proxy", object{"k8s-app": "kube-proxy"}, object{"ownerReferences": owner("DaemonSet", "kube-proxy")})
		for _, pod := range allStatic() {
			if _, ok := mirrored(m, pod); ok {
				add(pod, object{"component": pod, "tier": "control-plane"}, object{
					"annotations": object{"kubernetes.io/config.mirror": pod}, "ownerReferences": owner("Node", m.node()),
				})
			}
		}
	}
	for _, p := range s.kube.pods {
		items = append(items, s.podObject(p))
	}
	return append(items, s.kube.objects["pods"]...)
}

func owner(kind, name string) []any {
	return []any{object{"kind": kind, "name": name, "controller": true, "uid": "of-" + kind + "-" + name}}
}

// controller is what makes the pods of a workload; the kind is empty if nothing does.
func (a App) controller() (kind, name string) {
	switch a.Kind {
	case "Deployment":
		return "ReplicaSet", a.Name + "-" + templateHash
	case "StatefulSet", "DaemonSet":
		return a.Kind, a.Name
	}
	return "", ""
}

func (a App) controllerUID() string {
	kind, name := a.controller()
	return "of-" + kind + "-" + a.Namespace + "-" + name
}

// labels are those of a workload's pods.
func (s workloads) labels(a App) object {
	if a.label != "" {
		return object{"k8s-app": a.label}
	}
	return object{"app": a.Name}
}

func (s workloads) podObject(p pod) object {
	a := p.app
	labels := s.labels(a)
	meta := object{"namespace": a.Namespace, "name": p.name, "uid": p.uid, "labels": labels}
	if kind, name := a.controller(); kind != "" {
		meta["ownerReferences"] = []any{object{"kind": kind, "name": name, "controller": true, "uid": a.controllerUID()}}
	}
	if a.Kind == "Deployment" {
		labels["pod-template-hash"] = templateHash
	}
	if !p.deleted.IsZero() {
		meta["deletionTimestamp"], meta["deletionGracePeriodSeconds"] = p.deleted.UTC().Format(time.RFC3339), 30
	}
	if a.Kept {
		meta["finalizers"] = []any{"site/kept"}
	}
	volumes := []any{}
	if a.EmptyDir {
		volumes = append(volumes, object{"name": "scratch", "emptyDir": object{}})
	}
	if v := a.volume(p.name); v != "" {
		volumes = append(volumes, object{"name": "data", "persistentVolumeClaim": object{"claimName": v}})
	}
	if a.Mounts != "" {
		volumes = append(volumes, object{"name": "mounted", a.Mounts: object{}})
	}
	spec := object{"volumes": volumes}
	if key, value, ok := strings.Cut(a.Selector, "="); ok {
		spec["nodeSelector"] = object{key: value}
	}
	if a.Masters {
		spec["tolerations"] = []any{object{"key": controlPlaneTaint, "effect": "NoSchedule"}}
	}
	container := object{"name": "app", "resources": object{"requests": object{"cpu": "100m", "memory": "64Mi"}}}
	if a.image != "" {
		container["name"], container["image"] = a.Name, a.image
	}
	spec["containers"] = []any{container}
	phase := "Pending"
	if p.node != "" {
		spec["nodeName"] = p.node
	}
	if p.seen {
		phase = "Running"
	}
	status := object{"phase": phase, "conditions": []any{object{"type": "Ready", "status": truth(s.podReady(p))}}}
	if p.node == "" {
		status["conditions"] = []any{object{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0 nodes are available"}}
	}
	return object{"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec, "status": status}
}

// workloadList lists kube-proxy's DaemonSet, the workloads, and those that were added.
func (s workloads) workloadList() []object {
	nodes, up, fresh := s.kube.crowd, s.kube.crowd, s.kube.crowd
	for _, m := range s.machines {
		if s.kube.has(m.node()) {
			nodes++
			if m.proxyImage == s.kube.proxyImage {
				fresh++
			}
			if s.nodeReady(m.node()) {
				up++
			}
		}
	}
	items := []object{{
		"kind": "DaemonSet", "metadata": object{"name": "kube-proxy", "namespace": "kube-system", "generation": 1},
		"spec": object{
			"selector": object{"matchLabels": object{"k8s-app": "kube-proxy"}},
			"template": object{"spec": object{"priorityClassName": "system-node-critical", "containers": []any{object{"name": "kube-proxy", "image": s.kube.proxyImage}}}},
		},
		"status": object{"observedGeneration": 1, "desiredNumberScheduled": nodes, "numberReady": up, "updatedNumberScheduled": fresh},
	}}
	for _, a := range s.kube.apps {
		if a.Kind == "Pod" {
			continue
		}
		ready, all, fresh := 0, 0, 0
		for _, i := range s.podsOf(a) {
			if p := s.kube.pods[i]; p.deleted.IsZero() {
				all++
				if p.app.round == a.round {
					fresh++
				}
				if s.podReady(p) {
					ready++
				}
			}
		}
		spec := object{"selector": object{"matchLabels": s.labels(a)}, "template": object{"spec": object{}}}
		if a.image != "" {
			spec["template"] = object{"spec": object{"containers": []any{object{"name": a.Name, "image": a.image}}}}
		}
		status := object{"observedGeneration": 1, "desiredNumberScheduled": all, "numberReady": ready}
		if a.Kind != "DaemonSet" {
			spec["replicas"] = a.Replicas
			status = object{"observedGeneration": 1, "replicas": all, "readyReplicas": ready, "availableReplicas": ready, "updatedReplicas": fresh}
		}
		items = append(items, object{"kind": a.Kind, "metadata": object{"namespace": a.Namespace, "name": a.Name, "generation": 1}, "spec": spec, "status": status})
	}
	return append(items, s.kube.objects["workloads"]...)
}

// controllerList lists what makes pods: ReplicaSets and StatefulSets.
func (s workloads) controllerList() []object {
	list := []object{}
	for _, a := range s.kube.apps {
		kind, name := a.controller()
		if kind == "" || kind == "DaemonSet" {
			continue
		}
		healthy, expected, _ := s.budget(a)
		status := object{"replicas": expected}
		if healthy > 0 {
			status["readyReplicas"] = healthy
		}
		list = append(list, object{"kind": kind, "metadata": object{"namespace": a.Namespace, "name": name, "uid": a.controllerUID()}, "status": status})
	}
	return list
}

// stats is what a kubelet tells of its pods.
func (s workloads) stats(node string) (string, error) {
	if !s.alive(node) {
		return "", fmt.Errorf("error from server: error dialing backend: dial tcp %s:10250: connect: no route to host", s.kube.nodes[node].ip)
	}
	pods := []any{}
	for _, p := range s.kube.pods {
		if p.node == node {
			volumes := []any{object{"name": "scratch", "usedBytes": 4096}, object{"name": "uncounted"}}
			if p.app.Local != "" {
				volumes = append(volumes, object{"name": "data", "pvcRef": object{"name": "local-" + p.app.Name, "namespace": p.app.Namespace}, "usedBytes": 3 << 20})
			}
			pods = append(pods, object{"podRef": object{"name": p.name, "namespace": p.app.Namespace}, "volume": volumes})
		}
	}
	text, err := json.Marshal(object{"pods": pods})
	return string(text), err
}

func (s workloads) budgetList() []object {
	list := []object{}
	for _, a := range s.kube.apps {
		if a.MinAvailable == 0 {
			continue
		}
		healthy, expected, allowed := s.budget(a)
		list = append(list, object{
			"kind": "PodDisruptionBudget", "metadata": object{"namespace": a.Namespace, "name": a.Name},
			"spec":   object{"minAvailable": a.MinAvailable, "selector": object{"matchLabels": object{"app": a.Name}}},
			"status": object{"currentHealthy": healthy, "desiredHealthy": a.MinAvailable, "expectedPods": expected, "disruptionsAllowed": allowed},
		})
	}
	return list
}

// volumeList lists the volumes of workloads, or their claims.
func (s workloads) volumeList(claims bool) []object {
	list, listed := []object{}, map[string]bool{}
	for _, p := range s.kube.pods {
		name := p.app.volume(p.name)
		if name == "" || listed[name] {
			continue
		}
		listed[name] = true
		size := object{"storage": "1Gi"}
		if claims {
			list = append(list, object{
				"kind": "PersistentVolumeClaim", "metadata": object{"namespace": p.app.Namespace, "name": name},
				"spec": object{"volumeName": name, "resources": object{"requests": size}}, "status": object{"phase": "Bound", "capacity": size},
			})
			continue
		}
		spec := object{"capacity": size, "claimRef": object{"namespace": p.app.Namespace, "name": name}}
		if at := p.app.Local; at != "" {
			spec["local"] = object{"path": "/data/" + p.app.Name}
			spec["nodeAffinity"] = object{"required": object{"nodeSelectorTerms": []any{object{"matchExpressions": []any{
				object{"key": "kubernetes.io/hostname", "operator": "In", "values": []any{at}},
			}}}}}
		} else {
			spec["csi"] = object{"driver": "disks.site", "volumeHandle": name}
		}
		list = append(list, object{"kind": "PersistentVolume", "metadata": object{"name": name}, "spec": spec, "status": object{"phase": "Bound"}})
	}
	return list
}

func (s workloads) attachmentList() []object {
	list := []object{}
	for _, a := range s.kube.attached {
		list = append(list, object{
			"kind": "VolumeAttachment", "metadata": object{"name": "csi-" + a.volume},
			"spec":   object{"attacher": "disks.site", "nodeName": a.node, "source": object{"persistentVolumeName": a.volume}},
			"status": object{"attached": true},
		})
	}
	return list
}
