package kube

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/sealbuild/sealbuild/ground/wait"
	"github.com/sealbuild/sealbuild/installer"
)

// Kubernetes moves no pod that runs. When a cluster grows, what is in several copies may lie on one node for ever, as it did
// when that was the only one: CoreDNS and applications end with that node.

// copies are the pods of a ReplicaSet.
type copies struct {
	namespace, name string // of the Deployment, or of a ReplicaSet without one
	pods            []copyPod
}

// copyPod is one of the copies.
type copyPod struct {
	name, node   string
	ready, going bool
	set          string   // the ReplicaSet
	keeps        []string // what it would lose elsewhere: kinds of volumes that stay on the node
	bound        bool     // an affinity binds it to nodes
	selector     map[string]string
	tolerates    []toleration
}

type toleration struct{ key, operator, value, effect string }

// copiesTemplate prints the pods that are not over, with what decides whether they can run elsewhere. A volume's line names
// its kind, and the medium of an emptyDir.
const copiesTemplate = `{{range .items}}{{if and (ne .status.phase "Succeeded") (ne .status.phase "Failed")}}{{$ready := "False"}}` +
	`{{range .status.conditions}}{{if eq .type "Ready"}}{{$ready = .status}}{{end}}{{end}}` +
	`{{$pod := .}}{{range .metadata.ownerReferences}}{{if and .controller (eq .kind "ReplicaSet")}}` +
	`pod {{printf "%q %q %q" $pod.metadata.namespace $pod.metadata.name .name}} {{with $pod.spec.nodeName}}{{printf "%q" .}}{{else}}""{{end}} {{printf "%q" $ready}}` +
	` {{if $pod.metadata.deletionTimestamp}}"going"{{else}}""{{end}} {{with index $pod.metadata "labels"}}{{with index . "pod-template-hash"}}{{printf "%q" .}}{{else}}""{{end}}{{else}}""{{end}}
{{with $pod.spec.affinity}}{{with .nodeAffinity}}{{with .requiredDuringSchedulingIgnoredDuringExecution}}bound
{{end}}{{end}}{{end}}{{range $k, $v := $pod.spec.nodeSelector}}select {{printf "%q %q" $k $v}}
{{end}}{{range $pod.spec.tolerations}}tolerates {{with .key}}{{printf "%q" .}}{{else}}""{{end}} {{with .operator}}{{printf "%q" .}}{{else}}""{{end}}` +
	` {{with .value}}{{printf "%q" .}}{{else}}""{{end}} {{with .effect}}{{printf "%q" .}}{{else}}""{{end}}
{{end}}{{range $pod.spec.volumes}}{{range $k, $v := .}}{{if ne $k "name"}}volume {{printf "%q" $k}}{{if eq $k "emptyDir"}} {{with index $v "medium"}}{{printf "%q" .}}{{else}}""{{end}}{{end}}
{{end}}{{end}}{{end}}{{end}}{{end}}{{end}}{{end}}`

// movable are the kinds of volumes that hold nothing of a pod's own.
var movable = []string{"configMap", "secret", "projected", "downwardAPI"}

// copies lists the pods of ReplicaSets by their Deployments, those of CoreDNS first; args are those of kubectl get pods.
func (c *Client) copies(ctx context.Context, args ...string) ([]copies, error) {
	records, err := c.query(ctx, copiesTemplate, append([]string{"pods"}, args...)...)
	if err != nil {
		return nil, err
	}
	out := readCopies(records)
	slices.SortStableFunc(out, func(a, b copies) int {
		return cmp.Or(cmp.Compare(a.rank(), b.rank()), cmp.Compare(a.title(), b.title()))
	})
	return out, nil
}

func readCopies(records []answerLine) []copies {
	var out []copies
	var p *copyPod
	for _, rec := range records {
		switch rec.kind {
		case "pod":
			name := strings.TrimSuffix(rec.value(2), "-"+rec.value(6))
			i := slices.IndexFunc(out, func(o copies) bool { return o.namespace == rec.value(0) && o.name == name })
			if i < 0 {
				i, out = len(out), append(out, copies{namespace: rec.value(0), name: name})
			}
			out[i].pods = append(out[i].pods, copyPod{
				name: rec.value(1), set: rec.value(2), node: rec.value(3), ready: rec.value(4) == "True", going: rec.value(5) != "", selector: map[string]string{},
			})
			p = &out[i].pods[len(out[i].pods)-1]
		case "bound":
			p.bound = true
		case "select":
			p.selector[rec.value(0)] = rec.value(1)
		case "tolerates":
			p.tolerates = append(p.tolerates, toleration{rec.value(0), rec.value(1), rec.value(2), rec.value(3)})
		case "volume":
			if kind := rec.value(0); !slices.Contains(movable, kind) && (kind != "emptyDir" || rec.value(1) != "Memory") && !slices.Contains(p.keeps, kind) {
				p.keeps = append(p.keeps, kind)
			}
		}
	}
	return out
}

