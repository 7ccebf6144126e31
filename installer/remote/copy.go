package remote

import (
	"context"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/agent"
	"github.com/sealbuild/sealbuild/installer/fleet"
	"github.com/sealbuild/sealbuild/registry/storesync"
)

// Copied is how a copy to a host ended.
type Copied struct {
	Host    string  `json:"host"`
	Changed int     `json:"changed"`         // files, directories and links made or replaced
	Sent    int64   `json:"sent"`            // bytes of files that this machine sent there
	Passed  int64   `json:"passed"`          // bytes of files that other hosts sent there
	Error   string  `json:"error,omitempty"` // why the destination is not as it should be
	Seconds float64 `json:"seconds"`
}

// Copy makes a destination on hosts what a source is, and gives how that ended on each, in their order. What a host lacks leaves
// this machine once: hosts take from each other what they can, while it arrives. bring gives a host its agent; it is called for
// at most f.Jobs hosts at once. Hosts that are slow to be reached, or hang, are not waited for by the others.
func Copy(ctx context.Context, f *fleet.Fleet, bring bringing, s *Source, to string) []Copied {
	c := &copying{Source: s, request: agent.CopyRequest{To: to, Entries: s.Entries}, fanout: new(storesync.Fanout), report: f.Report}
	c.fanout.Expect(len(f.Targets))
	out := make([]Copied, len(f.Targets))
	slots := make(chan struct{}, max(1, f.Jobs))
	var all sync.WaitGroup
	for i, t := range f.Targets {
		all.Go(func() {
			start := time.Now()
			r := &out[i]
			r.Host = t.IP.String()
			if err := c.to(ctx, t, slots, bring, r); err != nil {
				r.Error = installer.TellAt(err, r.Host)
			}
			r.Seconds = time.Since(start).Seconds()
		})
	}
	all.Wait()
	return out
}

type bringing = func(context.Context, *fleet.Target) error

type copying struct {
	*Source
	request agent.CopyRequest
	fanout  *storesync.Fanout
	report  *installer.Reporter
}

func (c *copying) to(ctx context.Context, t *fleet.Target, slots chan struct{}, bring bringing, r *Copied) error {
	var comes atomic.Bool // to the fan-out
	defer func() {
		if !comes.Load() {
			c.fanout.Absent()
		}
	}()
	place, err := c.prepare(ctx, t, slots, bring)
	if err != nil {
		return err
	}
	if err := c.send(ctx, t, place, r, &comes); err != nil {
		return fmt.Errorf("%w; what has arrived is kept in %s, and the same command goes on from there", err, place.Store)
	}
	if err := t.Agent.Remove(ctx, []string{place.Store}); err != nil {
		return fmt.Errorf("the copy is complete, but %s is left: %w", place.Store, err)
	}
	return nil
}

func (c *copying) prepare(ctx context.Context, t *fleet.Target, slots chan struct{}, bring bringing) (agent.CopyPlace, error) {
	select {
	case slots <- struct{}{}:
		defer func() { <-slots }()
	case <-ctx.Done():
		return agent.CopyPlace{}, context.Cause(ctx)
	}
	if err := bring(ctx, t); err != nil {
		return agent.CopyPlace{}, err
	}
	return t.Agent.PrepareCopy(ctx, c.request)
}

// send brings the content into the store of a host, and has it put into its place as soon as it is all there.
func (c *copying) send(ctx context.Context, t *fleet.Target, place agent.CopyPlace, r *Copied, comes *atomic.Bool) error {
	if len(c.files) == 0 { // empty files, directories and links: the request holds them
		res, err := t.Agent.PlaceCopy(ctx, c.request)
		r.Changed = res.Changed
		return err
	}
	ended := make(chan Copied, 1) // a push that hangs is left behind
	work := c.report.Does(r.Host, "gets files", 0)
	err := t.Agent.FilesReceive(ctx, place.Store, func(w io.Writer, in io.Reader) error {
		comes.Store(true)
		var did Copied
		receipt, err := storesync.Push(ctx, w, in, c.blobs, c.Source, storesync.PushOptions{
			Fanout: c.fanout, Address: t.IP.String(), Left: work.Of, Progress: work.Did, Durable: func() error {
				res, err := t.Agent.PlaceCopy(ctx, c.request)
				did.Changed = res.Changed
				return err
			},
		})
		did.Sent, did.Passed = receipt.BytesSent, receipt.BytesPassed
		ended <- did
		return err
	})
	work.End(err)
	select {
	case did := <-ended:
		r.Changed, r.Sent, r.Passed = did.Changed, did.Sent, did.Passed
	default:
	}
	return err
}
