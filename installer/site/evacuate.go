package site

import (
	"context"
	"fmt"
	"time"

	"github.com/sealbuild/sealbuild/installer"
)

// Evacuate moves the pods of nodes away. It cordons all of them first, so that no pod moves from one to the next, and drains
// one after the other, so that PodDisruptionBudgets can be kept. The pods of one may take as long as patience; the error is a
// [kube.BlockedError] then, which names what is in the way.
//
// If it does not succeed, the nodes are as they were: those that somebody else had cordoned before stay cordoned. A run that is
// cut off leaves them cordoned, and whoever goes on calls Evacuate or [Site.Readmit] again; the end of an installation readmits
// what is left.
func (s *Site) Evacuate(ctx context.Context, patience time.Duration, nodes ...string) error {
	giveBack := func(cordoned []string, err error) error {
		for _, node := range cordoned {
			if ctx.Err() != nil {
				break
			}
			if back := s.Readmit(ctx, node); back != nil {
				s.Report.Warnf("%s", installer.Tell(back))
			}
		}
		return err
	}
	for i, node := range nodes {
		err := installer.Insist(ctx, s.APIPatience(), func(ctx context.Context) error { return s.Kube.Cordon(ctx, node) })
		if err != nil {
			return giveBack(nodes[:i+1], fmt.Errorf("cordon node %s: %w", node, err))
		}
	}
	for _, node := range nodes {
		if err := s.Kube.Drain(ctx, node, patience); err != nil {
			return giveBack(nodes, err)
		}
	}
	return nil
}

// Readmit lets a node get pods again that [Site.Evacuate] has cordoned. One that somebody else had cordoned before stays so.
func (s *Site) Readmit(ctx context.Context, node string) error {
	err := installer.Insist(ctx, s.APIPatience(), func(ctx context.Context) error { return s.Kube.Uncordon(ctx, node) })
	if err != nil {
		return fmt.Errorf("node %s stays cordoned: %w", node, err)
	}
	return nil
}
