package steps

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/care"
	"github.com/sealbuild/sealbuild/installer/node"
)

const adminConf = etcKube + "/admin.conf"

// CommandError is a command that ran on a host and failed.
type CommandError struct {
	Host    string
	Command string
	Code    int
	Tail    string // last lines of its output
}

func (e *CommandError) Error() string {
	s := fmt.Sprintf("%s: %s: exit status %d", e.Host, e.Command, e.Code)
	if e.Tail != "" {
		s += ":\n  " + strings.ReplaceAll(e.Tail, "\n", "\n  ")
	}
	return s
}

// exec runs a command on a host with the run's timeout; a status other than 0 is an error.
func (r *Run) exec(ctx context.Context, t *Target, step string, argv ...string) (node.ExecResult, error) {
	return r.execWith(ctx, t, step, node.ExecRequest{Argv: argv})
}

func (r *Run) execWith(ctx context.Context, t *Target, step string, req node.ExecRequest) (node.ExecResult, error) {
	command := strings.Join(req.Argv, " ")
	log := r.Report.Output(t.IP.String(), step, command)
	defer closeLog(log)
	req.TimeoutSeconds = int(r.Timeout / time.Second)
	res, err := t.Agent.Exec(ctx, req, log)
	if err != nil {
		return res, fmt.Errorf("run %s: %w", command, err)
	}
	if res.Code != 0 {
		return res, &CommandError{Host: t.IP.String(), Command: command, Code: res.Code, Tail: installer.Tail(string(res.Stdout)+"\n"+string(res.Stderr), 15)}
	}
	return res, nil
}

func (r *Run) kubectlCache() string { return r.dir("cache", "kubectl") }

// kubectl asks the cluster through master0. Its output is not logged: it may be large, and it may hold secrets.
func (r *Run) kubectl(ctx context.Context, args ...string) ([]byte, error) {
	t := r.master0()
	// kubectl's cache goes where reset removes it, not into root's home.
	argv := append([]string{"kubectl", "--kubeconfig", adminConf, "--cache-dir", r.kubectlCache(), "--request-timeout=10s"}, args...)
	res, err := t.Agent.Exec(ctx, node.ExecRequest{Argv: argv, TimeoutSeconds: 30}, io.Discard)
	if err != nil {
		return nil, err
	}
	if res.Code != 0 {
		return nil, &CommandError{Host: t.IP.String(), Command: strings.Join(argv, " "), Code: res.Code, Tail: installer.Tail(string(res.Stderr), 5)}
	}
	return res.Stdout, nil
}

type kubeNode struct {
	Metadata struct {
		Name string `json:"name"`
	} `json:"metadata"`
	Status struct {
		Conditions []struct {
			Type    string `json:"type"`
			Status  string `json:"status"`
			Message string `json:"message"`
		} `json:"conditions"`
	} `json:"status"`
}

type nodeList struct {
	Items []kubeNode `json:"items"`
}

type podList struct {
	Items []struct {
		Metadata struct {
			Name      string `json:"name"`
			Namespace string `json:"namespace"`
		} `json:"metadata"`
		Spec struct {
			NodeName string `json:"nodeName"`
		} `json:"spec"`
		Status struct {
			Phase      string `json:"phase"`
			Conditions []struct {
				Type   string `json:"type"`
				Status string `json:"status"`
			} `json:"conditions"`
			ContainerStatuses []struct {
				Name  string `json:"name"`
				State struct {
					Waiting *struct {
						Reason  string `json:"reason"`
						Message string `json:"message"`
					} `json:"waiting"`
				} `json:"state"`
			} `json:"containerStatuses"`
		} `json:"status"`
	} `json:"items"`
}

