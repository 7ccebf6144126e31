package testbed

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// stateDir names every bed of this machine: ID.json says what there is to
// remove, a lock on it is held as long as the process lives that made the bed.
const (
	stateDir = "/run/sealbuild-testbed"
	idPrefix = "sbt-"
)

// state is enough to find and remove a bed whose process is gone.
type state struct {
	PID int
	Dir string
}

// claim makes a new bed's identity and directory, and records them before
// anything else exists that would need to be removed.
func claim() (*Bed, error) {
	cache, err := CacheDir()
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(stateDir, 0o755); err != nil {
		return nil, err
	}
	var r [3]byte
	_, _ = rand.Read(r[:])
	id := idPrefix + hex.EncodeToString(r[:])
	b := &Bed{id: id, ns: id, Dir: filepath.Join(cache, "beds", id), closed: make(chan struct{})}
	// The lock comes first: a sweep running beside us must find the record held.
	if b.lock, err = tryLock(filepath.Join(stateDir, id+".lock")); err != nil || b.lock == nil {
		return nil, fmt.Errorf("claim %s: %w", id, errors.Join(err, fs.ErrExist))
	}
	record, err := json.Marshal(state{PID: os.Getpid(), Dir: b.Dir})
	if err == nil {
		err = os.WriteFile(filepath.Join(stateDir, id+".json"), record, 0o644)
	}
	if err == nil {
		err = os.MkdirAll(b.Dir, 0o700)
	}
	if err != nil {
		b.lock.Close()
		return nil, fmt.Errorf("claim %s: %w", id, err)
	}
	return b, nil
}

// Sweep removes every bed whose process died without closing it, and no other:
// a bed that lives holds its lock. Whatever it ends lies in cgroups, and
// whatever it removes is named, after that bed.
func Sweep(ctx context.Context, log io.Writer) error {
	locks, err := filepath.Glob(filepath.Join(stateDir, idPrefix+"*.lock"))
	if err != nil {
		return err
	}
	var errs []error
	for _, l := range locks {
		lock, err := tryLock(l)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		if lock == nil {
			continue
		}
		id := strings.TrimSuffix(filepath.Base(l), ".lock")
		fmt.Fprintf(log, "testbed: removing %s, left behind by a process that died\n", id)
		if err := remove(ctx, id, lock); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// remove takes a bed apart: processes first, since they hold everything else;
// its record last, so that what fails is found by the next sweep.
func remove(ctx context.Context, id string, lock *os.File) error {
	defer lock.Close()
	var errs []error
	for _, name := range cgroupsOf(id) {
		errs = append(errs, killCgroup(ctx, name), removeCgroups(ctx, name))
	}
	namespaces, err := filepath.Glob("/run/netns/" + id + "*")
	errs = append(errs, err)
	for _, ns := range namespaces {
		errs = append(errs, removeNetns(ctx, filepath.Base(ns)))
	}
	var st state
	record, err := os.ReadFile(filepath.Join(stateDir, id+".json"))
	if err == nil {
		err = json.Unmarshal(record, &st)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		errs = append(errs, err)
	}
	// The name guards against a record that somebody else wrote.
	if st.Dir != "" && filepath.Base(st.Dir) == id {
		errs = append(errs, removeDir(ctx, st.Dir))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("remove %s: %w", id, err)
	}
	return errors.Join(
		ignoreMissing(os.Remove(filepath.Join(stateDir, id+".json"))),
		ignoreMissing(os.Remove(filepath.Join(stateDir, id+".lock"))))
}

// cgroupsOf lists the branches of a bed's hosts, id itself included.
func cgroupsOf(id string) []string {
	mounts, _, err := cgroupMounts()
	if err != nil {
		return nil
	}
	seen := map[string]bool{}
	var names []string
	for _, m := range mounts {
		dirs, _ := filepath.Glob(filepath.Join(m, id+"*"))
		for _, d := range dirs {
			if n := filepath.Base(d); !seen[n] {
				seen[n] = true
				names = append(names, n)
			}
		}
	}
	return names
}

// removeDir retries while mounts of ended processes go away.
func removeDir(ctx context.Context, dir string) error {
	var last error
	err := poll(ctx, 50*time.Millisecond, func() (bool, error) {
		last = os.RemoveAll(dir)
		return last == nil, nil
	})
	return errors.Join(err, last)
}

func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// closeOnSignal closes the bed when the process is told to end, and then lets
// the signal do what it would have done.
func (b *Bed) closeOnSignal() {
	ch := make(chan os.Signal, 1)
	signal.Notify(ch, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	go func() {
		defer signal.Stop(ch)
		select {
		case <-b.closed:
		case s := <-ch:
			fmt.Fprintf(b.log, "testbed: %s: %s: closing\n", b.id, s)
			if err := b.Close(); err != nil {
				fmt.Fprintf(b.log, "testbed: %v\n", err)
			}
			signal.Stop(ch)
			if sig, ok := s.(syscall.Signal); ok {
				_ = syscall.Kill(os.Getpid(), sig)
			}
		}
	}()
}
