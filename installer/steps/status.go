package steps

import (
	"context"
	"errors"
	"time"

	"github.com/sealbuild/sealbuild/ground/wait"
	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/status"
)

// AskStatus asks every host, and gives the answer to show. A host that is not reached is part of the answer, not an error.
// It takes no lock and changes nothing; that an installer is at work is part of the answer, too. With every it asks again so long
// after each answer, until the operator ends it, which is no failure. One answer takes no longer than within; 0 means
// [status.Limit].
func AskStatus(within, every time.Duration, show func(status.Status) error) []Step {
	return []Step{{Name: "status", Title: "ask every host", Run: func(r *Run, ctx context.Context) (installer.Result, error) {
		room := status.Room{Site: r.Site, State: r.State, Within: within}
		for {
			s, err := room.Ask(ctx)
			if err == nil {
				err = show(s)
			}
			if err == nil && every > 0 {
				err = wait.For(ctx, every)
			}
			if every > 0 && errors.Is(err, installer.ErrInterrupted) {
				return installer.Result{}, nil
			}
			if err != nil || every == 0 {
				return installer.Result{}, err
			}
		}
	}}}
}
