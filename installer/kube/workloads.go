package kube

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/sealbuild/sealbuild/ground/count"
	"github.com/sealbuild/sealbuild/installer/care"
)

// workload is a DaemonSet, Deployment or StatefulSet. It is judged by how many of its pods are ready, since single pods come
// and go.
type workload struct {
	kind, namespace, name string
	desired, ready        int
	unseen                bool // its controller has not looked at it yet
	vital                 bool // the cluster itself needs it
	selector              map[string]string
}

// workloadLines prints the fields of [workload].
const workloadLines = `work {{printf "%q %q %q" .kind .metadata.namespace .metadata.name}}` +
	` {{with .spec.template.spec.priorityClassName}}{{printf "%q" .}}{{else}}""{{end}}` +
	` {{if eq .kind "DaemonSet"}}{{with .status.desiredNumberScheduled}}"{{.}}"{{else}}"0"{{end}} {{with .status.numberReady}}"{{.}}"{{else}}"0"{{end}}` +
	`{{else}}{{with .spec.replicas}}"{{.}}"{{else}}"0"{{end}} {{with .status.readyReplicas}}"{{.}}"{{else}}"0"{{end}}{{end}}` +
	` {{with .metadata.generation}}"{{.}}"{{else}}"0"{{end}} {{with .status.observedGeneration}}"{{.}}"{{else}}"0"{{end}}
{{range $k, $v := .spec.selector.matchLabels}}label {{printf "%q %q" $k $v}}
{{end}}`

const (
	workloadsTemplate = `{{range .items}}` + workloadLines + `{{end}}`
	workloadKinds     = "daemonsets.apps,deployments.apps,statefulsets.apps"
)

// workloads lists those of all namespaces.
func (c *Client) workloads(ctx context.Context) ([]workload, error) {
	records, err := c.query(ctx, workloadsTemplate, workloadKinds, "--all-namespaces")
	if err != nil {
		return nil, err
	}
	return readWorkloads(records), nil
}

func readWorkloads(records []answerLine) []workload {
	var out []workload
	for _, rec := range records {
		switch {
		case rec.kind == "work":
			w := workload{
				kind: rec.value(0), namespace: rec.value(1), name: rec.value(2), desired: rec.number(4), ready: rec.number(5),
				unseen: rec.number(7) < rec.number(6), selector: map[string]string{},
			}
			// These priority classes are Kubernetes' own for what a cluster needs; pod networks have them.
			w.vital = w.namespace == "kube-system" || strings.HasPrefix(rec.value(3), "system-")
			out = append(out, w)
		case rec.kind == "label" && len(out) > 0:
			out[len(out)-1].selector[rec.value(0)] = rec.value(1)
		}
	}
	return out
}

func (w workload) title() string { return fmt.Sprintf("%s %s/%s", w.kind, w.namespace, w.name) }

func (w workload) short() string {
	return fmt.Sprintf("%s: %d of %s %s ready", w.title(), w.ready, count.Of(w.desired, "pod"), count.Word(w.desired, "is", "are"))
}

// selects tells whether a pod with known labels is one of the workload's.
func (w workload) selects(p Pod) bool {
	for k, v := range w.selector {
		if p.labels[k] != v {
			return false
		}
	}
	return p.Namespace == w.namespace
}

func (w workload) well() bool { return w.ready >= w.desired && !w.unseen }

// labels is the selector as kubectl takes it.
func (w workload) labels() string {
	var out []string
	for _, k := range slices.Sorted(maps.Keys(w.selector)) {
		out = append(out, k+"="+w.selector[k])
	}
	return strings.Join(out, ",")
}

// Pod is a pod with what is asked about it.
type Pod struct {
	Namespace, Name, Node, phase string
	ready, going                 bool // going: it is being deleted
	message                      string
	containers                   []containerState
	labels                       map[string]string // of pods that [Client.See] found
}

// containerState is a container that is not ready.
type containerState struct {
	name, reason, message string
	restarts              int
}

