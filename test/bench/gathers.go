package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"

	"github.com/sealbuild/sealbuild/bundle"
	"github.com/sealbuild/sealbuild/test/upstream"
)

// cranePackage is the public tool beside ours.
const cranePackage = "github.com/google/go-containerregistry/cmd/crane@v0.20.6"

// gathering is one application that needs every image of the input, built in a
// place of its own.
type gathering struct {
	*bench
	in       input
	registry *registryProcess
	dir      string
	store    string
	out      string
	crane    string
}

// gathers measures how long it takes until many images lie in one file: by
// sealbuild with an empty and a full cache, by public tools, and by tar alone.
// Limits are those of the project's goals; ratios are within one run.
func (b *bench) gathers(ctx context.Context, made int) (err error) {
	if _, err := execute(ctx, b.root, nil, "make", "--no-print-directory", "build"); err != nil {
		return err
	}
	tree, err := upstream.Make(ctx)
	if err != nil {
		return err
	}
	b.say("the input of the pull measurements (a minute the first time)")
	g := &gathering{bench: b, dir: filepath.Join(b.dir, "pull")}
	if g.in, err = makeInput(ctx, tree, made); err != nil {
		return err
	}
	if err := os.Mkdir(g.dir, 0o755); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(g.dir)) }()
	g.store, g.out = filepath.Join(g.dir, "store"), filepath.Join(g.dir, "site.run")
	if g.crane, err = installCrane(ctx, filepath.Dir(g.in.data)); err != nil {
		return err
	}
	if g.registry, err = startRegistry(ctx, g.in.data, false); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, g.registry.stop()) }()
	if err := g.writeContext(); err != nil {
		return err
	}
	return g.measure(ctx)
}

// installCrane keeps the program beside the input.
func installCrane(ctx context.Context, cache string) (string, error) {
	_, version, _ := strings.Cut(cranePackage, "@")
	dir := filepath.Join(cache, "crane-"+version)
	path := filepath.Join(dir, "crane")
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	_, err := execute(ctx, cache, []string{"GOBIN=" + dir, "CGO_ENABLED=0"}, "go", "install", cranePackage)
	return path, err
}

// writeContext makes the application: a list of images and nothing else.
func (g *gathering) writeContext() error {
	for path, text := range map[string]string{
		"context/Kubefile":         "FROM scratch\nLABEL sealos.io.type=application\nCOPY . .\n",
		"context/images/shim/list": strings.Join(g.in.refs, "\n") + "\n",
	} {
		path = filepath.Join(g.dir, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			return err
		}
	}
	return g.writeConf(g.registry.addr)
}

// writeConf leads the names of the input to a registry.
func (g *gathering) writeConf(addr string) error {
	var conf strings.Builder
	for _, domain := range []string{"registry.k8s.io", madeDomain} {
		fmt.Fprintf(&conf, "[[registry]]\nprefix = %q\nlocation = %q\ninsecure = true\n", domain, addr+"/"+domain)
	}
	return os.WriteFile(filepath.Join(g.dir, "registries.conf"), []byte(conf.String()), 0o644)
}

// build is the whole of sealbuild, as it is called by a user.
func (g *gathering) build(ctx context.Context, flags ...string) (usage, error) {
	argv := append([]string{g.sealbuild(), "-t", "bench:v1", "-o", g.out}, flags...)
	env := []string{"CONTAINERS_REGISTRIES_CONF=" + filepath.Join(g.dir, "registries.conf"), "SEALBUILD_ROOT=" + g.store}
	return execute(ctx, g.dir, env, append(argv, filepath.Join(g.dir, "context"))...)
}

// settle lets the disk finish what the one before left, which nobody waited
// for.
func (g *gathering) settle(ctx context.Context, remove ...string) error {
	for _, path := range remove {
		if err := os.RemoveAll(path); err != nil {
			return err
		}
	}
	_, err := execute(ctx, g.dir, nil, "sync")
	return err
}

// gathered are the series of all runs.
type gathered struct {
	cold, warm, crane, tar, openssl, verify, write           series
	craneSynced, tarSynced                                   series // until their one file was on the disk, as ours is
	coldPeak, warmPeak, writePeak, warmBlobs, disk, diskOnce series
	size, blobs, once                                        series
}

