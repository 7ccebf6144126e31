package steps

import (
	"context"
	"fmt"

	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/preflight"
)

// settingsInForce brings settings in force that are otherwise than they are wanted, if the verb asks for that.
func (r *Run) settingsInForce(ctx context.Context) (installer.Result, error) {
	changes, err := r.settings.Roll(ctx, "settings")
	return installer.Result{Changes: changes}, err
}

// compareSettings finds differences of settings for which the run is refused, and tells what somebody has changed by hand. known
// are the problems that are known already: where the cluster cannot be relied on, it is not asked.
func compareSettings(ctx context.Context, r *Run, known []preflight.Problem) []preflight.Problem {
	serious, _ := preflight.Settle(known, r.IgnoreChecks)
	if len(serious) > 0 {
		return nil
	}
	if r.onlyAdds() {
		return r.settings.Others()
	}
	st, err := r.settings.Look(ctx)
	switch {
	case err != nil && ctx.Err() == nil && !r.Options.Settings.Apply:
		r.Report.Warnf("the settings in force were not compared with those that are wanted: %s", installer.Tell(err))
		return nil
	case err != nil:
		return preflight.From(fmt.Errorf("compare the settings in force with those that are wanted: %w", err), "settings")
	case st == nil:
		return nil // there is no cluster yet
	}
	r.settings.Tell(st)
	bare, err := r.settings.Bare(ctx, st)
	if err != nil {
		return preflight.From(fmt.Errorf("ask what runs on the hosts that get new settings: %w", err), "settings")
	}
	return append(r.settings.Refusals(st), bare...)
}
