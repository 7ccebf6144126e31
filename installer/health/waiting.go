package health

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/sealbuild/sealbuild/ground/wait"
	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/kube"
)

// How often the cluster is asked while it is waited for, and how often the wait is reported.
const (
	readyPoll   = 500 * time.Millisecond
	reportEvery = 30 * time.Second
	finalCause  = 10 * time.Second // to find the cause once the time is over
)

// WaitReady waits until every node is Ready and the pods of kube-system run. If that is not so within the run's timeout,
// the error is a *kube.NotReadyError with the causes.
func (h *Health) WaitReady(run context.Context) error {
	began := time.Now()
	ctx, cancel := context.WithTimeout(run, h.Timeout)
	defer cancel()
	var last kube.Lacks
	var causes []string
	reported := began
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
		if len(last.Lines) > 0 && time.Since(reported) >= reportEvery && ctx.Err() == nil {
			reported = time.Now()
			found := h.Causes(ctx, last)
			if ctx.Err() != nil {
				continue // the end of the wait broke the answer off: the causes before say more
			}
			causes = found
			h.Report.Infof("still waiting after %s: %s", time.Since(began).Round(time.Second), firstOf(append(causes, last.Lines...)))
		}
		if wait.For(ctx, readyPoll) == nil {
			continue
		}
		e := &kube.NotReadyError{Waited: time.Since(began), Waiting: last.Lines, Causes: causes, Cause: context.Cause(run)}
		if e.Cause != nil {
			return e
		}
		if c := h.CausesWithin(context.WithoutCancel(ctx), finalCause, last); len(c) > 0 {
			e.Causes = c
		}
		return e
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