func (w copies) title() string { return w.namespace + "/" + w.name }

func (w copies) rank() int {
	if w.title() == "kube-system/coredns" {
		return 0
	}
	return 1
}

// together gives the node that all copies lie on; it is empty if they do not, if there is one only, or if they are being
// changed by somebody else.
func (w copies) together() string {
	if len(w.pods) < 2 {
		return ""
	}
	first := w.pods[0]
	if slices.ContainsFunc(w.pods, func(p copyPod) bool { return !p.ready || p.going || p.node != first.node || p.set != first.set }) {
		return ""
	}
	return first.node
}

// place is a node that the scheduler may take for pods.
type place struct {
	name   string
	open   bool // Ready, and not cordoned
	taints []toleration
}

const placesTemplate = `{{range .items}}{{$ready := "False"}}{{range .status.conditions}}{{if eq .type "Ready"}}{{$ready = .status}}{{end}}{{end}}` +
	`node {{printf "%q %q" .metadata.name $ready}} {{with .spec}}{{if .unschedulable}}"closed"{{end}}
{{range .taints}}taint {{printf "%q" .key}} {{with .value}}{{printf "%q" .}}{{else}}""{{end}} {{printf "%q" .effect}}
{{end}}{{end}}
{{end}}`

// places lists nodes; args are those of kubectl get nodes.
func (c *Client) places(ctx context.Context, args ...string) ([]place, error) {
	records, err := c.query(ctx, placesTemplate, append([]string{"nodes"}, args...)...)
	if err != nil {
		return nil, err
	}
	var out []place
	for _, rec := range records {
		switch {
		case rec.kind == "node":
			out = append(out, place{name: rec.value(0), open: rec.value(1) == "True" && rec.value(2) == ""})
		case rec.kind == "taint" && len(out) > 0:
			last := &out[len(out)-1]
			last.taints = append(last.taints, toleration{key: rec.value(0), value: rec.value(1), effect: rec.value(2)})
		}
	}
	return out, nil
}

// takes tells whether the scheduler may put a pod on a node, by its taints.
func (n place) takes(p copyPod) bool {
	return n.open && !slices.ContainsFunc(n.taints, func(taint toleration) bool {
		return taint.effect != "PreferNoSchedule" && !slices.ContainsFunc(p.tolerates, func(t toleration) bool {
			return (t.effect == "" || t.effect == taint.effect) &&
				(t.operator == "Exists" && (t.key == "" || t.key == taint.key) || t.operator != "Exists" && t.key == taint.key && t.value == taint.value)
		})
	})
}

// Spreading is what came of spreading.
type Spreading struct {
	Moved []string // in words, one for each pod: NAMESPACE/NAME from NODE to NODE
	Left  []string // in words, one for each workload that stays on one node although there is another for it
}

// How long a pod that was moved may take to be ready elsewhere, and how often it is looked at.
const (
	movePatience = 3 * time.Minute
	movePoll     = 500 * time.Millisecond
)

// Spread moves pods of Deployments and ReplicaSets of which all copies lie on one node, although another could take some. One
// copy stays. It evicts one pod after the other, as PodDisruptionBudgets allow it, and waits until the one in its place is
// ready, for as long as patience says at most. Where the scheduler puts that one is its affair: if it chooses the same node,
// the workload is left as it is. Pods that keep data on their node are left, too. When a pod does not become ready elsewhere,
// nothing more is moved.
func (c *Client) Spread(ctx context.Context, patience time.Duration) (Spreading, error) {
	var out Spreading
	nodes, err := c.places(ctx)
	if err != nil || len(nodes) < 2 {
		return out, err
	}
	all, err := c.copies(ctx, "--all-namespaces")
	if err != nil {
		return out, err
	}
	for _, w := range all {
		node := w.together()
		if node == "" {
			continue
		}
		open, err := c.elsewhere(ctx, w.pods[0], node, nodes)
		if err != nil {
			return out, err
		}
		if !open {
			continue
		}
		leave := func(why string) {
			out.Left = append(out.Left, fmt.Sprintf("%s: all %d copies stay on %s: %s", w.title(), len(w.pods), node, why))
		}
		if keeps := w.pods[0].keeps; len(keeps) > 0 {
			leave("they have volumes there that do not move with them (" + strings.Join(keeps, ", ") + ")")
			continue
		}
		if w.pods[0].bound {
			leave("their node affinity says which nodes they want")
			continue
		}
		known := map[string]bool{}
		for _, p := range w.pods {
			known[p.name] = true
		}
		for _, p := range w.pods[1:] {
			to, err := c.move(ctx, w, p, known, min(patience, movePatience))
			stuck, late := errors.AsType[*lateError](err)
			switch {
			case late:
				leave(stuck.Error())
				return out, nil
			case errors.Is(err, errBudget):
				leave("a PodDisruptionBudget does not let one go")
			case err != nil:
				return out, fmt.Errorf("move a copy of %s away from %s: %w", w.title(), node, err)
			case to == node:
				leave("the scheduler chooses that node again")
			default:
				out.Moved = append(out.Moved, fmt.Sprintf("%s/%s from %s to %s", w.namespace, p.name, node, to))
				continue
			}
			break
		}
	}
	return out, nil
}