func (g *gathering) measure(ctx context.Context) error {
	var s gathered
	for i := range g.runs {
		g.say("pull, run %d of %d", i+1, g.runs)
		if err := g.once(ctx, &s); err != nil {
			return err
		}
	}
	g.report(s)
	return nil
}

// once measures everything one time. What is compared runs one after the other.
func (g *gathering) once(ctx context.Context, s *gathered) error {
	layout := filepath.Join(g.dir, "layout")
	archive := filepath.Join(g.dir, "layout.tar.zst")
	if err := g.settle(ctx, layout, archive, g.store, g.out); err != nil {
		return err
	}
	var refs []string
	for _, r := range g.in.refs {
		refs = append(refs, g.registry.addr+"/"+r)
	}
	u, err := shell(ctx, g.dir, `"$1" pull --format=oci --platform=linux/amd64 "${@:4}" "$2" && tar -C "$2" -c . | zstd -q -T0 -o "$3"`,
		append([]string{g.crane, layout, archive}, refs...)...)
	if err != nil {
		return err
	}
	s.crane = append(s.crane, u.seconds)
	if err := g.synced(ctx, archive, u, &s.craneSynced); err != nil {
		return err
	}
	if err := g.settle(ctx, archive); err != nil {
		return err
	}
	if u, err = g.build(ctx); err != nil {
		return err
	}
	s.cold, s.coldPeak = append(s.cold, u.seconds), append(s.coldPeak, u.peak)
	if err := g.sizes(s); err != nil {
		return err
	}
	if err := g.settle(ctx, archive); err != nil {
		return err
	}
	if u, err = shell(ctx, g.dir, `tar -C "$1" -cf "$2" .`, layout, archive); err != nil {
		return err
	}
	s.tar = append(s.tar, u.seconds)
	if err := g.synced(ctx, archive, u, &s.tarSynced); err != nil {
		return err
	}
	if err := g.settle(ctx, archive, g.out, layout); err != nil {
		return err
	}
	if err := g.again(ctx, s); err != nil {
		return err
	}
	if err := g.reading(ctx, s); err != nil {
		return err
	}
	return g.withoutCache(ctx, s)
}

// synced waits for the disk where a tool did not, and adds the time.
func (g *gathering) synced(ctx context.Context, file string, tool usage, to *series) error {
	u, err := execute(ctx, g.dir, nil, "sync", file)
	*to = append(*to, tool.seconds+u.seconds)
	return err
}

// withoutCache builds once more into a directory of its own, and looks at the
// most that lies there.
func (g *gathering) withoutCache(ctx context.Context, s *gathered) error {
	dir := filepath.Join(g.dir, "once")
	if err := g.settle(ctx, g.store, g.out, dir); err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	end := watchUsed(dir)
	u, err := g.build(ctx, "--no-cache", "-o", filepath.Join(dir, "site.run"))
	most := end()
	if err != nil {
		return err
	}
	s.once = append(s.once, u.seconds)
	stub, err := os.Stat(filepath.Join(g.root, "bin", "sealinstall"))
	if err != nil {
		return err
	}
	s.diskOnce = append(s.diskOnce, float64(most-stub.Size())/1e6/s.blobs[len(s.blobs)-1])
	return nil
}

// again builds with a full cache, through a registry that counts.
func (g *gathering) again(ctx context.Context, s *gathered) (err error) {
	c, err := countInFrontOf(ctx, g.registry.addr)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.Close(), g.writeConf(g.registry.addr)) }()
	if err := g.writeConf(c.addr); err != nil {
		return err
	}
	u, err := g.build(ctx)
	if err != nil {
		return err
	}
	s.warm, s.warmPeak = append(s.warm, u.seconds), append(s.warmPeak, u.peak)
	s.warmBlobs = append(s.warmBlobs, float64(c.blobs.Load()))
	return nil
}

