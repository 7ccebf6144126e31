package fleet

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/agent"
)

// asked is a context that tells each time when somebody asks it for its values, as those do who ask for its cause.
type asked struct {
	context.Context
	asks chan struct{}
}

func (a asked) Value(key any) any {
	select {
	case a.asks <- struct{}{}:
	default:
	}
	return a.Context.Value(key)
}

func TestAHostThatWaitsForItsTurnHearsTheEnd(t *testing.T) {
	inner, cancel := context.WithCancelCause(t.Context())
	ctx := asked{inner, make(chan struct{}, 1)}
	first, second := target("10.0.0.1", true, agent.Facts{}), target("10.0.0.2", false, agent.Facts{})
	begun, hangs, told := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	go func() {
		told <- Each(ctx, []*Target{first, second}, 1, func(context.Context, *Target) error {
			close(begun)
			<-hangs
			return nil
		})
	}()
	<-begun
	cancel(installer.ErrInterrupted)
	select {
	case <-ctx.asks: // by the other one, while the first hangs
	case <-time.After(10 * time.Second):
		t.Error("the host that waits for its turn does not hear the end")
	}
	close(hangs)
	if err := <-told; !errors.Is(err, installer.ErrInterrupted) {
		t.Error(err)
	}
}
