package steps

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"path"
	"slices"
	"sync/atomic"

	"github.com/dustin/go-humanize"
	"github.com/opencontainers/go-digest"

	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/node"
)

// distributeRootfs streams the layers of the rootfs and patches to every host
// and those of the applications to master0, and lays the rendered files over
// them. Layers travel as they are compressed in the bundle.
func (r *Run) distributeRootfs(ctx context.Context) (installer.Result, error) {
	var changes, sent atomic.Int64
	if err := r.begin(ctx); err != nil {
		return installer.Result{}, err
	}
	err := r.each(ctx, r.Targets, func(ctx context.Context, t *Target) error {
		fresh := false
		before := map[string]digest.Digest{} // directory -> what was unpacked there
		for _, i := range r.imagesFor(t) {
			for _, l := range i.Layers {
				n, err := r.sendLayer(ctx, t, i, l, before[i.dir])
				if err != nil {
					return fmt.Errorf("unpack %s into %s: %w", i.Name, i.dir, err)
				}
				if n > 0 {
					fresh = true
					changes.Add(1)
					sent.Add(n)
				}
				before[i.dir] = digest.FromString(before[i.dir].String() + " " + l.DiffID.String())
			}
		}
		changed, err := r.writeOverlays(ctx, t, fresh)
		changes.Add(int64(changed))
		if err == nil && !t.marked(markImages, r.imagesMark(t)) {
			err = r.setMark(ctx, t, markImages, r.imagesMark(t))
		}
		return err
	})
	return installer.Result{Changes: int(changes.Load()), Note: humanize.IBytes(uint64(sent.Load())) + " sent"}, err
}

// begin notes on every host that this cluster is being made there, before
// anything else is changed: what is found there later is ours to finish, or to
// take away. The Clusterfile says from now on that work is going on.
func (r *Run) begin(ctx context.Context) error {
	var fresh []*Target
	for _, t := range r.Targets {
		if t.marks[markOurs] == "" {
			fresh = append(fresh, t)
		}
	}
	if err := r.recordProgress(); err != nil {
		return err
	}
	// What a reset that was cut off has cleaned is not clean any more.
	err := r.each(ctx, r.Targets, func(ctx context.Context, t *Target) error { return r.dropMarks(ctx, t, markCleaned) })
	if err != nil {
		return err
	}
	return r.each(ctx, fresh, func(ctx context.Context, t *Target) error {
		return r.setMark(ctx, t, markOurs, r.Cluster.Name)
	})
}

// sendLayer unpacks one layer on a host and returns how many bytes were sent:
// none when the host has it already, upon the same layers.
func (r *Run) sendLayer(ctx context.Context, t *Target, i *image, l installer.Layer, before digest.Digest) (n int64, err error) {
	stream, format, err := r.layerStream(l)
	if err != nil {
		return 0, err
	}
	counted := &countingReader{r: stream}
	if c, ok := stream.(io.Closer); ok {
		defer func() { err = errors.Join(err, c.Close()) }()
	}
	err = t.Agent.Unpack(ctx, node.UnpackRequest{Dir: i.dir, Digest: l.DiffID, Format: format, Exclude: []string{"registry"}, After: before, Executable: i.Executable()}, counted)
	return counted.n, err
}

// layerStream opens a layer in the form in which it crosses the wire at no
// cost: the bundle's own zstd frames for a plain tar, else the blob itself.
func (r *Run) layerStream(l installer.Layer) (io.Reader, string, error) {
	switch {
	case l.Gzip():
		blob, err := r.Bundle.OpenBlob(l.Digest)
		return blob, "gzip", err
	case l.Zstd():
		blob, err := r.Bundle.OpenBlob(l.Digest)
		return blob, "zstd", err
	}
	frames, _, err := r.Bundle.OpenZstd(l.Digest)
	return frames, "zstd", err
}

// rendered are the files laid over the images of one directory of a host. A
// file that several images have, as a template, plain or by a Config, is that
// of the last.
func (r *Run) rendered(t *Target, dir string) installer.Overlay {
	out := installer.Overlay{}
	for _, i := range r.imagesFor(t) {
		if i.dir != dir {
			continue
		}
		for name := range i.files {
			delete(out, name)
		}
		maps.Copy(out, t.overlays[i])
	}
	return out
}

// writeOverlays lays the rendered files over the images of a host. fresh tells
// that some of those have just been unpacked. Scripts of images made for sealos
// change such files in place; there what was written once is written again only
// when it is to be another.
func (r *Run) writeOverlays(ctx context.Context, t *Target, fresh bool) (int, error) {
	in := inputs(r.rendered(t, r.rootfsDir()), r.digests(t))
	kept := r.plainRegistry(t) && !fresh && t.marked(markRendered, in)
	var files []node.File
	done := map[string]bool{}
	for _, i := range r.imagesFor(t) {
		if done[i.dir] || kept && i.dir == r.rootfsDir() {
			continue
		}
		done[i.dir] = true
		overlay := r.rendered(t, i.dir)
		for _, name := range slices.Sorted(maps.Keys(overlay)) {
			files = append(files, node.File{Path: path.Join(i.dir, name), Mode: overlay[name].Mode, Content: overlay[name].Content})
		}
	}
	if len(files) == 0 {
		return 0, nil
	}
	changed, err := t.Agent.WriteFiles(ctx, files)
	if err != nil {
		return 0, fmt.Errorf("write the rendered files: %w", err)
	}
	if r.plainRegistry(t) && !kept {
		err = r.setMark(ctx, t, markRendered, in)
	}
	return len(changed), err
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
