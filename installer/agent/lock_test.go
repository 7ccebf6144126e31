package agent_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/sealbuild/sealbuild/installer/agent"
	"github.com/sealbuild/sealbuild/installer/agent/agenttest"
)

// patience is after what time something does not happen any more, however busy the machine is.
const patience = 2 * time.Minute

func TestALockIsHeldByOneUntilItIsReleased(t *testing.T) {
	agenttest.Everywhere(t, func(t *testing.T, a *agent.Agent) {
		path := filepath.Join(t.TempDir(), "run", "lock")
		first, err := a.Lock(t.Context(), path, "the first")
		if err != nil {
			t.Fatal(err)
		}
		_, err = a.Lock(t.Context(), path, "the second")
		var answered *agent.Error
		if !errors.As(err, &answered) || answered.Code != agent.CodeLocked || answered.Message != "the first" {
			t.Fatalf("the second gets %v", err)
		}
		first.Release()
		if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("the file stays: %v", err)
		}
		second, err := a.Lock(t.Context(), path, "the second")
		if err != nil {
			t.Fatal(err)
		}
		second.Release()
	})
}

func TestALockTellsWhoHoldsItAndAtWhichStep(t *testing.T) {
	agenttest.Everywhere(t, func(t *testing.T, a *agent.Agent) {
		path := filepath.Join(t.TempDir(), "lock")
		l, err := a.Lock(t.Context(), path, "the holder")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Release()
		for _, step := range []string{"a step with a long name", "short"} {
			l.Say(step)
			for end := time.Now().Add(patience); ; {
				f, err := a.Facts(t.Context(), agent.FactsRequest{Lean: true, Lock: path})
				if err != nil || f.LockedBy != "the holder" {
					t.Fatalf("held by %q, %v", f.LockedBy, err)
				}
				if f.LockStep == step {
					break
				}
				if time.Now().After(end) {
					t.Fatalf("at step %q, want %q", f.LockStep, step)
				}
			}
		}
		var answered *agent.Error
		if _, err := a.Lock(t.Context(), path, "another"); !errors.As(err, &answered) || answered.Message != "the holder" {
			t.Errorf("another is told %v", err)
		}
	})
}

func TestALockEndsWithItsInstaller(t *testing.T) {
	agenttest.Everywhere(t, func(t *testing.T, a *agent.Agent) {
		path := filepath.Join(t.TempDir(), "lock")
		ctx, die := context.WithCancel(t.Context())
		if _, err := a.Lock(ctx, path, "one that dies"); err != nil {
			t.Fatal(err)
		}
		die()
		takeWhenFree(t, a, path)
	})
}

func TestALockWhoseInstallerIsNotHeardOfIsGivenUp(t *testing.T) {
	a := agenttest.Local(t)
	path := filepath.Join(t.TempDir(), "lock")
	// It is there and keeps the connection, but says nothing.
	silent, err := a.LockWhile(t.Context(), agent.LockRequest{Path: path, Holder: "silent", PatienceMillis: 100}, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	takeWhenFree(t, a, path)
	select {
	case err := <-silent.Lost():
		var answered *agent.Error
		if !errors.As(err, &answered) || answered.Code != agent.CodeCut {
			t.Errorf("it is told %v", err)
		}
	case <-time.After(patience):
		t.Error("it is not told")
	}
	silent.Release()
}

// takeWhenFree takes a lock as soon as it is free, and gives it back.
func takeWhenFree(t *testing.T, a *agent.Agent, path string) {
	t.Helper()
	for end := time.Now().Add(patience); ; {
		l, err := a.Lock(t.Context(), path, "the next")
		if err == nil {
			l.Release()
			return
		}
		if time.Now().After(end) {
			t.Fatal(err)
		}
	}
}
