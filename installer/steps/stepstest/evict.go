package stepstest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// budget is the state of a workload's PodDisruptionBudget.
func (s workloads) budget(a App) (healthy, expected, allowed int) {
	for _, i := range s.podsOf(a) {
		p := s.kube.pods[i]
		if p.deleted.IsZero() {
			expected++
			if s.podReady(p) {
				healthy++
			}
		}
	}
	return healthy, expected, max(0, healthy-a.MinAvailable)
}

func (s workloads) findPod(namespace, name string) (int, error) {
	i := slices.IndexFunc(s.kube.pods, func(p pod) bool { return p.app.Namespace == namespace && p.name == name })
	if i < 0 {
		return i, fmt.Errorf("error from server (NotFound): pods %q not found", name)
	}
	return i, nil
}

var errBudget = errors.New("error from server (TooManyRequests): Cannot evict pod as it would violate the pod's disruption budget")

// evict asks for the deletion of a pod. The budget of its workload may refuse that: for a pod that is Ready unless one more
// than needed is, for one that is not unless as many as needed are.
func (s workloads) evict(namespace, name string) error {
	i, err := s.findPod(namespace, name)
	if err != nil {
		return err
	}
	p := &s.kube.pods[i]
	if a := p.app; a.MinAvailable > 0 && p.deleted.IsZero() && p.node != "" {
		healthy, _, allowed := s.budget(a)
		if allowed == 0 && (s.podReady(*p) || healthy < a.MinAvailable) {
			return fmt.Errorf("%w\nThe disruption budget %s needs %d healthy pods and has %d currently", errBudget, a.Name, a.MinAvailable, healthy)
		}
	}
	return s.deletePod(namespace, name, false)
}

// deletePod deletes a pod: by force at once, else when its kubelet has ended it.
func (s workloads) deletePod(namespace, name string, force bool) error {
	i, err := s.findPod(namespace, name)
	if err != nil {
		return err
	}
	p := &s.kube.pods[i]
	if p.deleted.IsZero() {
		p.deleted = time.Now()
	}
	if (force || p.node == "") && !p.app.Kept {
		s.kube.pods = slices.Delete(s.kube.pods, i, i+1)
	}
	return nil
}

// raw is kubectl create --raw: of evictions.
func (s workloads) raw(path string, body []byte) (string, error) {
	f := strings.Split(strings.Trim(path, "/"), "/")
	if len(f) != 7 || f[0] != "api" || f[2] != "namespaces" || f[4] != "pods" || f[6] != "eviction" {
		return "", errors.New("error from server (NotFound): the server could not find the requested resource")
	}
	var e struct {
		APIVersion string            `json:"apiVersion"`
		Kind       string            `json:"kind"`
		Metadata   map[string]string `json:"metadata"`
	}
	if err := json.Unmarshal(body, &e); err != nil || e.APIVersion != "policy/v1" || e.Kind != "Eviction" || e.Metadata["name"] != f[5] || e.Metadata["namespace"] != f[3] {
		return "", fmt.Errorf("error from server (BadRequest): %q is no Eviction of policy/v1 for %s/%s: %w", body, f[3], f[5], err)
	}
	// Who moves pods this way moves one after the other: a drain asks in its own way.
	if i, err := s.findPod(f[3], f[5]); err == nil && s.kube.pods[i].deleted.IsZero() {
		if a := s.kube.pods[i].app; a.Kind == "Deployment" {
			if healthy, _, allowed := s.budget(a); healthy < a.Replicas && (a.MinAvailable == 0 || allowed > 0) {
				s.violated("%s of %s is evicted while %d of %d are Ready", f[5], a.Name, healthy, a.Replicas)
			}
		}
	}
	return `{"kind":"Status","status":"Success"}`, s.evict(f[3], f[5])
}

