package agent

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sealbuild/sealbuild/installer/host"
)

// deaf is a host that takes a command, never answers, and takes its time to end it.
type deaf struct{}

func (deaf) Name() string { return "10.0.0.9" }
func (deaf) Close() error { return nil }
func (deaf) Run(ctx context.Context, c host.Cmd) error {
	<-ctx.Done()
	time.Sleep(6 * time.Second)
	return context.Cause(ctx)
}
func (deaf) Put(context.Context, string, fs.FileMode, io.Reader) error { return nil }

func TestWaitingForALockEndsAtOnceWhateverTheHostDoes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := NewAgent(deaf{}, "/stub")
		stopped := errors.New("stopped")
		asking, stop := context.WithCancelCause(t.Context())
		time.AfterFunc(time.Minute, func() { stop(stopped) })
		start := time.Now()
		_, err := a.LockAsking(asking, t.Context(), "/run/lock", "me")
		if took := time.Since(start); took != time.Minute || !errors.Is(err, stopped) {
			t.Errorf("after %s: %v", took, err)
		}
		if text := err.Error(); text != "10.0.0.9: lock: stopped" {
			t.Errorf("error: %s", text)
		}
		time.Sleep(10 * time.Second) // the host ends it behind our back
	})
}
