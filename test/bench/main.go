// Command bench measures the built programs from outside and prints a table:
// `make bench`. Times are of whole processes, as a user has them; sizes and
// memory are what the kernel says. Every measurement is repeated, and a row
// gives the median with the smallest and the largest value.
//
// Nothing outside this machine is contacted: images come from the upstream
// registry on loopback, clusters are installed on hosts in a closed network.
//
// A row that misses its limit is marked and does not change the exit status; a
// measurement that could not be made does: status 1.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// bench is what the measurements share.
type bench struct {
	root  string // the repository
	dir   string // everything made here, removed at the end
	runs  int
	made  int // images of the pull measurements
	log   io.Writer
	table table
	built built
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintf(os.Stderr, "bench: %v\n", err)
		stop()
		os.Exit(1)
	}
}

func run(ctx context.Context) (err error) {
	quick := flag.Bool("quick", false, "leave out the installations on real hosts")
	install := flag.Bool("install", true, "measure installations on real hosts (root, minutes)")
	runs := flag.Int("runs", 3, "how often each measurement is made")
	installs := flag.Int("install-runs", 3, "how often a cluster is installed")
	only := flag.String("only", "", "measure only these parts: pull, build, write, read, serve, place, sync, fanout, install (commas between)")
	pulled := flag.Int("images", madeImages, "how many images the pull measurements have beside those of Kubernetes; 235 make 8 GB")
	out := flag.String("o", "", "file for the rows (default test/bench/results.json)")
	limit := flag.Duration("timeout", 90*time.Minute, "end everything after this time")
	flag.Parse()
	parts := []string{"pull", "build", "write", "read", "serve", "place", "sync", "fanout", "install"}
	unknown := func(part string) bool { return part != "" && !slices.Contains(parts, part) }
	if flag.NArg() > 0 || *runs < 1 || *installs < 1 || *pulled < 0 || slices.ContainsFunc(strings.Split(*only, ","), unknown) {
		flag.Usage()
		return errors.New("wrong usage")
	}
	ctx, cancel := context.WithTimeout(ctx, *limit)
	defer cancel()

	b := &bench{runs: *runs, made: *pulled, log: os.Stderr}
	if b.root, err = repository(ctx); err != nil {
		return err
	}
	if *out == "" {
		*out = filepath.Join(b.root, "test", "bench", "results.json")
	}
	if b.dir, err = os.MkdirTemp("", "sealbuild-bench-"); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(b.dir)) }()

	before := lookAtMachine(ctx, b.root)
	failed := b.measure(ctx, *only, *install && !*quick, *installs)
	before.LoadAfter = load()
	before.print(os.Stdout)
	b.table.print(os.Stdout)
	if len(b.table.rows) == 0 {
		return failed // and the last results stay
	}
	return errors.Join(failed, writeJSON(*out, b.table.rows),
		writeJSON(filepath.Join(filepath.Dir(*out), "machine.json"), before))
}

// measure makes every measurement that can be made: one that fails takes only
// those along that need what it would have left behind.
func (b *bench) measure(ctx context.Context, only string, install bool, installs int) error {
	wanted := func(part string) bool {
		return only == "" || strings.Contains(","+only+",", ","+part+",")
	}
	var failed []error
	if wanted("pull") {
		if err := b.gathers(ctx, b.made); err != nil {
			failed = append(failed, fmt.Errorf("pull: %w", err))
		}
	}
	if slices.ContainsFunc([]string{"build", "write", "read", "serve"}, wanted) {
		failed = append(failed, b.programs(ctx, wanted))
	}
	if wanted("place") {
		if err := b.places(ctx); err != nil {
			failed = append(failed, fmt.Errorf("place: %w", err))
		}
	}
	if wanted("sync") {
		if err := b.syncs(ctx); err != nil {
			failed = append(failed, fmt.Errorf("sync: %w", err))
		}
	}
	if wanted("fanout") {
		if err := b.fanouts(ctx); err != nil {
			failed = append(failed, fmt.Errorf("fanout: %w", err))
		}
	}
	if install && wanted("install") {
		if err := b.installations(ctx, installs); err != nil {
			failed = append(failed, fmt.Errorf("install: %w", err))
		}
	}
	return errors.Join(failed...)
}

// programs measures sealbuild and the bundle, on this machine alone.
func (b *bench) programs(ctx context.Context, wanted func(string) bool) error {
	up, err := b.prepare(ctx)
	if err != nil {
		return fmt.Errorf("prepare: %w", err)
	}
	err = b.builds(ctx, up, wanted("build"))
	if err := errors.Join(err, up.Close()); err != nil {
		return fmt.Errorf("build: %w", err)
	}
	// Reading and serving need the bundle that writing leaves.
	if err := b.writes(ctx, wanted("write")); err != nil {
		return fmt.Errorf("write: %w", err)
	}
	var failed []error
	if wanted("read") {
		if err := b.reads(ctx); err != nil {
			failed = append(failed, fmt.Errorf("read: %w", err))
		}
	}
	if wanted("serve") {
		if err := b.serves(ctx); err != nil {
			failed = append(failed, fmt.Errorf("serve: %w", err))
		}
	}
	return errors.Join(failed...)
}

func (b *bench) say(format string, args ...any) {
	fmt.Fprintf(b.log, time.Now().Format("15:04:05 ")+format+"\n", args...)
}

// repository is the root of the checkout that this program was built from.
func repository(ctx context.Context) (string, error) {
	out, err := exec.CommandContext(ctx, "go", "env", "GOMOD").Output()
	if err != nil {
		return "", fmt.Errorf("find the repository: %w", err)
	}
	mod := strings.TrimSpace(string(out))
	if mod == "" || mod == os.DevNull {
		return "", errors.New("run this inside the repository")
	}
	return filepath.Dir(mod), nil
}
