package steps

import (
	"context"
	"fmt"

	"github.com/sealbuild/sealbuild/ground/count"
	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/agent"
)

// verify waits until every node is Ready and the pods of kube-system are, that of care on each worker with them.
func (r *Run) verify(ctx context.Context) (installer.Result, error) {
	uncordoned, err := r.nodes.Uncordon(ctx)
	res := installer.Result{Changes: uncordoned}
	if err != nil {
		return res, err
	}
	if err := r.health.WaitReady(ctx); err != nil {
		return res, err
	}
	moved, err := r.spread(ctx)
	res.Changes += moved
	if err != nil {
		return res, err
	}
	if r.brought {
		if err := r.registry.NoteBundle(ctx, agent.BundleInUse); err != nil {
			return res, err
		}
	}
	return installer.Result{Changes: res.Changes, Note: fmt.Sprintf("%s Ready", count.Of(len(r.Targets), "node"))}, nil
}

// spread moves pods apart of which all copies lie on one node, if this run or one that was cut off before has joined a host:
// they ran where there was room then. It tells what it moved and what it left, and returns how many it moved. The cluster
// works either way, so what goes wrong is a warning.
func (r *Run) spread(ctx context.Context) (int, error) {
	if !r.mayHaveJoined || len(r.Targets) < 2 && len(r.Cluster.Away()) == 0 {
		return 0, nil
	}
	found, err := r.Kube.Spread(ctx, r.Timeout)
	for _, line := range found.Moved {
		r.Report.Infof("moved %s: all copies lay there", line)
	}
	for _, line := range found.Left {
		r.Report.Warnf("%s", line)
	}
	if ctx.Err() != nil {
		return len(found.Moved), context.Cause(ctx)
	}
	if err != nil {
		r.Report.Warnf("pods may still lie together on one node: %v", err)
	}
	return len(found.Moved), nil
}
