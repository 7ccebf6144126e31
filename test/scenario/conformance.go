package scenario

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"github.com/sealbuild/sealbuild/test/testbed"
)

// Conformance runs every conformance test of Kubernetes on a cluster of one
// master and two nodes, installed from a bundle that carries the tests.
// FOCUS=regex in the environment runs those whose names match.
func Conformance(ctx context.Context, out io.Writer) error {
	selection := []string{"all"}
	if focus := os.Getenv("FOCUS"); focus != "" {
		selection = []string{"--focus", focus}
	}
	return conformance(ctx, out, "conformance", selection...)
}

// ConformanceQuick runs the quick selection there.
func ConformanceQuick(ctx context.Context, out io.Writer) error {
	return conformance(ctx, out, "conformance-quick", "quick")
}

func conformance(ctx context.Context, out io.Writer, name string, selection ...string) (err error) {
	st := newStory(out)
	site, err := makeAndOpen(ctx, st, recipe{images: (*Built).clusterWithTests, tests: true}, 1, 2)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, site.Close()) }()
	st.heading("sealinstall: a cluster with the tests in it")
	if _, _, err := site.install(ctx, st); err != nil {
		return fmt.Errorf("install: %w", err)
	}
	if err := site.kubeConformance(ctx, st, name, selection...); err != nil {
		return err
	}
	return site.onlyServicesWereMissed(ctx, st)
}

// services is the network of Services in the scenarios: the installer's default.
var services = netip.MustParsePrefix("10.96.0.0/22")

// onlyServicesWereMissed wants no packet to have left for anywhere. The tests take Services away and change what they are
// while others ask for them: such a packet has no translation any more, and goes the way of an address that nobody has.
func (s *Site) onlyServicesWereMissed(ctx context.Context, st *story) error {
	flows, err := s.EscapedFlows(ctx)
	if err != nil {
		return err
	}
	missed := 0
	var left []testbed.Flow
	for _, f := range flows {
		if services.Contains(f.To) {
			missed += f.Packets
			continue
		}
		left = append(left, f)
	}
	st.heading("packets that tried to leave the site: %v; to Services that were gone: %d", left, missed)
	if len(left) > 0 {
		return fmt.Errorf("packets tried to leave the site: %v", left)
	}
	return nil
}

// ConformanceBundle writes the file that `make conformance-bundle` gives an operator.
func ConformanceBundle(ctx context.Context, out io.Writer, file string) (err error) {
	st := newStory(out)
	if file, err = filepath.Abs(file); err != nil {
		return err
	}
	b, stop, err := build(ctx, st, recipe{images: func(b *Built, ctx context.Context, st *story) error {
		b.Bundle = file
		return b.clusterWithTests(ctx, st)
	}, tests: true})
	if err != nil {
		return err
	}
	if err := errors.Join(stop(), b.work.remove()); err != nil {
		return err
	}
	info, err := os.Stat(file)
	if err != nil {
		return err
	}
	st.heading("%s (%d MB): Kubernetes, a pod network and the conformance tests; run it at the site, then kube-conformance --help there", file, info.Size()/1e6)
	return nil
}

// judge adds Kubernetes' own tests to the cluster that runs, made with our rootfs
// and whatever applications, and runs the quick selection. Nothing is given but the file.
func (s *Site) judge(ctx context.Context, st *story, name string) error {
	if err := s.addTests(ctx, st); err != nil {
		return err
	}
	if err := s.kubeConformance(ctx, st, name, "quick"); err != nil {
		return err
	}
	return s.onlyServicesWereMissed(ctx, st)
}

