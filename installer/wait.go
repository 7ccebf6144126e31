package installer

import (
	"context"
	"fmt"
	"time"
)

// Within bounds one thing that is done.
func Within(ctx context.Context, limit time.Duration, do func(context.Context) error) error {
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("no answer for %s", limit.Round(time.Second)))
	defer cancel()
	return do(ctx)
}

// Insist repeats an operation that may be repeated until it succeeds or the
// patience ends: right after a master joined, the API refuses now and then.
func Insist(ctx context.Context, patience time.Duration, try func(context.Context) error) error {
	wctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var err error
	for {
		now := try(wctx)
		if now == nil {
			return nil
		}
		if err == nil || wctx.Err() == nil {
			err = now // one that the end of the patience broke off says nothing
		}
		select {
		case <-wctx.Done():
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			return fmt.Errorf("still so after %s: %w", patience.Round(time.Second), err)
		case <-time.After(500 * time.Millisecond):
		}
	}
}
