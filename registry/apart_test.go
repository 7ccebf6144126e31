package registry

import (
	"context"
	"errors"
	"io"
	"testing"
	"time"
)

func TestCollectAndSessionsKeepApart(t *testing.T) {
	src, c := samples(t)
	store := OpenStore(t.TempDir())
	mustSync(t, c, src, store, PushOptions{})

	sr, sw := io.Pipe()
	received := make(chan error, 1)
	go func() {
		_, err := Receive(t.Context(), store, sr, io.Discard, ReceiveOptions{})
		received <- err
	}()
	w := newFrameWriter(sw)
	if err := w.write(frameHello, hello{}.encode()); err != nil {
		t.Fatal(err)
	}
	if err := w.w.Flush(); err != nil {
		t.Fatal(err)
	}
	if err := w.write(frameEnd, nil); err != nil {
		t.Fatal(err)
	}
	for { // until the session holds its lock
		_, err := store.Collect(t.Context(), c, CollectOptions{})
		if errors.Is(err, ErrBusy) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := w.w.Flush(); err != nil {
		t.Fatal(err)
	}
	if err := <-received; err != nil {
		t.Fatal(err)
	}

	lock, err := store.lock(t.Context(), true)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if _, err := store.lock(ctx, false); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a session beside a collection: %v", err)
	}
	lock.Close()
	mustSync(t, c, src, store, PushOptions{})
}