// addTests builds a bundle of the tests alone, and adds them to the cluster as an operator does.
func (s *Site) addTests(ctx context.Context, st *story) (err error) {
	b, stop, err := build(ctx, st, recipe{images: (*Built).testsAlone, tests: true})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.work.remove()) }()
	if err := stop(); err != nil {
		return err
	}
	st.heading("carrying in the conformance tests")
	const file = "/root/conformance"
	if err := s.master0().Copy(ctx, b.Bundle, file, 0o755); err != nil {
		return err
	}
	st.say("%s# ./conformance", s.master0().Name)
	_, err = s.master0().Run(ctx, testbed.Command{Argv: []string{file}, Dir: "/root", Stdout: st.out, Stderr: st.out})
	if err != nil {
		return fmt.Errorf("add the tests to the cluster: %w", err)
	}
	_, err = s.master0().Exec(ctx, "rm", file)
	return err
}

// kubeConformance runs the command that the image e2e puts on the first
// control plane. The report comes to bin/NAME of the repository, whatever the verdict.
func (s *Site) kubeConformance(ctx context.Context, st *story, name string, selection ...string) error {
	const report = "/root/report"
	st.heading("Kubernetes' own tests: %s", strings.Join(selection, " "))
	// Most of the tests wait for something most of the time.
	args := append([]string{"kube-conformance", "--report", report, "--procs", "6"}, selection...)
	st.say("%s# %s", s.master0().Name, strings.Join(args, " "))
	_, failed := s.master0().Run(ctx, testbed.Command{Argv: args, Dir: "/root", Stdout: st.out, Stderr: st.out})
	if failed != nil {
		failed = errors.New("the cluster is not what Kubernetes' own tests want: the verdict is above, the report in bin/" + name)
	}
	return errors.Join(failed, s.bringReport(context.WithoutCancel(ctx), report, filepath.Join(s.built.Root, "bin", name)))
}

// bringReport copies a directory of the first master to this machine, and removes it there.
func (s *Site) bringReport(ctx context.Context, from, to string) (err error) {
	if err := os.RemoveAll(to); err != nil {
		return err
	}
	if err := os.MkdirAll(to, 0o755); err != nil {
		return err
	}
	archive, err := os.Create(s.built.work.path("report.tar"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, archive.Close()) }()
	if _, err := s.master0().Run(ctx, testbed.Command{Argv: []string{"tar", "-C", from, "-c", "."}, Stdout: archive}); err != nil {
		return fmt.Errorf("bring the report: %w", err)
	}
	if err := command(ctx, io.Discard, to, nil, "tar", "--no-same-owner", "-xf", archive.Name()); err != nil {
		return err
	}
	_, err = s.master0().Exec(ctx, "rm", "-r", from)
	return err
}

// testsImage builds the cluster image e2e.
func (b *Built) testsImage(ctx context.Context, s *story) error {
	if err := command(ctx, s.out, b.dir("e2e"), nil, "./fetch.sh", "--from", b.Tests); err != nil {
		return err
	}
	return b.seal(ctx, s, "-t", "e2e:v1.36.3", "-o", "none", b.dir("e2e"))
}

// testsAlone makes a bundle that adds the tests to a cluster.
func (b *Built) testsAlone(ctx context.Context, s *story) error {
	if err := b.testsImage(ctx, s); err != nil {
		return err
	}
	b.Bundle = b.work.path("conformance")
	return b.seal(ctx, s, "bundle", "e2e:v1.36.3", "-o", b.Bundle)
}

// clusterWithTests is one file with Kubernetes, a pod network, and the tests.
func (b *Built) clusterWithTests(ctx context.Context, s *story) error {
	if err := b.fetch(ctx, s, "kubernetes"); err != nil {
		return err
	}
	s.heading("sealbuild: the cluster images")
	for _, i := range []struct{ name, tag string }{{"kubernetes", "kubernetes:v1.36.3"}, {"flannel", "flannel:v0.28.4"}} {
		if err := b.seal(ctx, s, "-t", i.tag, "-o", "none", b.dir(i.name)); err != nil {
			return err
		}
	}
	if err := b.testsImage(ctx, s); err != nil {
		return err
	}
	if b.Bundle == "" {
		b.Bundle = b.work.path("conformance")
	}
	return b.seal(ctx, s, "bundle", "kubernetes:v1.36.3", "flannel:v0.28.4", "e2e:v1.36.3", "-o", b.Bundle)
}
