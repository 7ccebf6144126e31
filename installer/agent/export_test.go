package agent

import (
	"context"
	"time"
)

// LockWhile is Lock with a request of the test's own, and signs of life as seldom as it says.
func (a *Agent) LockWhile(ctx context.Context, q LockRequest, every time.Duration) (*Lock, error) {
	return a.lockWithin(ctx, ctx, q, every)
}
