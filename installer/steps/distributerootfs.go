package steps

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync/atomic"

	"github.com/dustin/go-humanize"

	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/agent"
	"github.com/sealbuild/sealbuild/installer/fleet"
	"github.com/sealbuild/sealbuild/installer/journal"
	"github.com/sealbuild/sealbuild/installer/payload"
)

// distributeRootfs streams the layers of the rootfs and patches to every host
// and those of the applications to master0, and lays the rendered files over
// them. Layers travel as they are compressed in the bundle.
func (r *Run) distributeRootfs(ctx context.Context) (installer.Result, error) {
	var changes, sent atomic.Int64
	if err := r.begin(ctx); err != nil {
		return installer.Result{}, err
	}
	if err := r.recordChecks(ctx); err != nil {
		return installer.Result{}, err
	}
	switched, err := r.UseStubs(ctx)
	if err != nil {
		return installer.Result{}, fmt.Errorf("put this run's installer into use: %w", err)
	}
	changes.Add(int64(switched))
	err = r.Each(ctx, r.Targets, func(ctx context.Context, t *fleet.Target) error {
		for _, dir := range r.share(t).Dirs() {
			changed, n, err := r.fillDir(ctx, t, dir)
			if err != nil {
				return fmt.Errorf("unpack images into %s: %w", dir, err)
			}
			changes.Add(int64(changed))
			sent.Add(n)
		}
		changed, err := r.writeOverlays(ctx, t)
		changes.Add(int64(changed))
		return err
	})
	return installer.Result{Changes: int(changes.Load()), Note: humanize.IBytes(uint64(sent.Load())) + " sent"}, err
}

// fillDir brings a host the layers of a directory that it lacks. What speaks of the files there is taken back before they
// change.
func (r *Run) fillDir(ctx context.Context, t *fleet.Target, dir string) (changes int, sent int64, err error) {
	layers, executable := r.share(t).Layers(dir)
	want := agent.Layers{Dir: dir, Exclude: []string{"registry"}, Executable: executable}
	for _, l := range layers {
		want.Digests = append(want.Digests, l.DiffID)
	}
	if len(layers) == 0 {
		return 0, 0, nil
	}
	place, err := t.Agent.PrepareLayers(ctx, want)
	if err != nil {
		return 0, 0, err
	}
	if !place.Beside && place.Have < len(layers) {
		if err := t.Journal.Drop(ctx, r.marksUpon(t, dir, false)...); err != nil {
			return 0, 0, err
		}
	}
	for n := place.Have; n < len(layers); n++ {
		size, err := r.sendLayer(ctx, t, want, layers, n, place.Beside)
		sent += size
		if err != nil {
			return changes, sent, err
		}
		changes++
	}
	if place.Beside {
		if err := t.Journal.Drop(ctx, r.marksUpon(t, dir, true)...); err != nil {
			return changes, sent, err
		}
		if err := t.Agent.SwitchLayers(ctx, want); err != nil {
			return changes, sent, err
		}
		changes++
	}
	if dir != r.rootfsDir() {
		return changes, sent, nil
	}
	_, err = t.Journal.Under(ctx, journal.Images, r.share(t).Description(), func(*journal.Work) error { return nil })
	return changes, sent, err
}

// begin notes on every host that this cluster is being made there, before
// anything else is changed: what is found there later is ours to finish, or to
// take away. The Clusterfile says from now on that work is going on.
func (r *Run) begin(ctx context.Context) error {
	var fresh []*fleet.Target
	for _, t := range r.Targets {
		if !t.Journal.Has(journal.Begun) {
			fresh = append(fresh, t)
		}
	}
	if err := r.recordProgress(); err != nil {
		return err
	}
	// What a reset that was cut off has cleaned is not clean any more, and what a run that was killed has checked from goes.
	err := r.Each(ctx, r.Targets, func(ctx context.Context, t *fleet.Target) error {
		return errors.Join(t.Journal.Drop(ctx, journal.Cleaned), t.Agent.Remove(ctx, []string{r.dir("check")}))
	})
	if err != nil {
		return err
	}
	return r.Each(ctx, fresh, func(ctx context.Context, t *fleet.Target) error {
		return t.Journal.Set(ctx, journal.Begun, begunWith(r.Cluster.Name, t.Facts.KubeletDir))
	})
}

// sendLayer unpacks one layer on a host, upon those before it, and returns how many bytes were sent.
func (r *Run) sendLayer(ctx context.Context, t *fleet.Target, want agent.Layers, layers []payload.Layer, n int, beside bool) (sent int64, err error) {
	stream, format, err := r.Payload.Open(layers[n])
	if err != nil {
		return 0, err
	}
	counted := &countingReader{r: stream}
	if c, ok := stream.(io.Closer); ok {
		defer func() { err = errors.Join(err, c.Close()) }()
	}
	err = t.Agent.Unpack(ctx, agent.UnpackRequest{
		Dir: want.Dir, Beside: beside, Digest: want.Digests[n], Format: format, Upon: want.Digests[:n], Exclude: want.Exclude, Executable: want.Executable,
	}, counted)
	return counted.n, err
}

type countingReader struct {
	r io.Reader
	n int64
}

func (c *countingReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}
