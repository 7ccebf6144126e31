package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/sealbuild/sealbuild/bundle"
	"github.com/sealbuild/sealbuild/installer/payload"
	"github.com/sealbuild/sealbuild/registry/disk"
	"github.com/sealbuild/sealbuild/registry/storesync"
)

// Applications that make a bundle of 1.4 GB and one of 8 GB.
const (
	mediumPlace = 46
	largePlace  = 288

	placeLatency = 150  // ms from exec
	placeMemory  = 64   // MiB
	placeShare   = 0.90 // of docker-registry's rate
)

// place is one large bundle that is served where it lies.
type place struct {
	*bench
	name      string
	path      string
	temporary string
	pulls     pulls
	program   string
}

// places measures serving large bundles in place, beside Debian's
// docker-registry that serves the same blobs out of a directory.
func (b *bench) places(ctx context.Context) error {
	if _, err := execute(ctx, b.root, nil, "make", "--no-print-directory", "build"); err != nil {
		return err
	}
	for _, p := range []struct {
		name   string
		images int
		beside bool
	}{{"1.4GB", mediumPlace, true}, {"8GB", largePlace, false}} {
		if err := b.place(ctx, p.name, p.images, p.beside); err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
	}
	return nil
}

func (b *bench) place(ctx context.Context, name string, images int, beside bool) (err error) {
	dir := filepath.Join(b.dir, "place")
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	p := &place{bench: b, name: name, path: filepath.Join(dir, "bundle"), temporary: filepath.Join(dir, "tmp"), program: filepath.Join(b.root, "bin", "sealinstall")}
	b.say("a bundle of %s", name)
	if err := errors.Join(os.Mkdir(p.temporary, 0o755), writeMade(ctx, p.path, applications(images))); err != nil {
		return err
	}
	f, err := bundle.OpenFile(p.path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if p.pulls, err = findPulls(f.Reader); err != nil {
		return err
	}
	if err := p.starts(ctx); err != nil || !beside {
		return err
	}
	data := filepath.Join(dir, "data")
	catalog, err := payload.Catalog(ctx, f.Reader)
	if err != nil {
		return err
	}
	if _, err := storesync.Fill(ctx, disk.Open(data), catalog, payload.Source(f.Reader), storesync.PushOptions{}); err != nil {
		return err
	}
	return p.rates(ctx, data)
}

func (p *place) start(ctx context.Context) (*server, error) {
	return startServer(ctx, p.program, p.temporary, "--bundle", p.path)
}

// starts measures how soon the first bytes come.
func (p *place) starts(ctx context.Context) error {
	var manifest, firstByte series
	for range p.runs {
		s, err := p.start(ctx)
		if err != nil {
			return err
		}
		m, err := s.await(ctx, p.pulls.first)
		var b time.Duration
		if err == nil {
			b, _, err = s.firstByte(ctx, p.pulls.layer)
		}
		if err := errors.Join(err, s.stop()); err != nil {
			return err
		}
		manifest, firstByte = append(manifest, m.Seconds()*1e3), append(firstByte, b.Seconds()*1e3)
	}
	t := &p.table
	t.command = fmt.Sprintf("sealinstall serve --bundle FILE of %s: from exec until a manifest is answered, and until the first byte of a layer of %.1f MB asked for after it", p.name, float64(p.pulls.layer.size)/1e6)
	t.most("place-"+p.name+"/first-manifest", "ms", manifest, placeLatency)
	t.most("place-"+p.name+"/layer-first-byte", "ms", firstByte, placeLatency)
	return nil
}

// rates measures many clients at once, by turns with docker-registry.
func (p *place) rates(ctx context.Context, data string) error {
	var ours, theirs, peak, disk series
	rate := func(took time.Duration) float64 { return float64(p.pulls.bytes) * clients / 1e6 / took.Seconds() }
	for i := range p.runs {
		p.say("concurrent pulls of %s, run %d of %d", p.name, i+1, p.runs)
		took, err := p.theirRate(ctx, data)
		if err != nil {
			return err
		}
		theirs = append(theirs, rate(took))
		s, err := p.start(ctx)
		if err != nil {
			return err
		}
		took, memory, written, err := p.ourRate(ctx, s)
		if err := errors.Join(err, s.stop()); err != nil {
			return err
		}
		ours, peak, disk = append(ours, rate(took)), append(peak, memory), append(disk, written)
	}
	t := &p.table
	t.command = fmt.Sprintf("%d clients at once, each pulls every image (%d requests, %.0f MB); one of them checks digests; page cache warm; a fresh server, so every blob is verified", clients, len(p.pulls.all), float64(p.pulls.bytes)/1e6)
	t.add("place-"+p.name+"/pull-all-rate", "MB/s", ours)
	t.most("place-"+p.name+"/peak-memory", "MiB", peak, placeMemory)
	t.most("place-"+p.name+"/extra-disk", "MB", disk, 0)
	t.command = "the same clients and blobs, Debian's docker-registry out of a directory; it verifies nothing"
	t.add("place-"+p.name+"/docker-registry-rate", "MB/s", theirs)
	t.least("place-"+p.name+"/to-docker-registry", "ratio", ratios(ours, theirs), placeShare)
	return nil
}

func (p *place) ourRate(ctx context.Context, s *server) (took time.Duration, memory, written float64, err error) {
	if _, err = s.await(ctx, p.pulls.first); err != nil {
		return 0, 0, 0, err
	}
	if took, err = s.pullAll(ctx, p.pulls.all); err != nil {
		return 0, 0, 0, err
	}
	if memory, err = s.peak(); err != nil {
		return 0, 0, 0, err
	}
	written, err = s.written(p.temporary)
	return took, memory, written, err
}

func (p *place) theirRate(ctx context.Context, data string) (took time.Duration, err error) {
	r, err := startRegistry(ctx, data, false)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, r.stop()) }()
	s := &server{url: "http://" + r.addr, client: newClient()}
	return s.pullAll(ctx, p.pulls.all)
}
