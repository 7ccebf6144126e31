package stepstest

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Deployment is an application of several copies. Its controller replaces a pod that was evicted, and its scheduler puts the
// new one where the fewest copies are.
type Deployment struct {
	Namespace, Name string
	Copies          int
	On              string   // the node on which all begin
	Least           int      // copies that its PodDisruptionBudget wants ready
	Volume          string   // kind of a volume of its pods
	Selector        []string // key and value of a label of the nodes that it wants
	Masters         bool     // its pods tolerate the taint of masters
	Sticky          bool     // the scheduler chooses the node again
	Dead            bool     // no new pod becomes ready

	site *Site
	pods []deployed
	made int
}

type deployed struct {
	name, node string
	ready      time.Time // when it is
}

// startsIn is how long a new pod takes to be ready.
const startsIn = 700 * time.Millisecond

// Start starts an application, all copies on one node.
func Start(s *Site, d Deployment) *Deployment {
	defer s.locked()()
	d.site = s
	for range d.Copies {
		d.start(d.On, time.Time{})
	}
	s.kube.deployments = append(s.kube.deployments, &d)
	return &d
}

// Where gives the nodes that the pods are on, sorted, and how many pods there ever were.
func (d *Deployment) Where() (nodes []string, made int) {
	defer d.site.locked()()
	for _, p := range d.pods {
		nodes = append(nodes, p.node)
	}
	slices.Sort(nodes)
	return nodes, d.made
}

func (d *Deployment) start(node string, ready time.Time) {
	d.made++
	d.pods = append(slices.Clone(d.pods), deployed{fmt.Sprintf("%s-5d9c-%d", d.Name, d.made), node, ready})
}

func (p deployed) isReady() bool { return !time.Now().Before(p.ready) }

// up counts the copies that are ready.
func (d *Deployment) up() (n int) {
	for _, p := range d.pods {
		if p.isReady() {
			n++
		}
	}
	return n
}

// schedule chooses the node for a new pod; it is empty if none will take it.
func schedule(s *Site, d *Deployment, left string) string {
	if d.Sticky {
		return left
	}
	best, fewest := "", 0
	for _, m := range s.machines {
		n, ok := s.kube.nodes[m.node()]
		if !ok || !s.nodeReady(m.node()) || n.master && !d.Masters {
			continue
		}
		here := 0
		for _, p := range d.pods {
			if p.node == m.node() {
				here++
			}
		}
		if best == "" || here < fewest {
			best, fewest = m.node(), here
		}
	}
	return best
}

// evict answers a request for the eviction of a pod, as the API server does.
func evict(s *Site, path, body string) (string, error) {
	var asked struct {
		APIVersion string `json:"apiVersion"`
		Kind       string `json:"kind"`
		Metadata   struct {
			Name, Namespace string
		} `json:"metadata"`
	}
	if err := json.Unmarshal([]byte(body), &asked); err != nil || asked.APIVersion != "policy/v1" || asked.Kind != "Eviction" {
		return "", fmt.Errorf("error from server (BadRequest): %s", body)
	}
	if want := "/api/v1/namespaces/" + asked.Metadata.Namespace + "/pods/" + asked.Metadata.Name + "/eviction"; path != want {
		return "", fmt.Errorf("error from server (BadRequest): name in URL does not match: %s, %s", path, want)
	}
	for _, d := range s.kube.deployments {
		i := slices.IndexFunc(d.pods, func(p deployed) bool { return p.name == asked.Metadata.Name })
		if d.Namespace != asked.Metadata.Namespace || i < 0 {
			continue
		}
		if d.up() <= d.Least {
			return "", fmt.Errorf("error from server (TooManyRequests): Cannot evict pod as it would violate the pod's disruption budget. The disruption budget %s needs %d healthy pods", d.Name, d.Least)
		}
		if d.up() < d.Copies {
			s.violated("%s of %s is evicted while %d of %d are ready", asked.Metadata.Name, d.Name, d.up(), d.Copies)
		}
		left := d.pods[i].node
		d.pods = slices.Delete(slices.Clone(d.pods), i, i+1)
		ready := time.Now().Add(startsIn)
		if d.Dead {
			ready = ready.Add(time.Hour)
		}
		d.start(schedule(s, d, left), ready)
		return `{"kind":"Status","status":"Success"}`, nil
	}
	return "", fmt.Errorf("error from server (NotFound): pods %q not found", asked.Metadata.Name)
}

// deploymentPods are the pods of all Deployments.
func deploymentPods(s *Site) []object {
	var out []object
	for _, d := range s.kube.deployments {
		for _, p := range d.pods {
			set := strings.TrimSuffix(p.name, p.name[strings.LastIndexByte(p.name, '-'):])
			spec := object{"nodeName": p.node}
			if d.Volume != "" {
				spec["volumes"] = []any{object{"name": "data", d.Volume: object{}}}
			}
			if len(d.Selector) > 0 {
				spec["nodeSelector"] = object{d.Selector[0]: d.Selector[1]}
			}
			if d.Masters {
				spec["tolerations"] = []any{object{"key": "node-role.kubernetes.io/control-plane", "effect": "NoSchedule"}}
			}
			out = append(out, object{
				"kind": "Pod", "metadata": object{
					"name": p.name, "namespace": d.Namespace, "labels": object{"app": d.Name, "pod-template-hash": "5d9c"},
					"ownerReferences": []any{object{"kind": "ReplicaSet", "name": set, "controller": true}},
				},
				"spec": spec, "status": object{"phase": "Running", "conditions": []any{object{"type": "Ready", "status": truth(p.isReady())}}},
			})
		}
	}
	return out
}

// cloneDeployments are copies that change on their own.
func cloneDeployments(all []*Deployment) []*Deployment {
	var out []*Deployment
	for _, d := range all {
		c := *d
		out = append(out, &c)
	}
	return out
}
