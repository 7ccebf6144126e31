package steps

import (
	"context"
	"fmt"

	"github.com/sealbuild/sealbuild/installer"
)

// verify waits until every node is Ready and the pods of kube-system are, that of care on each worker with them.
func (r *Run) verify(ctx context.Context) (installer.Result, error) {
	uncordoned, err := r.nodes.Uncordon(ctx)
	if err != nil {
		return installer.Result{}, err
	}
	if err := r.health.WaitReady(ctx); err != nil {
		return installer.Result{}, err
	}
	return installer.Result{Changes: uncordoned, Note: fmt.Sprintf("%d nodes Ready", len(r.Targets))}, nil
}