// drainList lists the pods that a drain of a node evicts. It is an error if there are some that it may not delete.
func (s workloads) drainList(node string, flags map[string]string) (list []pod, err error) {
	refused := map[string][]string{}
	for _, p := range s.kube.pods {
		title, a := p.app.Namespace+"/"+p.name, p.app
		switch {
		case p.node != node:
		case a.Kind == "DaemonSet":
			if flags["--ignore-daemonsets"] == "" {
				refused["DaemonSet-managed Pods (use --ignore-daemonsets to ignore)"] = append(refused["DaemonSet-managed Pods (use --ignore-daemonsets to ignore)"], title)
			}
		case a.EmptyDir && flags["--delete-emptydir-data"] == "":
			refused["Pods with local storage (use --delete-emptydir-data to override)"] = append(refused["Pods with local storage (use --delete-emptydir-data to override)"], title)
		case a.Kind == "Pod" && flags["--force"] == "":
			refused["Pods that declare no controller (use --force to override)"] = append(refused["Pods that declare no controller (use --force to override)"], title)
		default:
			list = append(list, p)
		}
	}
	if flags["--ignore-daemonsets"] == "" { // kube-proxy is everywhere
		why := "DaemonSet-managed Pods (use --ignore-daemonsets to ignore)"
		refused[why] = append(refused[why], "kube-system/kube-proxy-"+node)
	}
	var errs []error
	for why, pods := range refused {
		errs = append(errs, fmt.Errorf("cannot delete %s: %s", why, strings.Join(pods, ", ")))
	}
	return list, errors.Join(errs...)
}

// drain cordons a node, evicts its pods and waits until they are gone. What budgets refuse it tries again. At the end of its
// time it names what is left, and leaves the node cordoned.
func (c *call) drain(ctx context.Context, node string, flags map[string]string, ask func(func(workloads) error) error) (string, error) {
	if err := ask(func(s workloads) error { return s.cordon(node, true) }); err != nil {
		return "", err
	}
	timeout, err := time.ParseDuration(flags["--timeout"])
	if err != nil || timeout == 0 {
		timeout = 1 << 62
	}
	end := time.Now().Add(timeout)
	var todo []pod // what is there still
	evicted := map[string]bool{}
	err = ask(func(s workloads) (err error) {
		todo, err = s.drainList(node, flags)
		return err
	})
	if err != nil {
		return "", fmt.Errorf("error: unable to drain node %q due to error: %w, continuing command", node, err)
	}
	var said []string
	for len(todo) > 0 {
		err := ask(func(s workloads) error {
			for _, p := range todo {
				if evicted[p.uid] {
					continue
				}
				switch err := s.evict(p.app.Namespace, p.name); {
				case errors.Is(err, errBudget):
					said = append(said, fmt.Sprintf("error when evicting pods/%q -n %q (will retry after 5s): %v", p.name, p.app.Namespace, err))
				default: // that it is not there any more is as good
					evicted[p.uid] = true
				}
			}
			s.tick()
			todo = slices.DeleteFunc(todo, func(p pod) bool {
				return !slices.ContainsFunc(s.kube.pods, func(q pod) bool { return p.uid == q.uid })
			})
			return nil
		})
		switch {
		case c.fate() != nil:
			return "", c.fate()
		case err != nil:
			return "", err
		case len(todo) == 0:
		case time.Now().After(end):
			for _, p := range todo {
				if evicted[p.uid] {
					said = append(said, fmt.Sprintf("error when waiting for pod %q in namespace %q to terminate: global timeout reached: %s", p.name, p.app.Namespace, timeout))
				} else {
					said = append(said, fmt.Sprintf("error when evicting pods/%q -n %q: global timeout reached: %s", p.name, p.app.Namespace, timeout))
				}
			}
			return "", fmt.Errorf("%s\nerror: unable to drain node %q", strings.Join(said[max(0, len(said)-2*len(todo)):], "\n"), node)
		default:
			if err := sleep(ctx, c.session.site.Pace.Pod/2+time.Millisecond); err != nil {
				return "", err
			}
		}
	}
	return "node/" + node + " drained\n", nil
}
