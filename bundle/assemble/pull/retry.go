package pull

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"time"

	"github.com/containers/common/pkg/retry"

	"github.com/sealbuild/sealbuild/bundle/assemble/store"
	"github.com/sealbuild/sealbuild/ground/wait"
)

// maxBusy bounds how long a registry that limits its clients is waited for, in all, for one thing.
const maxBusy = 15 * time.Minute

// tries counts how often one thing was tried.
type tries struct {
	max    int
	failed int
	busy   time.Duration
}

// retry runs fn until it succeeds, fails for good, or has had its attempts.
func (g *gatherer) retry(ctx context.Context, what string, attempts int, fn func() error) error {
	t := tries{max: attempts}
	for {
		err := fn()
		if err == nil {
			return nil
		}
		if err := g.again(ctx, &t, what, err); err != nil {
			return err
		}
	}
}

// again waits until something that failed may be tried once more, or returns
// why it may not. Being asked to wait is no failure. Meanwhile others work.
func (g *gatherer) again(ctx context.Context, t *tries, what string, err error) error {
	if ctx.Err() != nil {
		return err
	}
	pause := g.options.Backoff << t.failed
	if busy := new(BusyError); errors.As(err, &busy) && busy.Wait > 0 {
		if t.busy += busy.Wait; t.busy > maxBusy {
			return fmt.Errorf("%w: that is longer than %v in all", err, maxBusy)
		}
		pause = busy.Wait
	} else if t.failed++; t.failed >= t.max || !transient(err) {
		return err
	}
	if told := new(BusyError); !errors.As(err, &told) || !told.known {
		g.options.Progress.Note("trying again: " + what + ": " + err.Error())
	}
	pause += rand.N(pause/4 + 1) // those that failed together do not come back together
	g.queue.aside(func() { _ = wait.For(ctx, pause) })
	return ctx.Err()
}

// transient tells whether trying again may help.
func transient(err error) bool {
	if m := new(mirrorsError); errors.As(err, &m) {
		err = m.registry // it has the last word
	}
	var (
		wrong  *store.DigestError
		size   *store.SizeError
		busy   *BusyError
		status *StatusError
	)
	if errors.As(err, &status) {
		return status.Expired || status.Status >= 500 && status.Status != http.StatusNotImplemented ||
			status.Status == http.StatusRequestTimeout || status.Status == http.StatusRequestedRangeNotSatisfiable
	}
	// Our own request was not cancelled, or we would not be here: another one was, whose login this one waited for.
	return errors.Is(err, context.Canceled) || errors.Is(err, errIdle) || errors.Is(err, io.ErrUnexpectedEOF) || errors.As(err, &busy) ||
		errors.As(err, &wrong) || errors.As(err, &size) || retry.IsErrorRetryable(err)
}