// unready lists what the cluster still waits for: nodes that are not Ready (or
// not there), and pods of kube-system that do not run.
func (r *Run) unready(ctx context.Context) ([]string, error) {
	var out []string
	raw, err := r.kubectl(ctx, "get", "nodes", "-o", "json")
	if err != nil {
		return nil, err
	}
	var nodes nodeList
	if err := json.Unmarshal(raw, &nodes); err != nil {
		return nil, fmt.Errorf("decode the list of nodes: %w", err)
	}
	for _, t := range r.Targets {
		i := slices.IndexFunc(nodes.Items, func(n kubeNode) bool {
			return n.Metadata.Name == t.nodeName()
		})
		if i < 0 {
			out = append(out, fmt.Sprintf("node %s is not in the cluster", t.nodeName()))
			continue
		}
		for _, c := range nodes.Items[i].Status.Conditions {
			if c.Type == "Ready" && c.Status != "True" {
				out = append(out, fmt.Sprintf("node %s is not Ready: %s", t.nodeName(), c.Message))
			}
		}
	}
	raw, err = r.kubectl(ctx, "get", "pods", "-n", "kube-system", "-o", "json")
	if err != nil {
		return nil, err
	}
	var pods podList
	if err := json.Unmarshal(raw, &pods); err != nil {
		return nil, fmt.Errorf("decode the list of pods: %w", err)
	}
	out = append(out, r.missingPods(pods)...)
	return append(out, pods.unready(r.isForeign)...), nil
}

// isForeign tells whether a node is none of this run's hosts: a master that lost
// its power, say, and was left out of the command for that reason. What ran
// there is nothing to wait for.
func (r *Run) isForeign(node string) bool {
	return node != "" && !slices.ContainsFunc(r.Targets, func(t *Target) bool { return t.nodeName() == node })
}

// missingPods names the static pods that every host of its kind must have.
func (r *Run) missingPods(pods podList) []string {
	have, etcd := map[string]bool{}, false
	for _, p := range pods.Items {
		have[p.Metadata.Name] = true
		etcd = etcd || strings.HasPrefix(p.Metadata.Name, "etcd-")
	}
	var out []string
	for _, t := range r.Targets {
		want := []string{care.PodName}
		if t.Master {
			want = []string{"kube-apiserver", "kube-controller-manager", "kube-scheduler"}
			if etcd { // not where the operator brought an etcd of his own
				want = append(want, "etcd")
			}
		}
		for _, name := range want {
			if pod := name + "-" + t.nodeName(); !have[pod] {
				out = append(out, fmt.Sprintf("pod kube-system/%s is not there yet", pod))
			}
		}
	}
	return out
}

// unready tells of every pod that is not ready, but for those on skipped nodes.
func (p podList) unready(skip func(node string) bool) []string {
	var out []string
	for _, pod := range p.Items {
		ready := pod.Status.Phase == "Succeeded" || skip(pod.Spec.NodeName)
		for _, c := range pod.Status.Conditions {
			ready = ready || c.Type == "Ready" && c.Status == "True"
		}
		if ready {
			continue
		}
		why := pod.Status.Phase
		for _, c := range pod.Status.ContainerStatuses {
			if w := c.State.Waiting; w != nil {
				why = strings.TrimSpace(c.Name + ": " + w.Reason + " " + w.Message)
			}
		}
		out = append(out, fmt.Sprintf("pod %s/%s on %s is not ready: %s", pod.Metadata.Namespace, pod.Metadata.Name, pod.Spec.NodeName, why))
	}
	return out
}

// nodeName is the name of a host's node: its host name in lower case, as
// kubelet has it. The check step has found it to be a valid one.
func (t *Target) nodeName() string { return strings.ToLower(t.Facts.Hostname) }

// names are those of a host in /etc/hosts: that of its node, and as it spells it itself.
func (t *Target) names() []string {
	if t.Facts.Hostname == "" {
		return nil
	}
	return slices.Compact([]string{t.nodeName(), t.Facts.Hostname})
}

// ErrNotReady is returned when the cluster did not come up in time.
var ErrNotReady = errors.New("the cluster is not ready")

// waitReady polls until nothing is unready or the timeout passes.
func (r *Run) waitReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, r.Timeout)
	defer cancel()
	var last []string
	for {
		waiting, err := r.unready(ctx)
		switch {
		case err == nil && len(waiting) == 0:
			return nil
		case err == nil:
			last = waiting
		case ctx.Err() == nil:
			last = []string{err.Error()}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w after %s:\n  %s", ErrNotReady, r.Timeout, strings.Join(last, "\n  "))
		case <-time.After(500 * time.Millisecond):
		}
	}
}
