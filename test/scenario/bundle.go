package scenario

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"strings"

	"github.com/sealbuild/sealbuild/test/testbed"
)

// Built is what the connected side made.
type Built struct {
	Bundle string // the one file
	// Application is a file that only adds an application; empty unless the recipe makes one.
	Application string
	Root        string // the repository
	Conf        string // registries.conf that leads to the loopback upstream registry
	Store       string // sealbuild's image store
	Cache       string // where everything that outlives a run lies
	Upstream    string // the pieces of Kubernetes
	Tests       string // Kubernetes' own tests, where the recipe has them
	Before      string // the pieces of the minor version before, where the recipe has them
	OldBundle   string // what a site has that Bundle upgrades; empty unless the recipe makes one

	work *workplace // what only this run has: its bundle, and the way to its registry
}

// env is the environment of sealbuild: images come from the upstream registry
// on loopback, everything else is as users have it.
func (b Built) env() []string {
	return []string{"CONTAINERS_REGISTRIES_CONF=" + b.Conf, "SEALBUILD_ROOT=" + b.Store}
}

func (b Built) sealbuild() string { return filepath.Join(b.Root, "bin", "sealbuild") }

// Build makes both tools, the upstream pieces and the cluster images, and
// writes the bundle of the example application. Everything but the bundle is
// cached outside the tree, so that a second build is quick; runs at the same
// time build one after another. stop ends the upstream registry.
func Build(ctx context.Context, s *story) (b Built, stop func() error, err error) {
	return build(ctx, s, recipe{images: (*Built).images})
}

// recipe says what a bundle is made of.
type recipe struct {
	images func(*Built, context.Context, *story) error // makes the cluster images and the bundle of them
	tests  bool                                        // Kubernetes' own tests and their images are wanted, too
	before bool                                        // so is the minor version before
}

// build makes tools and pieces, and what the recipe makes of them.
func build(ctx context.Context, s *story, r recipe) (b Built, stop func() error, err error) {
	if b.Root, err = repository(); err != nil {
		return b, nil, err
	}
	if b.Cache, err = testbed.CacheDir(); err != nil {
		return b, nil, err
	}
	if b.work, err = newWorkplace(b.Cache, func(left string) error {
		return command(ctx, s.out, b.Root, nil, b.upstreamScript(), "stop", filepath.Join(left, upstreamPID))
	}); err != nil {
		return b, nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, b.work.remove())
		}
	}()
	done, err := oneBuilds(ctx, b.Cache)
	if err != nil {
		return b, nil, err
	}
	defer func() { err = errors.Join(err, done()) }()
	s.heading("building sealbuild and sealinstall")
	if err := command(ctx, s.out, b.Root, nil, "make", "--no-print-directory", "build"); err != nil {
		return b, nil, err
	}
	s.heading("making the upstream pieces of Kubernetes (minutes the first time, cached in %s)", b.Cache)
	if b.Upstream, err = lastLine(ctx, s.out, b.Root, "test/upstream/make.sh"); err != nil {
		return b, nil, err
	}
	if r.tests {
		s.heading("making Kubernetes' own tests (minutes the first time)")
		if b.Tests, err = lastLine(ctx, s.out, b.Root, "test/upstream/make.sh", "conformance"); err != nil {
			return b, nil, err
		}
	}
	if r.before {
		s.heading("making the pieces of the minor version before (minutes the first time)")
		if b.Before, err = lastLine(ctx, s.out, b.Root, "test/upstream/make.sh", "before"); err != nil {
			return b, nil, err
		}
	}
	b.Store = filepath.Join(b.Cache, "store")
	b.Conf = b.work.path("registries.conf")
	stop, err = startUpstream(ctx, s.out, b)
	if err != nil {
		return b, nil, err
	}
	if err := r.images(&b, ctx, s); err != nil {
		return b, nil, fmt.Errorf("%w (stop the upstream registry: %v)", err, stop())
	}
	return b, stop, nil
}

// upstreamPID names the file in a run's directory that says which process is its upstream registry.
const upstreamPID = "upstream.pid"

func (b Built) upstreamScript() string { return filepath.Join(b.Root, "test/upstream/registry.sh") }

func startUpstream(ctx context.Context, out io.Writer, b Built) (func() error, error) {
	addr, err := freeAddress()
	if err != nil {
		return nil, err
	}
	pidfile, script := b.work.path(upstreamPID), b.upstreamScript()
	sets := "UPSTREAM_SETS=cluster"
	if b.Tests != "" {
		sets += " conformance"
	}
	if b.Before != "" {
		sets += " before"
	}
	if err := command(ctx, out, b.Root, []string{sets}, script, "start", addr, pidfile); err != nil {
		return nil, err
	}
	stop := func() error { return command(context.WithoutCancel(ctx), out, b.Root, nil, script, "stop", pidfile) }
	if err := command(ctx, out, b.Root, nil, script, "conf", addr, b.Conf); err != nil {
		return nil, fmt.Errorf("%w (stop: %v)", err, stop())
	}
	return stop, nil
}

func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

// dir is the directory of a cluster image of the repository.
func (b *Built) dir(name string) string { return filepath.Join(b.Root, "cluster-images", name) }

// fetch takes an image's upstream files from the pieces.
func (b *Built) fetch(ctx context.Context, s *story, name string) error {
	return command(ctx, s.out, b.dir(name), nil, "./fetch.sh", "--from", b.Upstream)
}

// seal tells and runs sealbuild.
func (b *Built) seal(ctx context.Context, s *story, args ...string) error {
	told := strings.NewReplacer(b.Root+"/", "", b.work.dir+"/", "", b.Cache+"/", "").Replace(strings.Join(args, " "))
	s.say("$ sealbuild %s", told)
	return command(ctx, s.out, b.Root, b.env(), append([]string{b.sealbuild()}, args...)...)
}

// images builds the four cluster images of the repository, as its README says.
func (b *Built) images(ctx context.Context, s *story) error {
	for _, name := range []string{"kubernetes", "helm"} {
		if err := b.fetch(ctx, s, name); err != nil {
			return err
		}
	}
	s.heading("sealbuild: the cluster images")
	for _, i := range []struct{ name, tag string }{
		{"kubernetes", "kubernetes:v1.36.3"}, {"flannel", "flannel:v0.28.4"}, {"helm", "helm:v3.18.4"},
	} {
		if err := b.seal(ctx, s, "-t", i.tag, "-o", "none", b.dir(i.name)); err != nil {
			return err
		}
	}
	b.Bundle = b.work.path("sealinstall")
	s.heading("sealbuild: one file for the site")
	return b.seal(ctx, s, "-t", "example:latest",
		"--with", "kubernetes:v1.36.3", "--with", "flannel:v0.28.4", "--with", "helm:v3.18.4", "-o", b.Bundle, b.dir("example"))
}
