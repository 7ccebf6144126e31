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

// Until tries until it works, with a pause of every between two attempts, or until the context ends. The error is then that of the
// last attempt that the context's end did not break off, or of the first attempt if it broke off all.
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

// Every yields the time each d, for the first time after d, until the context ends. A round that takes longer is followed by the
// next at once; further ticks that it missed are dropped.
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
