package storesync

import (
	"context"
	"errors"
	"io"
	"testing"

	"github.com/sealbuild/sealbuild/registry/catalog"
	"github.com/sealbuild/sealbuild/registry/disk"
)

// meter counts the bytes of one direction and fails after a number of them.
type meter struct {
	w     io.Writer
	n     int64
	limit int64 // -1 for none
	cut   func()
}

var errCut = errors.New("the line was cut")

// outcome is what both ends of a session say.
type outcome struct {
	sent, received   Receipt
	sendErr, recvErr error
	wire             int64 // bytes both ways
}

// sync runs a session over two pipes. cut is the number of bytes after which the line from the sender breaks, -1 for never.
func syncStores(c catalog.Catalog, src catalog.Source, to *disk.Store, o PushOptions, cut int64) (out outcome) {
	sr, sw := io.Pipe()
	rr, rw := io.Pipe()
	down := &meter{w: sw, limit: cut, cut: func() {
		sw.CloseWithError(io.ErrUnexpectedEOF)
		rr.CloseWithError(errCut)
	}}
	up := &meter{w: rw, limit: -1}
	done := make(chan struct{})
	go func() {
		defer close(done)
		out.received, out.recvErr = Receive(context.Background(), to, sr, up, ReceiveOptions{})
		sr.CloseWithError(errCut)
		rw.CloseWithError(io.ErrUnexpectedEOF)
	}()
	out.sent, out.sendErr = Push(context.Background(), down, rr, c, src, o)
	sw.CloseWithError(io.ErrUnexpectedEOF)
	<-done
	out.wire = down.n + up.n
	return out
}

func mustSync(t testing.TB, c catalog.Catalog, src catalog.Source, to *disk.Store, o PushOptions) outcome {
	t.Helper()
	out := syncStores(c, src, to, o, -1)
	if out.sendErr != nil || out.recvErr != nil {
		t.Fatalf("sync: send %v, receive %v", out.sendErr, out.recvErr)
	}
	return out
}

func (m *meter) Write(p []byte) (int, error) {
	if m.limit >= 0 && m.n+int64(len(p)) > m.limit {
		n, _ := m.w.Write(p[:m.limit-m.n])
		m.n += int64(n)
		m.cut()
		return n, errCut
	}
	n, err := m.w.Write(p)
	m.n += int64(n)
	return n, err
}
