package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/sealbuild/sealbuild/test/upstream"
)

// built is what the build leaves to the later parts.
type built struct {
	store  string // sealbuild's image store with every cluster image
	conf   string // registries.conf
	bundle string // the one file
}

// images are the repository's cluster images: directory and name.
var images = [...]struct{ dir, name string }{
	{"kubernetes", "kubernetes:v1.36.3"},
	{"flannel", "flannel:v0.28.4"},
	{"helm", "helm:v3.18.4"},
	{"example", "example:latest"},
}

func (b *bench) sealbuild() string { return filepath.Join(b.root, "bin", "sealbuild") }

// env leads sealbuild to the upstream registry on loopback and to a store of
// its own.
func (b *bench) env() []string {
	return []string{"CONTAINERS_REGISTRIES_CONF=" + b.built.conf, "SEALBUILD_ROOT=" + b.built.store}
}

// source is the upstream registry and what counts in front of it.
type source struct {
	*counter
	registry *upstream.Registry
}

func (s *source) Close() error { return errors.Join(s.counter.Close(), s.registry.Close()) }

// prepare makes programs, pieces and contexts; none of this is measured.
func (b *bench) prepare(ctx context.Context) (s *source, err error) {
	b.say("make build, and the upstream pieces of Kubernetes (minutes the first time)")
	if _, err := execute(ctx, b.root, nil, "make", "--no-print-directory", "build"); err != nil {
		return nil, err
	}
	tree, err := upstream.Make(ctx)
	if err != nil {
		return nil, err
	}
	// A copy, so that a build of somebody else in this checkout changes nothing here.
	contexts := filepath.Join(b.dir, "cluster-images")
	if err := copySources(filepath.Join(b.root, "cluster-images"), contexts); err != nil {
		return nil, err
	}
	for _, name := range []string{"kubernetes", "helm"} {
		if _, err := execute(ctx, filepath.Join(contexts, name), nil, "./fetch.sh", "--from", string(tree)); err != nil {
			return nil, err
		}
	}
	registry, err := upstream.Start(ctx)
	if err != nil {
		return nil, err
	}
	c, err := countInFrontOf(ctx, registry.Addr)
	if err != nil {
		return nil, errors.Join(err, registry.Close())
	}
	s = &source{c, registry}
	b.built.conf = filepath.Join(b.dir, "registries.conf")
	if err := (&upstream.Registry{Addr: c.addr}).WriteConf(ctx, b.built.conf); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// copySources copies the contexts without what fetch.sh puts there.
func copySources(from, to string) error {
	return filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		if d.IsDir() {
			if d.Name() == "files" || d.Name() == "images" {
				return fs.SkipDir
			}
			return os.MkdirAll(filepath.Join(to, rel), 0o755)
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(to, rel), data, info.Mode().Perm())
	})
}

// builds measures the build of all cluster images into an empty store, and the
// same again. The last store is left to the later parts.
func (b *bench) builds(ctx context.Context, s *source, measure bool) error {
	if !measure {
		b.built.store = filepath.Join(b.dir, "store")
		_, err := b.buildAll(ctx)
		return err
	}
	var cold, coldBlobs, coldBytes, coldPeak, warm, warmBlobs, warmManifests, warmPeak series
	for i := range b.runs {
		b.say("build, run %d of %d", i+1, b.runs)
		if err := os.RemoveAll(b.built.store); err != nil {
			return err
		}
		b.built.store = filepath.Join(b.dir, fmt.Sprintf("store-%d", i))
		s.reset()
		u, err := b.buildAll(ctx)
		if err != nil {
			return err
		}
		cold, coldPeak = append(cold, u.seconds), append(coldPeak, u.peak)
		coldBlobs = append(coldBlobs, float64(s.blobs.Load()))
		coldBytes = append(coldBytes, float64(s.bytes.Load())/1e6)
		s.reset()
		if u, err = b.buildAll(ctx); err != nil {
			return err
		}
		warm, warmPeak = append(warm, u.seconds), append(warmPeak, u.peak)
		warmBlobs = append(warmBlobs, float64(s.blobs.Load()))
		warmManifests = append(warmManifests, float64(s.manifests.Load()))
	}
	t := &b.table
	t.command = "sealbuild -t NAME -o none cluster-images/DIR for kubernetes, flannel, helm and example, one after another; images from the upstream registry on loopback through a counting proxy; store empty, page cache warm"
	t.add("build/cold", "s", cold)
	t.add("build/cold-blobs", "blobs", coldBlobs)
	t.add("build/cold-downloaded", "MB", coldBytes)
	t.add("build/cold-peak-memory", "MiB", coldPeak)
	t.command = "the same commands again, with the store they left"
	t.add("build/warm", "s", warm)
	t.most("build/warm-blobs", "blobs", warmBlobs, 0)
	t.add("build/warm-manifests", "requests", warmManifests)
	t.add("build/warm-peak-memory", "MiB", warmPeak)
	return nil
}

// buildAll builds every cluster image: the sum of the times, the largest peak.
func (b *bench) buildAll(ctx context.Context) (usage, error) {
	var all usage
	for _, i := range images {
		u, err := execute(ctx, b.dir, b.env(), b.sealbuild(), "-t", i.name, "-o", "none", filepath.Join(b.dir, "cluster-images", i.dir))
		if err != nil {
			return all, err
		}
		all.seconds += u.seconds
		all.peak = max(all.peak, u.peak)
	}
	return all, nil
}
