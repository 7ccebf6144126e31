package kube

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/sealbuild/sealbuild/installer"
)

// Lacks is what a cluster still lacks.
type Lacks struct {
	Lines    []string // in words, one for each thing
	Sick     []Pod    // pods of the cluster itself that are not ready; Lines has them, too
	Apps     []string // applications that are not ready: the cluster works without
	Pressure []string // hosts short of something, though Ready
	Nodes    []Node
}

// Lacks lists what the cluster waits for: nodes that are not Ready (or not there), static pods of its hosts, and
// workloads of any namespace that the cluster itself needs. Pods count through their owners only.
func (c *Client) Lacks(ctx context.Context, hosts []Host) (Lacks, error) {
	var w Lacks
	var static []Pod
	var all []workload
	group, asking := errgroup.WithContext(ctx) // three programs that wait for the API most of the time
	group.Go(func() (err error) { w.Nodes, err = c.Nodes(asking); return err })
	group.Go(func() (err error) { static, err = c.staticPods(asking); return err })
	group.Go(func() (err error) { all, err = c.workloads(asking); return err })
	if err := group.Wait(); err != nil {
		return w, err
	}
	w.Lines = nodesWaiting(w.Nodes, hosts)
	for _, n := range w.Nodes {
		if len(n.Pressure) > 0 && !isForeign(n.Name, hosts) {
			w.Pressure = append(w.Pressure, fmt.Sprintf("node %s has %s", n.Title(), strings.Join(n.Pressure, ", ")))
		}
	}
	silent := map[string]bool{} // nodes of which nothing is known: they have a line of their own
	for _, n := range w.Nodes {
		silent[n.Name] = n.Ready == "Unknown"
	}
	skip := func(node string) bool { return node != "" && (isForeign(node, hosts) || silent[node]) }
	missing, sick := missingPods(static, hosts, skip)
	w.Lines, w.Sick = append(w.Lines, missing...), append(w.Sick, sick...)
	for _, load := range all {
		switch {
		case load.well():
		case !load.vital:
			w.Apps = append(w.Apps, fmt.Sprintf("%s: %d of %d pods are ready", load.title(), load.ready, load.desired))
		default:
			line, sick, err := c.lacking(ctx, load, skip)
			if err != nil {
				return w, err
			}
			w.Lines, w.Sick = append(w.Lines, line...), append(w.Sick, sick...)
		}
	}
	for _, p := range w.Sick {
		on := ""
		if p.Node != "" {
			on = " on " + p.Node
		}
		w.Lines = append(w.Lines, fmt.Sprintf("pod %s%s is not ready: %s", p.Title(), on, p.Why()))
	}
	return w, nil
}

// lacking finds the pods that a workload lacks. Those on nodes that are skipped do not count.
func (c *Client) lacking(ctx context.Context, load workload, skip func(node string) bool) (lines []string, sick []Pod, err error) {
	short := fmt.Sprintf("%s: %d of %d pods are ready", load.title(), load.ready, load.desired)
	if load.unseen {
		return []string{load.title() + " has not been looked at by its controller yet"}, nil, nil
	}
	if len(load.selector) == 0 {
		return []string{short}, nil, nil
	}
	pods, err := c.Pods(ctx, "--namespace", load.namespace, "--selector", load.labels())
	if err != nil {
		return nil, nil, err
	}
	missing := load.desired
	for _, p := range pods {
		switch {
		case p.remains():
		case p.ready, skip(p.Node):
			missing--
		default:
			missing--
			sick = append(sick, p)
		}
	}
	if len(sick) == 0 && missing > 0 {
		lines = append(lines, short)
	}
	return lines, sick, nil
}

// isForeign tells whether a node is none of the hosts: for example a master without power that the command leaves out. Pods
// there are not waited for.
func isForeign(node string, hosts []Host) bool {
	return node != "" && !slices.ContainsFunc(hosts, func(h Host) bool { return h.Node == node })
}

// ErrNotReady is returned when the cluster did not come up in time.
var ErrNotReady = errors.New("the cluster is not ready")

// NotReadyError says what a cluster lacked when the waiting for it ended.
type NotReadyError struct {
	Waited  time.Duration
	Cause   error    // why the waiting ended early; nil if its time was over
	Waiting []string // what is missing
	Causes  []string // why it is missing, as far as that was found
}

func (e *NotReadyError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%v after %s", ErrNotReady, e.Waited.Round(time.Second))
	if e.Cause != nil {
		fmt.Fprintf(&b, ", when the waiting ended (%s)", installer.Tell(e.Cause))
	}
	for i, l := range e.Waiting {
		if i == maxWaiting {
			fmt.Fprintf(&b, "\n  and %d more", len(e.Waiting)-i)
			break
		}
		fmt.Fprintf(&b, "\n  %s", l)
	}
	for _, c := range e.Causes {
		fmt.Fprintf(&b, "\n  cause: %s", c)
	}
	return b.String()
}

// Unwrap tells that it is [ErrNotReady], and why the waiting ended.
func (e *NotReadyError) Unwrap() []error {
	if e.Cause == nil {
		return []error{ErrNotReady}
	}
	return []error{ErrNotReady, e.Cause}
}

// maxWaiting is how many lines are told of what a cluster lacks.
const maxWaiting = 20
