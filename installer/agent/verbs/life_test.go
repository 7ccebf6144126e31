package verbs

import (
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"
)

func TestSignsOfLifeAreGivenWhileSomethingIsDone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var moves, waits atomic.Bool
		var out strings.Builder
		a := &answers{w: &out}
		stop := a.beatWhile(t.Context(), 10*time.Second, moves.Load, waits.Load)
		for _, c := range []struct{ moves, waits bool }{{true, false}, {false, false}, {true, true}} {
			moves.Store(c.moves)
			waits.Store(c.waits)
			a.mu.Lock()
			out.Reset()
			a.mu.Unlock()
			time.Sleep(45 * time.Second)
			synctest.Wait()
			want := 0
			if c.moves && !c.waits {
				want = 4
			}
			a.mu.Lock()
			if got := strings.Count(out.String(), `{"alive":true}`); got != want {
				t.Errorf("%+v: %d signs, want %d", c, got, want)
			}
			a.mu.Unlock()
		}
		stop()
	})
}

func TestMachineThatDoesNothingIsTold(t *testing.T) {
	if _, err := os.Stat("/proc/diskstats"); err != nil {
		t.Skip(err)
	}
	p := new(pulse)
	p.moves()
	used := func() time.Duration {
		var usage unix.Rusage
		if err := unix.Getrusage(unix.RUSAGE_SELF, &usage); err != nil {
			t.Fatal(err)
		}
		return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
	}
	for began := used(); used() < began+2*cpuOfIdle; { // which takes its time on a busy machine
		for i := range 1 << 20 {
			_ = i * i
		}
	}
	if !p.moves() {
		t.Error("a process that works is said to do nothing")
	}
}
