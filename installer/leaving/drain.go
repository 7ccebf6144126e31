package leaving

import (
	"context"
	"fmt"
	"time"

	"github.com/sealbuild/sealbuild/installer/fleet"
)

// Drain moves the pods of the hosts that leave and answer away. Those of one host may take as long as patience. If it does not
// succeed, all hosts stay as they were. It returns how many it drained.
func (l *Leaving) Drain(ctx context.Context, patience time.Duration) (int, error) {
	var nodes []string
	var drained []*fleet.Target
	for _, t := range l.Live() {
		if node, there := l.NodeOf(t); there {
			nodes, drained = append(nodes, node.Name), append(drained, t)
		}
	}
	if err := l.Evacuate(ctx, patience, nodes...); err != nil {
		return 0, fmt.Errorf("%w\n  The hosts stay in the cluster, and pods may run there again. Mend what holds the pods, or give more time with --drain-timeout", err)
	}
	for _, t := range drained {
		l.Changed(t, 1)
	}
	return len(nodes), nil
}
