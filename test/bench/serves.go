package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/sealbuild/sealbuild/bundle"
)

// clients pull everything at once while the peak of memory is taken.
const clients = 16

// serves measures the bundle as a registry that runs where the file lies.
func (b *bench) serves(ctx context.Context) error {
	f, err := bundle.OpenFile(b.built.bundle)
	if err != nil {
		return err
	}
	p, err := findPulls(f.Reader)
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	var m serveFigures
	for i := range b.runs {
		b.say("serve, run %d of %d", i+1, b.runs)
		if err := b.serveOnce(ctx, p, &m); err != nil {
			return err
		}
	}
	t := &b.table
	t.command = fmt.Sprintf("./sealinstall serve --addr 127.0.0.1:PORT: from exec until GET %s is answered", p.first.path)
	t.add("serve/first-manifest", "ms", m.manifest)
	t.command = fmt.Sprintf("from the same exec until the first byte of a layer of %.1f MB, asked for after that manifest", float64(p.layer.size)/1e6)
	t.add("serve/layer-first-byte", "ms", m.firstByte)
	t.command = "from the request for that layer until its first byte"
	t.add("serve/layer-request", "ms", m.request)
	t.command = fmt.Sprintf("%d clients at once, each pulls every container image (%d requests, %.0f MB); one of them checks digests", clients, len(p.all), float64(p.bytes)/1e6)
	t.add("serve/pull-all", "s", m.pull)
	t.add("serve/pull-all-rate", "MB/s", m.rate)
	t.add("serve/peak-memory", "MiB", m.peak)
	t.command = "what the server caused to be written to storage (write_bytes of /proc/PID/io) and left in TMPDIR until then"
	t.most("serve/extra-disk", "MB", m.disk, 0)
	return nil
}

type serveFigures struct{ manifest, firstByte, request, pull, rate, peak, disk series }

// serveOnce runs one server from exec to its end.
func (b *bench) serveOnce(ctx context.Context, p pulls, m *serveFigures) (err error) {
	temporary := filepath.Join(b.dir, "serve-tmp")
	if err := os.Mkdir(temporary, 0o755); err != nil {
		return err
	}
	defer os.RemoveAll(temporary)
	s, err := startServer(ctx, b.built.bundle, temporary)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.stop()) }()
	manifest, err := s.await(ctx, p.first)
	if err != nil {
		return err
	}
	firstByte, request, err := s.firstByte(ctx, p.layer)
	if err != nil {
		return err
	}
	took, err := s.pullAll(ctx, p.all)
	if err != nil {
		return err
	}
	peak, err := s.peak()
	if err != nil {
		return err
	}
	disk, err := s.written(temporary)
	if err != nil {
		return err
	}
	m.manifest = append(m.manifest, manifest.Seconds()*1e3)
	m.firstByte = append(m.firstByte, firstByte.Seconds()*1e3)
	m.request = append(m.request, request.Seconds()*1e3)
	m.pull = append(m.pull, took.Seconds())
	m.rate = append(m.rate, float64(p.bytes)*clients/1e6/took.Seconds())
	m.peak = append(m.peak, peak)
	m.disk = append(m.disk, disk)
	return nil
}