// reading verifies the file, and hashes it with a public tool.
func (g *gathering) reading(ctx context.Context, s *gathered) error {
	v, err := execute(ctx, g.dir, nil, g.sealbuild(), "verify", g.out)
	if err != nil {
		return err
	}
	o, err := execute(ctx, g.dir, nil, "openssl", "dgst", "-sha256", g.out)
	if err != nil {
		return err
	}
	s.verify = append(s.verify, o.seconds/v.seconds/float64(runtime.NumCPU()))
	info, err := os.Stat(g.out)
	if err != nil {
		return err
	}
	s.openssl = append(s.openssl, float64(info.Size())/1e6/o.seconds)
	if err := g.settle(ctx, g.out); err != nil {
		return err
	}
	env := []string{"SEALBUILD_ROOT=" + g.store}
	w, err := execute(ctx, g.dir, env, g.sealbuild(), "bundle", "-o", g.out, "bench:v1")
	if err != nil {
		return err
	}
	s.write, s.writePeak = append(s.write, w.seconds), append(s.writePeak, w.peak)
	return nil
}

// sizes looks at what a cold build left on the disk.
func (g *gathering) sizes(s *gathered) error {
	f, err := bundle.OpenFile(g.out)
	if err != nil {
		return err
	}
	defer f.Close()
	var unique int64
	for _, b := range f.Blobs() {
		unique += b.Size // all but some manifests are compressed
	}
	payload := f.Size() - f.PayloadOffset()
	stored, err := used(g.store)
	if err != nil {
		return err
	}
	s.blobs = append(s.blobs, float64(unique)/1e6)
	s.size = append(s.size, float64(payload)/float64(unique))
	s.disk = append(s.disk, float64(stored+payload)/float64(unique))
	return nil
}

func (g *gathering) report(s gathered) {
	t := &g.table
	images := strconv.Itoa(len(g.in.refs))
	t.command = "sealbuild -t bench:v1 -o FILE of a list of " + images + " images from a registry on loopback, empty store: build, pull, write, fsync, try every reference"
	t.add("pull/blobs", "MB", s.blobs)
	t.add("pull/cold", "s", s.cold)
	t.add("pull/cold-peak-memory", "MiB", s.coldPeak)
	t.command = "crane pull --format=oci of all, then tar -c | zstd -T0; nothing is synced or verified"
	t.add("pull/crane-tar-zstd", "s", s.crane)
	t.most("pull/cold-to-crane-tar-zstd", "ratio", ratios(s.cold, s.crane), 0.75)
	t.command = "the same, and sync of the one file: ours is on the disk when sealbuild ends"
	t.add("pull/crane-tar-zstd-synced", "s", s.craneSynced)
	t.most("pull/cold-to-crane-tar-zstd-synced", "ratio", ratios(s.cold, s.craneSynced), 0.75)
	t.command = "the same sealbuild command again, with the store that the first left"
	t.add("pull/warm", "s", s.warm)
	t.most("pull/warm-blobs", "blobs", s.warmBlobs, 0)
	t.add("pull/warm-peak-memory", "MiB", s.warmPeak)
	t.command = "tar -cf of the same blobs, as crane left them; nothing is synced"
	t.add("pull/tar", "s", s.tar)
	t.most("pull/warm-to-tar", "ratio", ratios(s.warm, s.tar), 1.5)
	t.command = "the same, and sync of the file"
	t.add("pull/tar-synced", "s", s.tarSynced)
	t.most("pull/warm-to-tar-synced", "ratio", ratios(s.warm, s.tarSynced), 1.5)
	t.command = "sealbuild bundle out of the store: every byte hashed, fsync"
	t.add("pull/write", "s", s.write)
	t.most("pull/write-peak-memory", "MiB", s.writePeak, 128)
	t.command = "payload, and payload + store, divided by the unique blobs"
	t.most("pull/payload-to-blobs", "ratio", s.size, 1.01)
	t.most("pull/disk-to-blobs", "ratio", s.disk, 2.02)
	t.command = "sealbuild --no-cache: the most that lies beside the bundle and in it at a time, without the stub"
	t.add("pull/no-cache", "s", s.once)
	t.most("pull/no-cache-disk-to-blobs", "ratio", s.diskOnce, 1.05)
	t.command = "sealbuild verify of the file, divided by the rate of openssl dgst -sha256 times cores"
	t.add("pull/openssl", "MB/s of file", s.openssl)
	t.least("pull/verify-to-openssl-cores", "ratio", s.verify, 0.85)
}
