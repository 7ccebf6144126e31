package installer

import (
	"context"
	"fmt"
	"time"

	"github.com/sealbuild/sealbuild/ground/wait"
)

// Within calls do with a context that ends after limit, with the cause that there was no answer for so long.
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
	err := wait.Until(wctx, 500*time.Millisecond, try)
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return context.Cause(ctx)
	}
	return fmt.Errorf("still so after %s: %w", patience.Round(time.Second), err)
}
