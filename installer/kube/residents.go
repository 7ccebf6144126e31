package kube

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// Resident is a pod that runs on a node and would not stay there if the node left the cluster: pods of DaemonSets and static
// pods are none.
type Resident struct {
	Namespace, Name, Node string
	Owner                 string // KIND/NAME of its controller; empty: nothing makes the pod anew elsewhere
	Ready                 bool
	Last                  bool     // no other pod of its controller is ready
	Local                 []string // what of its data lies on the node only, in words
	CPU, Memory           int64    // what it asks for, in thousandths of a core and in bytes
}

// Title names the pod as kubectl users do: NAMESPACE/NAME.
func (r Resident) Title() string { return r.Namespace + "/" + r.Name }

// residentsTemplate prints the fields of [Resident].
const residentsTemplate = `{{range .items}}{{$mirror := false}}{{range $k, $v := .metadata.annotations}}{{if eq $k "kubernetes.io/config.mirror"}}{{$mirror = true}}{{end}}{{end}}` +
	`{{if and (not $mirror) (ne .status.phase "Succeeded") (ne .status.phase "Failed")}}` +
	`pod {{printf "%q %q" .metadata.namespace .metadata.name}} {{with .spec.nodeName}}{{printf "%q" .}}{{else}}""{{end}}
{{range .metadata.ownerReferences}}{{if .controller}}owner {{printf "%q %q %q" .kind .name .uid}}
{{end}}{{end}}{{range .status.conditions}}{{if and (eq .type "Ready") (eq .status "True")}}ready
{{end}}{{end}}{{range .spec.volumes}}{{$name := .name}}{{range $kind, $v := .}}{{if eq $kind "emptyDir"}}empty {{printf "%q" $name}}
{{end}}{{end}}{{with .hostPath}}path {{printf "%q" .path}}
{{end}}{{with .persistentVolumeClaim}}claim {{printf "%q" .claimName}}
{{end}}{{end}}{{range .spec.containers}}{{with .resources}}{{with .requests}}asks {{with .cpu}}{{printf "%q" .}}{{else}}""{{end}} {{with .memory}}{{printf "%q" .}}{{else}}""{{end}}
{{end}}{{end}}{{end}}{{end}}{{end}}`

// Residents lists the pods that would have to leave some nodes, in the order of the nodes.
func (c *Client) Residents(ctx context.Context, nodes []string) ([]Resident, error) {
	volumes, err := c.localVolumes(ctx, nodes)
	if err != nil {
		return nil, err
	}
	ready, err := c.readyReplicas(ctx)
	if err != nil {
		return nil, err
	}
	out, controllers, err := c.residentsOf(ctx, nodes, volumes)
	if err != nil {
		return nil, err
	}
	here := map[string]int{} // ready pods of a controller on these nodes
	for i, r := range out {
		if r.Ready {
			here[controllers[i]]++
		}
	}
	for i := range out {
		if of, known := ready[controllers[i]]; known && out[i].Ready {
			out[i].Last = here[controllers[i]] >= of
		}
	}
	return slices.DeleteFunc(out, func(r Resident) bool { return strings.HasPrefix(r.Owner, "DaemonSet/") }), nil
}

// askedAlone is up to how many nodes are asked for one by one: for more, all pods are asked for at once.
const askedAlone = 3

// residentsOf lists the pods of some nodes, in the order of these, and the identifiers of their controllers.
func (c *Client) residentsOf(ctx context.Context, nodes []string, volumes map[string]string) (out []Resident, controllers []string, err error) {
	if len(nodes) <= askedAlone {
		for _, node := range nodes {
			records, err := c.query(ctx, residentsTemplate, "pods", "--all-namespaces", "--field-selector", "spec.nodeName="+node)
			if err != nil {
				return nil, nil, err
			}
			found, uids := readResidents(records, volumes)
			out, controllers = append(out, found...), append(controllers, uids...)
		}
		return out, controllers, nil
	}
	records, err := c.query(ctx, residentsTemplate, "pods", "--all-namespaces")
	if err != nil {
		return nil, nil, err
	}
	found, uids := readResidents(records, volumes)
	at, by := map[string]int{}, make([][]int, len(nodes))
	for i, node := range nodes {
		at[node] = i
	}
	for i, r := range found {
		if node, ok := at[r.Node]; ok {
			by[node] = append(by[node], i)
		}
	}
	for _, i := range slices.Concat(by...) {
		out, controllers = append(out, found[i]), append(controllers, uids[i])
	}
	return out, controllers, nil
}