// Parts of the templates for pods: whether one is ready, its line, and why it is not ready.
const (
	podReady = `{{$ready := "False"}}{{range .status.conditions}}{{if eq .type "Ready"}}{{$ready = .status}}{{end}}{{end}}`
	podLine  = `pod {{printf "%q %q" .metadata.namespace .metadata.name}} {{with .spec.nodeName}}{{printf "%q" .}}{{else}}""{{end}} {{printf "%q %q" .status.phase $ready}}` +
		` {{if .metadata.deletionTimestamp}}"going"{{else}}""{{end}}
`
	podLabels = `{{range $k, $v := .metadata.labels}}label {{printf "%q %q" $k $v}}
{{end}}`
	podWhy = `{{range .status.conditions}}{{if eq .status "False"}}{{with .message}}because {{printf "%q" .}}
{{end}}{{end}}{{end}}{{with .status.message}}because {{printf "%q" .}}
{{end}}{{range .status.initContainerStatuses}}{{template "container" .}}{{end}}{{range .status.containerStatuses}}{{template "container" .}}{{end}}`
	podContainer = `{{define "container"}}{{if not .ready}}container {{printf "%q" .name}} ` +
		`{{with .state.waiting}}{{printf "%q" .reason}} {{with .message}}{{printf "%q" .}}{{else}}""{{end}}` +
		`{{else}}{{with .state.terminated}}{{with .reason}}{{printf "%q" .}}{{else}}"Terminated"{{end}} "exit status {{.exitCode}}"{{else}}"" ""{{end}}{{end}}` +
		` {{with .restartCount}}"{{.}}"{{else}}"0"{{end}}
{{end}}{{end}}`
)

// podsTemplate prints pods. One that is ready takes one line.
const podsTemplate = `{{range .items}}` + podReady + podLine + `{{if ne $ready "True"}}` + podWhy + `{{end}}{{end}}` + podContainer

// Pods lists pods; args are those of kubectl get pods.
func (c *Client) Pods(ctx context.Context, args ...string) ([]Pod, error) {
	records, err := c.query(ctx, podsTemplate, append([]string{"pods"}, args...)...)
	if err != nil {
		return nil, err
	}
	return readPods(records), nil
}

func readPods(records []answerLine) []Pod {
	var out []Pod
	for _, rec := range records {
		if rec.kind == "pod" {
			out = append(out, Pod{
				Namespace: rec.value(0), Name: rec.value(1), Node: rec.value(2), phase: rec.value(3),
				ready: rec.value(4) == "True", going: rec.value(5) != "",
			})
			continue
		}
		if len(out) == 0 {
			continue
		}
		p := &out[len(out)-1]
		switch rec.kind {
		case "label":
			if p.labels == nil {
				p.labels = map[string]string{}
			}
			p.labels[rec.value(0)] = rec.value(1)
		case "because":
			p.message = rec.value(0)
		case "container":
			p.containers = append(p.containers, containerState{rec.value(0), rec.value(1), rec.value(2), rec.number(3)})
		}
	}
	return out
}

// Title names a pod as kubectl users do: NAMESPACE/NAME.
func (p Pod) Title() string { return p.Namespace + "/" + p.Name }

// NotReady is an error if the pod is not ready, or is going.
func (p Pod) NotReady() error {
	if p.ready && !p.going {
		return nil
	}
	return fmt.Errorf("pod %s is not ready: %s", p.Title(), p.Why())
}

// remains tells whether a pod is over: it has ended, was evicted, or is being deleted.
func (p Pod) remains() bool { return p.phase == "Succeeded" || p.phase == "Failed" || p.going }

// Why is the reason that the API gives with a pod that is not ready, in words.
func (p Pod) Why() string {
	for _, c := range p.containers {
		if c.reason != "" && c.reason != "PodInitializing" && c.reason != "ContainerCreating" {
			return strings.TrimSpace(strings.TrimRight(c.name+": "+c.reason+" "+c.message, " "))
		}
	}
	for _, c := range p.containers {
		if c.reason != "" {
			return c.name + ": " + c.reason
		}
	}
	if p.phase == "Pending" && p.message != "" {
		return p.phase + ", " + p.message
	}
	return p.phase
}

// staticPods lists the pods that kubelet runs from manifests on its host: the control plane and care.
func (c *Client) staticPods(ctx context.Context) ([]Pod, error) {
	return c.Pods(ctx, "--namespace", "kube-system", "--selector", "tier=control-plane")
}

// missingPods compares the static pods with those that every master and every worker must have: missing has a line for each
// that is not there, sick the pods that are not ready. It leaves out nodes that skip tells.
func missingPods(pods []Pod, hosts []Host, skip func(node string) bool) (missing []string, sick []Pod) {
	have, etcd := map[string]Pod{}, false
	for _, p := range pods {
		have[p.Name] = p
		etcd = etcd || strings.HasPrefix(p.Name, "etcd-")
	}
	for _, h := range hosts {
		if h.Node == "" || skip(h.Node) {
			continue
		}
		want := []string{care.PodName}
		if h.Master {
			want = []string{"kube-apiserver", "kube-controller-manager", "kube-scheduler"}
			if etcd { // not where the operator brought an etcd of his own
				want = append(want, "etcd")
			}
		}
		for _, name := range want {
			p, ok := have[name+"-"+h.Node]
			switch {
			case !ok:
				missing = append(missing, fmt.Sprintf("pod kube-system/%s-%s is not there yet", name, h.Node))
			case !p.ready:
				sick = append(sick, p)
			}
		}
	}
	return missing, sick
}
