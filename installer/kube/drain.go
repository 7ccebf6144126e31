package kube

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/sealbuild/sealbuild/ground/wait"
	"github.com/sealbuild/sealbuild/installer"
)

// Leaving is the annotation of a Node that a run of ours has cordoned, to move its pods away. Its value tells what the Node was
// before: open, or cordoned by somebody else. It stands on the Node, so that whoever goes on knows it, wherever that is.
const Leaving = "sealbuild.io/leaving"

// The values of [Leaving].
const (
	wasOpen     = "true"
	wasCordoned = "cordoned-before"
)

// cordonTemplate prints whether a Node is cordoned, and what [Leaving] says.
const cordonTemplate = `node {{with .metadata.annotations}}{{range $k, $v := .}}{{if eq $k "` + Leaving + `"}}{{printf "%q" $v}}{{end}}{{end}}{{end}}
{{with .spec}}{{if .unschedulable}}cordoned{{end}}{{end}}
`

// cordoned tells whether a node is cordoned, and what [Leaving] says; empty if no run of ours has cordoned it.
func (c *Client) cordoned(ctx context.Context, node string) (is bool, before string, err error) {
	records, err := c.query(ctx, cordonTemplate, "node", node)
	for _, rec := range records {
		if rec.kind == "node" {
			before = rec.value(0)
		} else {
			is = true
		}
	}
	return is, before, err
}

// Cordon keeps new pods away from a node, and notes on it that it was done here, and whether somebody else had done so before.
// Where that is noted already, by a run that was cut off, it stays as it is.
func (c *Client) Cordon(ctx context.Context, node string) error {
	is, before, err := c.cordoned(ctx, node)
	if err != nil || is && before != "" {
		return err
	}
	now := wasOpen
	if is {
		now = wasCordoned
	}
	if _, err := c.Kubectl(ctx, "annotate", "node", node, Leaving+"="+now, "--overwrite"); err != nil || is {
		return err
	}
	_, err = c.Kubectl(ctx, "cordon", node)
	return err
}

// Uncordon takes a [Client.Cordon] back: a node that somebody else had cordoned before stays cordoned, and so does one that no run
// of ours has cordoned.
func (c *Client) Uncordon(ctx context.Context, node string) error {
	is, before, err := c.cordoned(ctx, node)
	if err != nil || before == "" {
		return err
	}
	if is && before != wasCordoned {
		if _, err := c.Kubectl(ctx, "uncordon", node); err != nil {
			return err
		}
	}
	_, err = c.Kubectl(ctx, "annotate", "node", node, Leaving+"-")
	return err
}

// drainRound is how long one kubectl drain works. Then it is begun again, by whichever control plane answers.
const drainRound = 20 * time.Second

// BlockedError says what has kept pods on a node until the time to drain it was over.
type BlockedError struct {
	Node   string
	Waited time.Duration
	Pods   []string // that are still there
	Why    []string // what holds them: PodDisruptionBudgets, finalizers
	Cause  error    // of the last attempt
}

func (e *BlockedError) Error() string {
	text := fmt.Sprintf("node %s was not drained in %s", e.Node, e.Waited.Round(time.Second))
	if len(e.Pods) > 0 {
		text += ": still there: " + installer.NameSome(e.Pods)
	}
	for _, why := range e.Why {
		text += "\n  " + why
	}
	if len(e.Pods) == 0 && e.Cause != nil {
		text += ": " + installer.Tell(e.Cause)
	}
	return text
}
func (e *BlockedError) Unwrap() error { return e.Cause }

// Drain evicts the pods of a node that was cordoned, as kubectl drain does: PodDisruptionBudgets are kept. Pods without a
// controller are deleted. If pods are still there when the patience is over, the error is a *BlockedError.
func (c *Client) Drain(ctx context.Context, node string, patience time.Duration) error {
	began := time.Now()
	end := began.Add(patience)
	for {
		round := max(time.Second, min(drainRound, time.Until(end)))
		err := c.drainOnce(ctx, node, round)
		if err == nil || ctx.Err() != nil {
			return err
		}
		if time.Now().Before(end) {
			if err := wait.For(ctx, min(time.Second, time.Until(end))); err != nil {
				return err
			}
			continue
		}
		blocked := &BlockedError{Node: node, Waited: time.Since(began), Cause: err}
		_ = installer.Within(context.WithoutCancel(ctx), askLimit, func(ctx context.Context) error {
			blocked.Pods, blocked.Why = c.blocks(ctx, node)
			return nil
		})
		return blocked
	}
}

// drainOnce runs kubectl drain at the control plane that answers.
func (c *Client) drainOnce(ctx context.Context, node string, round time.Duration) error {
	if _, err := c.Kubectl(ctx, "get", "node", node, "-o", "name"); err != nil {
		return err
	}
	planes := c.inOrder()
	if len(planes) == 0 {
		return ErrNoControlPlane
	}
	_, err := c.KubectlOn(ctx, planes[0], "drain", node, "--ignore-daemonsets", "--delete-emptydir-data", "--force", "--timeout", round.Round(time.Second).String())
	return err
}