// elsewhere tells whether another node than the one it is on may take a pod.
func (c *Client) elsewhere(ctx context.Context, p copyPod, node string, nodes []place) (bool, error) {
	if len(p.selector) > 0 {
		var labels []string
		for _, k := range slices.Sorted(maps.Keys(p.selector)) {
			labels = append(labels, k+"="+p.selector[k])
		}
		var err error
		if nodes, err = c.places(ctx, "--selector", strings.Join(labels, ",")); err != nil {
			return false, err
		}
	}
	return slices.ContainsFunc(nodes, func(n place) bool { return n.name != node && n.takes(p) }), nil
}

// errBudget means that a PodDisruptionBudget forbids an eviction now.
var errBudget = errors.New("a PodDisruptionBudget forbids it")

// lateError says that the pod in place of one that was moved is not ready in time.
type lateError struct{ title, node string }

func (e *lateError) Error() string {
	where := "no node took the pod in place of the one that was moved"
	if e.node != "" {
		where = "the pod in place of the one that was moved is not ready on " + e.node
	}
	return where + " (kubectl describe pods)"
}

// move evicts a pod of a workload, and waits until the workload has as many ready pods as before. It gives the node that the
// new one is on. known are the names of the workload's pods; the new one is added.
func (c *Client) move(ctx context.Context, w copies, p copyPod, known map[string]bool, patience time.Duration) (node string, err error) {
	if err := c.evict(ctx, w.namespace, p.name); err != nil {
		return "", err
	}
	bounded, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	late := &lateError{title: w.title()}
	err = wait.Until(bounded, movePoll, func(ctx context.Context) error {
		now, err := c.copies(ctx, "--namespace", w.namespace)
		if err != nil {
			return err
		}
		up, fresh := 0, copyPod{}
		for _, o := range now {
			if o.name != w.name {
				continue
			}
			for _, q := range o.pods {
				switch {
				case q.going || q.name == p.name:
				case q.ready:
					up++
					if !known[q.name] {
						fresh = q
					}
				case !known[q.name]:
					late.node = q.node
				}
			}
		}
		if up < len(w.pods) {
			return fmt.Errorf("%d of %d are ready", up, len(w.pods))
		}
		known[fresh.name], node = true, fresh.node
		return nil
	})
	if err != nil && ctx.Err() == nil {
		return "", late
	}
	return node, err
}

// evict asks for the eviction of a pod. One that is gone is evicted: a control plane may have done it and not have answered.
func (c *Client) evict(ctx context.Context, namespace, name string) error {
	body, err := json.Marshal(map[string]any{
		"apiVersion": "policy/v1", "kind": "Eviction", "metadata": map[string]string{"namespace": namespace, "name": name},
	})
	if err != nil {
		return err
	}
	args := []string{"create", "--raw", "/api/v1/namespaces/" + namespace + "/pods/" + name + "/eviction", "-f", "-"}
	var budget error
	err = c.Ask(ctx, func(ctx context.Context, p ControlPlane) error {
		_, err := c.kubectlOn(ctx, p, body, args...)
		if refused, ok := errors.AsType[*installer.CommandError](err); ok {
			switch {
			case strings.Contains(refused.Tail, "(NotFound)"):
				return nil
			case strings.Contains(refused.Tail, "(TooManyRequests)"):
				budget = errBudget
				return nil // every control plane would say so
			}
		}
		return err
	})
	return errors.Join(err, budget)
}
