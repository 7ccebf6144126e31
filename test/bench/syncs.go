package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/sealbuild/sealbuild/bundle"
	"github.com/sealbuild/sealbuild/installer/agent"
	"github.com/sealbuild/sealbuild/installer/host"
	"github.com/sealbuild/sealbuild/installer/payload"
	"github.com/sealbuild/sealbuild/registry/catalog"
	"github.com/sealbuild/sealbuild/registry/disk"
	"github.com/sealbuild/sealbuild/registry/storesync"
)

// syncing is one bundle that is brought to a host by ssh as the installer does
// it: this program sends, bin/sealinstall on the other side of a real sshd
// receives.
type syncing struct {
	*bench
	dir  string
	stub string
	ssh  *sshd
}

// newSyncing makes a directory, which done removes, and puts the receiver into
// it: a build in this checkout would take the built one away for a moment.
func (b *bench) newSyncing(ctx context.Context, name string) (s *syncing, done func() error, err error) {
	if _, err := execute(ctx, b.root, nil, "make", "--no-print-directory", "build"); err != nil {
		return nil, nil, err
	}
	dir := filepath.Join(b.dir, name)
	if err := os.Mkdir(dir, 0o755); err != nil {
		return nil, nil, err
	}
	s = &syncing{bench: b, dir: dir, stub: filepath.Join(dir, "sealinstall")}
	done = func() error { return os.RemoveAll(dir) }
	if _, err := execute(ctx, dir, nil, "cp", filepath.Join(b.root, "bin", "sealinstall"), s.stub); err != nil {
		return nil, nil, errors.Join(err, done())
	}
	return s, done, nil
}

// syncs measures how a registry host gets what it lacks, beside the tools that
// everybody has.
func (b *bench) syncs(ctx context.Context) (err error) {
	s, done, err := b.newSyncing(ctx, "sync")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, done()) }()
	keys, err := makeKeys(s.dir)
	if err != nil {
		return err
	}
	const address = "127.0.0.1"
	port, err := freePort(ctx, address)
	if err != nil {
		return err
	}
	if s.ssh, err = startSSHD(ctx, s.dir, address, port, keys); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.ssh.stop()) }()
	if err := s.one(ctx); err != nil {
		return fmt.Errorf("one image missing: %w", err)
	}
	if err := s.many(ctx); err != nil {
		return fmt.Errorf("many blobs: %w", err)
	}
	return nil
}

// opened is a bundle and the catalog of a part of its images.
type opened struct {
	*bundle.File
	path string
}

func (s *syncing) bundle(ctx context.Context, name string, images []madeImage) (opened, error) {
	path := filepath.Join(s.dir, name)
	if err := writeMade(ctx, path, images); err != nil {
		return opened{}, err
	}
	f, err := bundle.OpenFile(path)
	return opened{f, path}, err
}

// timedLogin is a connection and how long it took to log in.
type timedLogin struct {
	host.Host
	seconds float64
}

func (s *syncing) loggedIn(ctx context.Context) (timedLogin, error) {
	start := time.Now()
	h, err := s.ssh.dial(ctx)
	return timedLogin{h, time.Since(start).Seconds()}, err
}

// push is what the installer's step does for one host: list the bundle's
// images, then send what the host lacks.
func (s *syncing) push(ctx context.Context, h host.Host, f opened, root string, o storesync.PushOptions) (r storesync.Receipt, took time.Duration, err error) {
	start := time.Now()
	images, err := payload.Catalog(ctx, f.Reader)
	if err != nil {
		return r, 0, err
	}
	err = agent.NewAgent(h, s.stub).RegistryReceive(ctx, root, func(w io.Writer, in io.Reader) (err error) {
		r, err = storesync.Push(ctx, w, in, images, payload.Source(f.Reader), o)
		return err
	})
	return r, time.Since(start), err
}

// settle lets the disk finish what was written before.
func (s *syncing) settle(ctx context.Context) error {
	_, err := execute(ctx, s.dir, nil, "sync")
	return err
}

// compared are two equal stores and what is missing in them before each run.
type compared struct {
	file         opened
	have         catalog.Catalog // what stays when the rest is collected
	ours, theirs string
	source       string // of rsync
	daemon       *rsyncDaemon
	conn         host.Host
}

func (s *syncing) compare(ctx context.Context, name string, images []madeImage, missing string) (c *compared, err error) {
	c = &compared{ours: filepath.Join(s.dir, name+"-ours"), theirs: filepath.Join(s.dir, name+"-theirs"), source: filepath.Join(s.dir, name+"-source")}
	if c.file, err = s.bundle(ctx, name, images); err != nil {
		return nil, err
	}
	var refs []catalog.Ref
	for _, i := range c.file.Images() {
		if i.Name != missing {
			refs = append(refs, catalog.Ref{Name: i.Name, Digest: i.Digest})
		}
	}
	if c.have, err = catalog.Build(ctx, refs, payload.Source(c.file.Reader)); err != nil {
		return nil, err
	}
	all, err := payload.Catalog(ctx, c.file.Reader)
	if err != nil {
		return nil, err
	}
	if _, err := storesync.Fill(ctx, disk.Open(c.source), all, payload.Source(c.file.Reader), storesync.PushOptions{}); err != nil {
		return nil, err
	}
	if err := os.Mkdir(c.theirs, 0o755); err != nil {
		return nil, err
	}
	if c.daemon, err = startRsync(ctx, s.dir, "127.0.0.1", c.theirs); err != nil {
		return nil, err
	}
	if c.conn, err = s.ssh.dial(ctx); err != nil {
		return nil, errors.Join(err, c.daemon.stop())
	}
	_, _, err = s.push(ctx, c.conn, c.file, c.ours, storesync.PushOptions{})
	if err == nil {
		_, _, err = c.daemon.push(ctx, s.dir, c.source)
	}
	if err != nil {
		return nil, errors.Join(err, c.close())
	}
	return c, nil
}

func (c *compared) close() error {
	return errors.Join(c.conn.Close(), c.daemon.stop(), c.file.Close(), os.RemoveAll(c.ours),
		os.RemoveAll(c.theirs), os.RemoveAll(c.source), os.Remove(c.file.path))
}

// take removes from both stores what the catalog does not keep.
func (c *compared) take(ctx context.Context) error {
	for _, root := range []string{c.ours, c.theirs} {
		if _, err := disk.Open(root).Collect(ctx, c.have, disk.CollectOptions{}); err != nil {
			return err
		}
	}
	return nil
}

// syncRound is both ways once.
type syncRound struct {
	receipt       storesync.Receipt
	ours, theirs  float64 // seconds
	wire, rsynced float64 // MB
}

func (s *syncing) round(ctx context.Context, c *compared) (r syncRound, err error) {
	if err := s.settle(ctx); err != nil {
		return r, err
	}
	receipt, took, err := s.push(ctx, c.conn, c.file, c.ours, storesync.PushOptions{})
	if err != nil {
		return r, err
	}
	r.receipt, r.ours, r.wire = receipt, took.Seconds(), float64(receipt.WireBytes)/1e6
	if err := s.settle(ctx); err != nil {
		return r, err
	}
	u, wire, err := c.daemon.push(ctx, s.dir, c.source)
	r.theirs, r.rsynced = u.seconds, wire
	return r, err
}
