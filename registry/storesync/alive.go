package storesync

import (
	"context"
	"encoding/binary"
	"io"
	"sync/atomic"
	"time"

	"github.com/sealbuild/sealbuild/ground/wait"
)

// signEvery is how often a side that has nothing to say says that it lives.
const signEvery = 10 * time.Second

// giveSigns sends signs of life while alive says so, until the function it returns is called.
func giveSigns(ctx context.Context, w *frameWriter, alive func() bool) (stop func()) {
	return again(ctx, signEvery, func() error {
		if !alive() {
			return nil
		}
		return w.say(frameAlive, nil)
	})
}

// takenEvery is how often a receiver says how much it has taken from relays.
const takenEvery = time.Second

// tellTaken says how much has come from relays, until the function it returns is called.
func (rc *receiver) tellTaken(ctx context.Context) (stop func()) {
	return again(ctx, takenEvery, func() error {
		return rc.w.say(frameTaken, binary.AppendUvarint(nil, uint64(rc.fetched.Load())))
	})
}

// say writes a frame that the other end gets at once.
func (f *frameWriter) say(t frameType, payload []byte) error {
	if err := f.write(t, payload); err != nil {
		return err
	}
	return f.flush()
}

// again calls say again and again until it fails, since nobody listens, or the function it returns is called.
func again(ctx context.Context, every time.Duration, say func() error) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range wait.Every(ctx, every) {
			if say() != nil {
				return
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

// waitedFor is a stream that tells whether a Read waits for the other end just now.
type waitedFor struct {
	r     io.Reader
	waits atomic.Bool
}

func (w *waitedFor) Read(p []byte) (int, error) {
	w.waits.Store(true)
	defer w.waits.Store(false)
	return w.r.Read(p)
}