// blocks finds the pods that are still on a node, and what holds them there.
func (c *Client) blocks(ctx context.Context, node string) (pods, why []string) {
	const held = `{{range .items}}{{if .metadata.deletionTimestamp}}going {{printf "%q %q" .metadata.namespace .metadata.name}}` +
		` {{with .metadata.finalizers}}{{printf "%q" (printf "%v" .)}}{{else}}""{{end}}
{{end}}{{end}}`
	const budgets = `{{range .items}}{{with .status}}{{if .disruptionsAllowed}}{{else}}budget {{end}}{{end}}{{printf "%q %q" .metadata.namespace .metadata.name}}
{{end}}`
	left, err := c.Residents(ctx, []string{node})
	if err != nil {
		return nil, []string{"what is left there cannot be asked for: " + installer.Tell(err)}
	}
	spaces := map[string]bool{}
	for _, r := range left {
		pods = append(pods, r.Title())
		spaces[r.Namespace] = true
	}
	if records, err := c.query(ctx, held, "pods", "--all-namespaces", "--field-selector", "spec.nodeName="+node); err == nil {
		for _, rec := range records {
			if rec.value(2) != "" {
				why = append(why, fmt.Sprintf("pod %s/%s is deleted and held by its finalizers %s", rec.value(0), rec.value(1), rec.value(2)))
			} else if slices.Contains(pods, rec.value(0)+"/"+rec.value(1)) {
				why = append(why, fmt.Sprintf("pod %s/%s is being deleted and has not ended yet", rec.value(0), rec.value(1)))
			}
		}
	}
	if records, err := c.query(ctx, budgets, "poddisruptionbudgets.policy", "--all-namespaces"); err == nil {
		for _, rec := range records {
			if rec.kind == "budget" && spaces[rec.value(0)] {
				why = append(why, fmt.Sprintf("PodDisruptionBudget %s/%s allows no disruption now", rec.value(0), rec.value(1)))
			}
		}
	}
	return pods, why
}

// outOfService is the key of the taint that Kubernetes has for hosts which are switched off, and takenOut the value that says it is
// ours: it means nothing to Kubernetes.
const (
	outOfService = "node.kubernetes.io/out-of-service"
	takenOut     = "taken-out"
)

// OutOfService marks the Node of a host that is switched off for good: the cluster then releases its volumes and removes its
// pods without waiting for its kubelet.
func (c *Client) OutOfService(ctx context.Context, node string) error {
	_, err := c.Kubectl(ctx, "taint", "node", node, outOfService+"="+takenOut+":NoExecute", "--overwrite")
	return err
}

// BackInService takes [Client.OutOfService] and [Client.Bar] back, for a host that lives and stays after all.
func (c *Client) BackInService(ctx context.Context, node string) error {
	if err := c.Unbar(ctx, node); err != nil {
		return err
	}
	_, err := c.Kubectl(ctx, "taint", "node", node, outOfService+":NoExecute-")
	if refused, ok := errors.AsType[*installer.CommandError](err); ok && strings.Contains(refused.Tail, "not found") {
		return nil // by an answer that was lost
	}
	return err
}

// Released waits until no pod and no attached volume of a node is left. When the patience is over, pods that are still there
// are deleted without waiting for their kubelet, and it gives what is left.
func (c *Client) Released(ctx context.Context, node string, patience time.Duration) (left []string, err error) {
	look := func(ctx context.Context) error {
		left = nil
		records, err := c.query(ctx, residentsTemplate, "pods", "--all-namespaces", "--field-selector", "spec.nodeName="+node)
		if err != nil {
			return err
		}
		pods, _ := readResidents(records, nil)
		for _, p := range pods {
			if !strings.HasPrefix(p.Owner, "DaemonSet/") { // those tolerate every taint, and go with the Node
				left = append(left, p.Title())
			}
		}
		const template = `{{range .items}}{{if .spec.nodeName}}at {{printf "%q %q" .spec.nodeName .metadata.name}}
{{end}}{{end}}`
		records, err = c.query(ctx, template, "volumeattachments.storage.k8s.io")
		if err != nil {
			return err
		}
		for _, rec := range records {
			if rec.value(0) == node {
				left = append(left, "volume attachment "+rec.value(1))
			}
		}
		if len(left) > 0 {
			return errors.New("still there: " + installer.NameSome(left))
		}
		return nil
	}
	if err := installer.Insist(ctx, patience, look); err == nil || ctx.Err() != nil {
		return nil, err
	}
	for _, what := range left {
		if space, name, pod := strings.Cut(what, "/"); pod {
			if _, err := c.Kubectl(ctx, "delete", "pod", "-n", space, name, "--force", "--grace-period=0", "--ignore-not-found", "--wait=false"); err != nil {
				return left, err
			}
		}
	}
	if err := installer.Insist(ctx, askLimit, look); ctx.Err() != nil {
		return left, err
	}
	return left, nil
}
