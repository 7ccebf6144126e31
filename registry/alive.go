package registry

import (
	"context"
	"io"
	"sync/atomic"
	"time"

	"github.com/sealbuild/sealbuild/ground/wait"
)

// signEvery is how often a side that has nothing to say says that it lives.
const signEvery = 10 * time.Second

// giveSigns sends signs of life while alive says so, until the function it returns is called.
func giveSigns(ctx context.Context, w *frameWriter, alive func() bool) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range wait.Every(ctx, signEvery) {
			if alive() && (w.write(frameAlive, nil) != nil || w.flush() != nil) {
				return // nobody listens
			}
		}
	}()
	return func() {
		cancel()
		select {
		case <-done:
		case <-time.After(time.Second): // nobody reads there
		}
	}
}

// waitedFor is a stream whose other end is waited for now and then.
type waitedFor struct {
	r     io.Reader
	waits atomic.Bool
}

func (w *waitedFor) Read(p []byte) (int, error) {
	w.waits.Store(true)
	defer w.waits.Store(false)
	return w.r.Read(p)
}