// readResidents reads pods, and the identifiers of their controllers.
func readResidents(records []answerLine, volumes map[string]string) (out []Resident, controllers []string) {
	for _, rec := range records {
		if rec.kind == "pod" {
			out = append(out, Resident{Namespace: rec.value(0), Name: rec.value(1), Node: rec.value(2)})
			controllers = append(controllers, "")
			continue
		}
		if len(out) == 0 {
			continue
		}
		r := &out[len(out)-1]
		switch rec.kind {
		case "owner":
			r.Owner, controllers[len(out)-1] = rec.value(0)+"/"+rec.value(1), rec.value(2)
		case "ready":
			r.Ready = true
		case "empty":
			r.Local = append(r.Local, "emptyDir "+rec.value(0))
		case "path":
			r.Local = append(r.Local, "hostPath "+rec.value(0))
		case "claim":
			if v, ok := volumes[r.Namespace+"/"+rec.value(0)]; ok {
				r.Local = append(r.Local, fmt.Sprintf(claimPrefix+"%s (%s)", rec.value(0), v))
			}
		case "asks":
			r.CPU, r.Memory = r.CPU+milli(rec.value(0)), r.Memory+quantity(rec.value(1))
		}
	}
	return out, controllers
}

// localVolumes gives the volumes that lie on some nodes only, in words, by NAMESPACE/CLAIM.
func (c *Client) localVolumes(ctx context.Context, nodes []string) (map[string]string, error) {
	const template = `{{range .items}}{{$v := .}}{{with .spec.claimRef}}volume {{printf "%q %q" .namespace .name}} {{printf "%q" $v.spec.capacity.storage}}` +
		` {{with $v.spec.local}}{{printf "%q" .path}}{{else}}{{with $v.spec.hostPath}}{{printf "%q" .path}}{{else}}""{{end}}{{end}}
{{with $v.spec.nodeAffinity}}{{with .required}}{{range .nodeSelectorTerms}}{{range .matchExpressions}}{{range .values}}on {{printf "%q" .}}
{{end}}{{end}}{{end}}{{end}}{{end}}{{end}}{{end}}`
	records, err := c.query(ctx, template, "persistentvolumes")
	if err != nil {
		return nil, err
	}
	out := map[string]string{}
	claim, what := "", ""
	for _, rec := range records {
		switch {
		case rec.kind == "volume":
			claim, what = rec.value(0)+"/"+rec.value(1), strings.TrimSpace(rec.value(2)+" "+rec.value(3))
		case rec.kind == "on" && claim != "" && slices.Contains(nodes, rec.value(0)):
			out[claim] = what
		}
	}
	return out, nil
}

// readyReplicas counts the ready pods of controllers, by their identifiers.
func (c *Client) readyReplicas(ctx context.Context) (map[string]int, error) {
	const template = `{{range .items}}of {{printf "%q" .metadata.uid}} {{with .status.readyReplicas}}"{{.}}"{{else}}"0"{{end}}
{{end}}`
	records, err := c.query(ctx, template, "replicasets.apps,statefulsets.apps", "--all-namespaces")
	if err != nil {
		return nil, err
	}
	out := map[string]int{}
	for _, rec := range records {
		out[rec.value(0)] = rec.number(1)
	}
	return out, nil
}

