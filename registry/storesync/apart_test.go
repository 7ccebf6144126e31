package storesync

import (
	"context"
	"errors"
	"io"
	"testing"
	"time"

	"github.com/sealbuild/sealbuild/registry/disk"
	"github.com/sealbuild/sealbuild/test/registrytest"
)

func TestCollectAndSessionsKeepApart(t *testing.T) {
	src, c := registrytest.Samples(t)
	store := disk.Open(t.TempDir())
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
		_, err := store.Collect(t.Context(), c, disk.CollectOptions{})
		if errors.Is(err, disk.ErrBusy) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Millisecond) // the session asks for it now and then
	}
	if err := w.w.Flush(); err != nil {
		t.Fatal(err)
	}
	if err := <-received; err != nil {
		t.Fatal(err)
	}

	lock, err := store.Lock(t.Context(), true)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if _, err := store.Lock(ctx, false); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a session beside a collection: %v", err)
	}
	lock.Close()
	mustSync(t, c, src, store, PushOptions{})
}
