package steps

import (
	"context"
	"fmt"

	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/care"
	"github.com/sealbuild/sealbuild/installer/fleet"
)

// verify waits until every node is Ready and the pods of kube-system run, and ends the unit that served the virtual address
// for joining.
func (r *Run) verify(ctx context.Context) (installer.Result, error) {
	uncordoned, err := r.nodes.Uncordon(ctx)
	if err != nil {
		return installer.Result{}, err
	}
	if err := r.health.WaitReady(ctx); err != nil {
		return installer.Result{}, err
	}
	vip, _, err := r.VirtualServer()
	if err != nil {
		return installer.Result{}, err
	}
	err = r.Each(ctx, r.Workers(), func(ctx context.Context, t *fleet.Target) error {
		if err := t.Agent.CareStop(ctx, care.Unit); err != nil {
			return err
		}
		_, err := r.Exec(ctx, t, "verify", t.Stub, "care", "--check", "--vs", vip.String())
		return err
	})
	if err != nil {
		return installer.Result{}, fmt.Errorf("end the keeper that was used for joining: %w", err)
	}
	return installer.Result{Changes: uncordoned, Note: fmt.Sprintf("%d nodes Ready", len(r.Targets))}, nil
}
