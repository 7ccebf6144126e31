package compat

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/sealbuild/sealbuild/ground/count"
	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/kube"
	"github.com/sealbuild/sealbuild/installer/preflight"
)

// jobFinalizer is held by Kubernetes itself on pods of Jobs, and goes by itself.
const jobFinalizer = "batch.kubernetes.io/job-tracking"

// drains finds what keeps pods on hosts that are drained, and what is lost with pods that go. A cluster of one host is not drained.
func (c Compat) drains(ctx context.Context, nodes []kube.Node) ([]preflight.Problem, error) {
	if len(c.Cluster.Hosts) < 2 {
		return nil, nil
	}
	var names []string
	for _, n := range nodes {
		names = append(names, n.Name)
	}
	pods, err := c.Kube.Residents(ctx, names)
	if err != nil {
		return nil, err
	}
	budgets, err := c.Kube.TightBudgets(ctx)
	if err != nil {
		return nil, err
	}
	held, err := c.Kube.Held(ctx)
	if err != nil {
		return nil, err
	}
	return drainProblems(nodes, pods, budgets, held), nil
}

func drainProblems(nodes []kube.Node, pods []kube.Resident, budgets []kube.Budget, held []kube.Seated) []preflight.Problem {
	var out []preflight.Problem
	add := func(warning bool, node, remedy, format string, args ...any) {
		ip := ""
		if node != "" {
			ip = addressOf(nodes, node)
		}
		out = append(out, preflight.Problem{Host: ip, Check: "drain", Message: fmt.Sprintf(format, args...), Remedy: remedy, Warning: warning})
	}
	moves := map[string]bool{}
	for _, p := range pods {
		moves[p.Title()] = true
	}
	for _, b := range budgets {
		var of []string
		for _, p := range b.Pods {
			if moves[p.Title()] {
				of = append(of, fmt.Sprintf("%s on %s", p.Name, p.Node))
			}
		}
		if len(of) > 0 {
			add(false, "", "mend the pods that are not healthy, run more of them, or loosen the budget until the upgrade is over; with --ignore-check drain each drain waits until its deadline",
				"PodDisruptionBudget %s allows no disruption: %d of its %s %s healthy and %d must be, so these cannot leave their hosts: %s",
				b.Title(), b.Healthy, count.Of(b.Covered, "pod"), count.Word(b.Covered, "is", "are"), b.Needed, installer.NameSome(of))
		}
	}
	for _, p := range pods {
		if p.Owner == "" {
			add(false, p.Node, "delete the pod, or give it a controller; --ignore-check drain lets it go", "the host is drained, and nothing makes pod %s anew elsewhere", p.Title())
		}
	}
	for _, p := range held {
		own := slices.DeleteFunc(slices.Clone(p.Finalizers), func(f string) bool { return f == jobFinalizer })
		switch {
		case len(own) == 0 || p.Node == "":
		case p.Going:
			add(false, p.Node, "find out why what set them does not take them away, or take them away: kubectl edit pod", "pod %s is deleted and held by its finalizers %s: no drain of its host ends",
				p.Title(), strings.Join(own, ", "))
		default:
			add(true, p.Node, "see that what set them runs: it has to take them away once the pod is deleted", "pod %s has the finalizers %s: a drain of its host waits for them", p.Title(), strings.Join(own, ", "))
		}
	}
	for _, p := range pods {
		var empty []string
		for _, local := range p.Local {
			if name, is := strings.CutPrefix(local, "emptyDir "); is {
				empty = append(empty, name)
			}
		}
		if p.Owner != "" && len(empty) > 0 {
			add(true, p.Node, "nothing to do if it can be made anew", "pod %s loses what is in its emptyDir %s when the host is drained", p.Title(), strings.Join(empty, ", "))
		}
	}
	return out
}
