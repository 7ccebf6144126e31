package steps

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/sealbuild/sealbuild/installer"
)

// waiting is what a cluster still waits for.
type waiting struct {
	lines    []string   // in words, one for each thing
	sick     []podState // pods of the cluster itself that are not ready; the lines tell of them
	apps     []string   // applications that are not ready: the cluster does not wait for them
	pressure []string   // hosts short of something, though Ready
	nodes    []nodeState
}

// unready lists what the cluster waits for: nodes that are not Ready (or not there), static pods of its hosts, and
// workloads of any namespace that the cluster itself needs. Pods count through their owners only.
func (r *Run) unready(ctx context.Context) (waiting, error) {
	var w waiting
	var err error
	if w.nodes, err = r.askNodes(ctx); err != nil {
		return w, err
	}
	w.lines = r.nodesWaiting(w.nodes)
	for _, n := range w.nodes {
		if len(n.pressure) > 0 && !r.isForeign(n.name) {
			w.pressure = append(w.pressure, fmt.Sprintf("node %s has %s", n.title(), strings.Join(n.pressure, ", ")))
		}
	}
	silent := map[string]bool{} // nothing is known of what runs there, and the node is told of itself
	for _, n := range w.nodes {
		silent[n.name] = n.ready == "Unknown"
	}
	skip := func(node string) bool { return node != "" && (r.isForeign(node) || silent[node]) }
	static, err := r.askStaticPods(ctx)
	if err != nil {
		return w, err
	}
	missing, sick := r.missingPods(static, skip)
	w.lines, w.sick = append(w.lines, missing...), append(w.sick, sick...)
	all, err := r.askWorkloads(ctx)
	if err != nil {
		return w, err
	}
	for _, load := range all {
		switch {
		case load.well():
		case !load.vital:
			w.apps = append(w.apps, fmt.Sprintf("%s: %d of %d pods are ready", load.title(), load.ready, load.desired))
		default:
			line, sick, err := r.lacking(ctx, load, skip)
			if err != nil {
				return w, err
			}
			w.lines, w.sick = append(w.lines, line...), append(w.sick, sick...)
		}
	}
	for _, p := range w.sick {
		on := ""
		if p.node != "" {
			on = " on " + p.node
		}
		w.lines = append(w.lines, fmt.Sprintf("pod %s%s is not ready: %s", p.title(), on, p.why()))
	}
	return w, nil
}

// lacking finds the pods that a workload lacks. One on a host that is skipped is nothing to wait for.
func (r *Run) lacking(ctx context.Context, load workload, skip func(node string) bool) (lines []string, sick []podState, err error) {
	short := fmt.Sprintf("%s: %d of %d pods are ready", load.title(), load.ready, load.desired)
	if load.unseen {
		return []string{load.title() + " has not been looked at by its controller yet"}, nil, nil
	}
	if len(load.selector) == 0 {
		return []string{short}, nil, nil
	}
	pods, err := r.askPods(ctx, "--namespace", load.namespace, "--selector", load.labels())
	if err != nil {
		return nil, nil, err
	}
	missing := load.desired
	for _, p := range pods {
		switch {
		case p.remains():
		case p.ready, skip(p.node):
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

// isForeign tells whether a node is none of this run's hosts: a master that lost its power, say, and was left out of the
// command for that reason. What ran there is nothing to wait for.
func (r *Run) isForeign(node string) bool {
	if node == "" {
		return false
	}
	for _, t := range r.Targets {
		if t.nodeName() == node {
			return false
		}
	}
	return true
}

// ErrNotReady is returned when the cluster did not come up in time.
var ErrNotReady = errors.New("the cluster is not ready")

// NotReadyError is what a cluster lacked when it was not waited for any longer.
type NotReadyError struct {
	Waited  time.Duration
	Cause   error    // why the waiting ended before its time; nil if it was the time
	Waiting []string // what is missing
	Causes  []string // what holds it up, as far as it was found
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

// maxWaiting bounds what is told of a cluster that lacks much.
const maxWaiting = 20

// How often a cluster that is waited for is asked, and told of.
const (
	readyPoll  = 500 * time.Millisecond
	tellAfter  = 30 * time.Second
	finalCause = 10 * time.Second // for finding the cause when the time is over
)

// waitReady polls until nothing is unready or the timeout passes. When it gives up it says what holds the cluster up.
func (r *Run) waitReady(outer context.Context) error {
	began := time.Now()
	ctx, cancel := context.WithTimeout(outer, r.Timeout)
	defer cancel()
	var last waiting
	var causes []string
	told := began
	for {
		found, err := r.unready(ctx)
		switch {
		case err == nil && len(found.lines) == 0:
			r.warnOfPressure(found)
			return nil
		case err == nil:
			last = found
		case ctx.Err() == nil || len(last.lines) == 0:
			last = waiting{lines: []string{"the API does not answer: " + installer.Tell(err)}}
		}
		if len(last.lines) > 0 && time.Since(told) >= tellAfter && ctx.Err() == nil {
			told = time.Now()
			causes = r.causes(ctx, last)
			r.Report.Infof("still waiting after %s: %s", time.Since(began).Round(time.Second), firstOf(append(causes, last.lines...)))
		}
		select {
		case <-ctx.Done():
			e := &NotReadyError{Waited: time.Since(began), Waiting: last.lines, Causes: causes}
			if outer.Err() != nil {
				e.Cause = context.Cause(outer)
				return e
			}
			fctx, done := context.WithTimeout(context.WithoutCancel(ctx), finalCause)
			defer done()
			if c := r.causes(fctx, last); len(c) > 0 {
				e.Causes = c
			}
			return e
		case <-time.After(readyPoll):
		}
	}
}

func (r *Run) warnOfPressure(w waiting) {
	for _, p := range w.pressure {
		r.Report.Warnf("%s: kubelet evicts pods there until that is mended", p)
	}
}

func firstOf(lines []string) string {
	if len(lines) > 1 {
		return fmt.Sprintf("%s (and %d more)", lines[0], len(lines)-1)
	}
	return strings.Join(lines, "")
}
