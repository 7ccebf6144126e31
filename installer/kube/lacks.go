package kube

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/sealbuild/sealbuild/ground/count"
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

// Lacks asks for what the cluster waits for on the hosts, see [Seen.Lacks]. It asks for no pods but those of workloads that lack
// some: it is called again and again.
func (c *Client) Lacks(ctx context.Context, hosts []Host) (Lacks, error) {
	var s Seen
	group, asking := errgroup.WithContext(ctx) // programs that wait for the API most of the time
	group.Go(func() (err error) { s.Nodes, err = c.Nodes(asking); return err })
	group.Go(func() (err error) { s.static, err = c.staticPods(asking); return err })
	group.Go(func() (err error) { s.workloads, err = c.workloads(asking); return err })
	if err := group.Wait(); err != nil {
		return Lacks{}, err
	}
	return s.lacks(hosts, func(load workload) (int, []Pod, error) {
		pods, err := c.Pods(ctx, "--namespace", load.namespace, "--selector", load.labels())
		ready := 0
		for _, p := range pods {
			if p.ready && !p.remains() {
				ready++
			}
		}
		return ready, slices.DeleteFunc(pods, func(p Pod) bool { return p.ready || p.remains() }), err
	})
}

// Lacks lists what the cluster waits for: nodes that are not Ready (or not there), static pods of its hosts, and
// workloads of any namespace that the cluster itself needs. Pods count through their owners only.
func (s Seen) Lacks(hosts []Host) Lacks {
	w, _ := s.lacks(hosts, func(load workload) (int, []Pod, error) { // the only errors are those of this function
		return load.ready, slices.DeleteFunc(slices.Clone(s.Unready), func(p Pod) bool { return !load.selects(p) }), nil
	})
	return w
}

// lacks judges what was seen. unready gives how many pods of a workload are ready, and those that are not.
func (s Seen) lacks(hosts []Host, unready func(workload) (ready int, others []Pod, err error)) (Lacks, error) {
	w := Lacks{Nodes: s.Nodes, Lines: nodesWaiting(s.Nodes, hosts)}
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
	missing, sick := missingPods(s.static, hosts, skip)
	w.Lines, w.Sick = append(w.Lines, missing...), append(w.Sick, sick...)
	for _, load := range s.workloads {
		switch {
		case load.well():
		case !load.vital:
			w.Apps = append(w.Apps, fmt.Sprintf("%s: %d of %s %s ready", load.title(), load.ready, count.Of(load.desired, "pod"), count.Word(load.desired, "is", "are")))
		case load.unseen:
			w.Lines = append(w.Lines, load.title()+" has not been looked at by its controller yet")
		case len(load.selector) == 0:
			w.Lines = append(w.Lines, load.short())
		default:
			ready, others, err := unready(load)
			if err != nil {
				return w, err
			}
			sick := slices.DeleteFunc(slices.Clone(others), func(p Pod) bool { return skip(p.Node) })
			if len(sick) == 0 && load.desired > ready+len(others) {
				w.Lines = append(w.Lines, load.short())
			}
			w.Sick = append(w.Sick, sick...)
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
