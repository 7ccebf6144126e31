// Package wait is how time passes in this program: every wait ends with its context, at the latest.
package wait

import (
	"context"
	"iter"
	"time"
)

// For lets d pass. The error says why the context ended before.
func For(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Until tries until it works, with a pause of every between two attempts, or until the context ends. The error is then the
// last one that says something: an attempt which the context's end broke off does not, unless it was the first.
func Until(ctx context.Context, every time.Duration, try func(context.Context) error) error {
	var last error
	for {
		err := try(ctx)
		if err == nil {
			return nil
		}
		if last == nil || ctx.Err() == nil {
			last = err
		}
		if For(ctx, every) != nil {
			return last
		}
	}
}

// Every comes round each d until the context ends, for the first time after d. A round that takes longer than that is
// followed by the next at once; what it missed besides is not made up for.
func Every(ctx context.Context, d time.Duration) iter.Seq[time.Time] {
	return func(yield func(time.Time) bool) {
		tick := time.NewTicker(d)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case at := <-tick.C:
				if !yield(at) {
					return
				}
			}
		}
	}
}
