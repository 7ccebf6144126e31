// Command release makes what a release consists of out of programs that are built already: archives, packages, pages, sums, a bill
// of materials and notes. The same programs, sources and flags give the same bytes. make release calls it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var r release
	var described string
	var epoch int64
	flag.StringVar(&r.source, "source", "../..", "the checkout")
	flag.StringVar(&r.out, "out", "", "directory of the release; it holds PROGRAM-linux-ARCH, and gets the rest")
	flag.StringVar(&described, "version", "", "what git describe --tags --always --dirty says")
	flag.StringVar(&r.commit, "commit", "", "the commit")
	flag.Int64Var(&epoch, "epoch", 0, "seconds since 1970 that every time is set to")
	flag.StringVar(&r.key, "sign", "", "OpenSSH key to sign the sums with; empty: they are not signed")
	flag.Parse()
	var err error
	if r.version, err = versionOf(described, time.Unix(epoch, 0).UTC()); err == nil {
		r.described, r.made = described, time.Unix(epoch, 0).UTC()
		err = r.make(ctx)
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "release: %v\n", err)
		os.Exit(1)
	}
}

// What is released, and for what.
var (
	programs      = []string{"sealbuild", "sealinstall"}
	helper        = "sealsbom" // that sealbuild runs; a module of its own, without pages and completions
	architectures = []string{"amd64", "arm64"}
)

// release is one release.
type release struct {
	source    string // the checkout
	out       string // the directory that is filled
	version   string // 1.2.3, 1.2.3+4.gabcdef0, or 0.0.0+git20261130.abcdef0
	described string // as git names the commit
	commit    string
	made      time.Time
	key       string
}

func (r release) make(ctx context.Context) error {
	notes, err := r.notes()
	if err != nil {
		return err
	}
	bill, err := r.bill()
	if err != nil {
		return err
	}
	stage, err := os.MkdirTemp(r.out, ".stage-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(stage) }()
	common := filepath.Join(stage, "common")
	if err := errors.Join(r.documents(ctx, common), r.licences(ctx, common), r.pages(ctx, common)); err != nil {
		return err
	}
	for _, arch := range architectures {
		dir := filepath.Join(stage, arch)
		if err := errors.Join(r.prefix(dir, common, arch), r.archive(dir, arch), r.packages(dir, arch)); err != nil {
			return fmt.Errorf("%s: %w", arch, err)
		}
	}
	name := "sealbuild-" + r.version
	if err := errors.Join(put(filepath.Join(r.out, name+".cdx.json"), bill, 0o644), put(filepath.Join(r.out, name+".notes.md"), notes, 0o644)); err != nil {
		return err
	}
	return r.sums(ctx)
}

// released are all programs, with the directories of the modules that they are of.
func released() map[string]string {
	all := map[string]string{helper: filepath.Join("cmd", helper)}
	for _, p := range programs {
		all[p] = "."
	}
	return all
}

// program is where a program lies.
func (r release) program(name, arch string) string {
	return filepath.Join(r.out, name+"-linux-"+arch)
}

// here is the program that this machine can run.
func (r release) here(name string) string { return r.program(name, runtime.GOARCH) }

// put writes a file and the directories above it.
func put(path string, data []byte, mode os.FileMode) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(path, data, mode); err != nil {
		return err
	}
	return os.Chmod(path, mode) // whatever the umask
}

// versionOf makes a version that packages can have of what git describe says. What comes after a tag sorts behind it, and what has
// none by its day and before everything.
func versionOf(described string, made time.Time) (string, error) {
	text, dirty := strings.CutSuffix(described, "-dirty")
	if text == "" || text == "unknown" {
		return "", fmt.Errorf("version %q: it is taken from git, so a release is made in a checkout", described)
	}
	version, tagged := strings.CutPrefix(text, "v")
	if !tagged || !strings.Contains(version, ".") {
		version = "0.0.0+git" + made.Format("20060102150405") + "." + text
	} else if parts := strings.Split(version, "-"); len(parts) > 2 && strings.HasPrefix(parts[len(parts)-1], "g") {
		n := len(parts)
		version = strings.Join(parts[:n-2], "-") + "+" + parts[n-2] + "." + parts[n-1]
	}
	if dirty {
		if !strings.Contains(version, "+") {
			return version + "+dirty", nil
		}
		return version + ".dirty", nil
	}
	return version, nil
}
