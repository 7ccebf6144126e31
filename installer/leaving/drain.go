package leaving

import (
	"context"
	"fmt"
	"time"

	"github.com/sealbuild/sealbuild/installer"
)

// Drain moves the pods of the hosts that leave and answer away, one host after the other, so that PodDisruptionBudgets can be
// kept. Those of one host may take as long as patience. If it does not succeed, all hosts stay as they were. It returns how
// many it drained.
func (l *Leaving) Drain(ctx context.Context, patience time.Duration) (int, error) {
	var nodes []string
	for _, t := range l.Live() {
		if node, there := l.NodeOf(t); there {
			nodes = append(nodes, node.Name)
		}
	}
	giveBack := func(cordoned []string) {
		if ctx.Err() != nil {
			return // the next run finds by their annotation what this one has cordoned
		}
		for _, node := range cordoned {
			if err := l.Kube.Uncordon(ctx, node); err != nil {
				l.Report.Warnf("node %s stays cordoned: %s", node, installer.Tell(err))
			}
		}
	}
	for i, node := range nodes { // all of them first, so that no pod moves from one to the next
		if err := l.Kube.Cordon(ctx, node); err != nil {
			giveBack(nodes[:i+1])
			return 0, fmt.Errorf("cordon node %s: %w", node, err)
		}
	}
	for _, node := range nodes {
		err := l.Kube.Drain(ctx, node, patience)
		if err == nil {
			continue
		}
		giveBack(nodes)
		return 0, fmt.Errorf("%w\n  The hosts stay in the cluster, and pods may run there again. Mend what holds the pods, or give more time with --drain-timeout", err)
	}
	return len(nodes), nil
}