// Room is what a node has for pods.
type Room struct {
	Node        string
	Open        bool  // the scheduler may put ordinary pods there: it is Ready, not cordoned, and has no taint that keeps them away
	CPU, Memory int64 // that no pod has asked for, in thousandths of a core and in bytes
}

// Rooms tells what the nodes of the cluster have for pods.
func (c *Client) Rooms(ctx context.Context) ([]Room, error) {
	const nodes = `{{range .items}}node {{printf "%q %q %q" .metadata.name .status.allocatable.cpu .status.allocatable.memory}} {{if .spec.unschedulable}}"closed"{{else}}""{{end}}
{{range .spec.taints}}{{if ne .effect "PreferNoSchedule"}}closed
{{end}}{{end}}{{range .status.conditions}}{{if and (eq .type "Ready") (ne .status "True")}}closed
{{end}}{{end}}{{end}}`
	const asked = `{{range .items}}{{if .spec.nodeName}}{{$n := .spec.nodeName}}{{if and (ne .status.phase "Succeeded") (ne .status.phase "Failed")}}` +
		`{{range .spec.containers}}{{with .resources}}{{with .requests}}asks {{printf "%q" $n}} {{with .cpu}}{{printf "%q" .}}{{else}}""{{end}} {{with .memory}}{{printf "%q" .}}{{else}}""{{end}}
{{end}}{{end}}{{end}}{{end}}{{end}}{{end}}`
	records, err := c.query(ctx, nodes, "nodes")
	if err != nil {
		return nil, err
	}
	var out []Room
	for _, rec := range records {
		if rec.kind == "node" {
			out = append(out, Room{Node: rec.value(0), Open: rec.value(3) == "", CPU: milli(rec.value(1)), Memory: quantity(rec.value(2))})
		} else if len(out) > 0 {
			out[len(out)-1].Open = false
		}
	}
	if records, err = c.query(ctx, asked, "pods", "--all-namespaces"); err != nil {
		return nil, err
	}
	for _, rec := range records {
		if i := slices.IndexFunc(out, func(r Room) bool { return r.Node == rec.value(0) }); i >= 0 {
			out[i].CPU -= milli(rec.value(1))
			out[i].Memory -= quantity(rec.value(2))
		}
	}
	return out, nil
}

// VolumeUse gives how much lies in the volumes of pods on a node, in bytes by NAMESPACE/POD and what [VolumeName] gives, as
// kubelet counts it. Volumes that it does not count are not among them.
func (c *Client) VolumeUse(ctx context.Context, node string) (map[string]map[string]int64, error) {
	raw, err := c.Kubectl(ctx, "get", "--raw", "/api/v1/nodes/"+node+"/proxy/stats/summary")
	if err != nil {
		return nil, err
	}
	var stats struct {
		Pods []struct {
			PodRef struct{ Name, Namespace string } `json:"podRef"`
			Volume []struct {
				Name      string                 `json:"name"`
				PVCRef    *struct{ Name string } `json:"pvcRef"`
				UsedBytes *int64                 `json:"usedBytes"`
			} `json:"volume"`
		} `json:"pods"`
	}
	if err := json.Unmarshal(raw, &stats); err != nil {
		return nil, fmt.Errorf("read what kubelet counts on %s: %w", node, err)
	}
	out := map[string]map[string]int64{}
	for _, p := range stats.Pods {
		used := map[string]int64{}
		for _, v := range p.Volume {
			if v.UsedBytes == nil {
				continue
			}
			if used[v.Name] = *v.UsedBytes; v.PVCRef != nil {
				used[claimPrefix+v.PVCRef.Name] = *v.UsedBytes
			}
		}
		out[p.PodRef.Namespace+"/"+p.PodRef.Name] = used
	}
	return out, nil
}

const claimPrefix = "volume of claim "

// VolumeName is the name of the volume, or the words before its size of the claim, that an entry of [Resident.Local] speaks of.
func VolumeName(local string) string {
	name, _, _ := strings.Cut(strings.TrimPrefix(local, "emptyDir "), " (")
	return name
}
