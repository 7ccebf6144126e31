package health

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/kube"
)

// How often a cluster that is waited for is asked, and told of.
const (
	readyPoll  = 500 * time.Millisecond
	tellAfter  = 30 * time.Second
	finalCause = 10 * time.Second // for finding the cause when the time is over
)

// WaitReady polls until nothing is unready or the timeout passes. When it gives up it says what holds the cluster up.
func (h *Health) WaitReady(outer context.Context) error {
	began := time.Now()
	ctx, cancel := context.WithTimeout(outer, h.Timeout)
	defer cancel()
	var last kube.Lacks
	var causes []string
	told := began
	for {
		found, err := h.Lacks(ctx)
		switch {
		case err == nil && len(found.Lines) == 0:
			h.warnOfPressure(found)
			return nil
		case err == nil:
			last = found
		case ctx.Err() == nil || len(last.Lines) == 0:
			last = kube.Lacks{Lines: []string{"the API does not answer: " + installer.Tell(err)}}
		}
		if len(last.Lines) > 0 && time.Since(told) >= tellAfter && ctx.Err() == nil {
			told = time.Now()
			found := h.Causes(ctx, last)
			if ctx.Err() != nil {
				continue // an answer that the end of the waiting broke off tells less than the one before
			}
			causes = found
			h.Report.Infof("still waiting after %s: %s", time.Since(began).Round(time.Second), firstOf(append(causes, last.Lines...)))
		}
		select {
		case <-ctx.Done():
			e := &kube.NotReadyError{Waited: time.Since(began), Waiting: last.Lines, Causes: causes}
			if outer.Err() != nil {
				e.Cause = context.Cause(outer)
				return e
			}
			fctx, done := context.WithTimeout(context.WithoutCancel(ctx), finalCause)
			defer done()
			if c := h.Causes(fctx, last); len(c) > 0 {
				e.Causes = c
			}
			return e
		case <-time.After(readyPoll):
		}
	}
}

func (h *Health) warnOfPressure(w kube.Lacks) {
	for _, p := range w.Pressure {
		h.Report.Warnf("%s: kubelet evicts pods there until that is mended", p)
	}
}

func firstOf(lines []string) string {
	if len(lines) > 1 {
		return fmt.Sprintf("%s (and %d more)", lines[0], len(lines)-1)
	}
	return strings.Join(lines, "")
}
