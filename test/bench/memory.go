package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// memoryWatch finds the largest resident memory of a process that runs to its end.
//
// What wait4 reports is exact when it is more than this program itself uses:
// to the kernel, memory from before exec counts too, and then the process
// shared ours. What stays below that is sampled, and may miss a last growth.
type memoryWatch struct {
	pid     int
	sampled float64 // MiB
	stop    chan struct{}
	done    chan struct{}
}

func watchMemory(pid int) *memoryWatch {
	w := &memoryWatch{pid: pid, stop: make(chan struct{}), done: make(chan struct{})}
	go func() {
		defer close(w.done)
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for {
			// No such line: it has ended, and nobody waited for it yet.
			if peak, err := peakMemory(strconv.Itoa(w.pid)); err == nil {
				w.sampled = max(w.sampled, peak)
			}
			select {
			case <-w.stop:
				return
			case <-tick.C:
			}
		}
	}()
	return w
}

// end stops watching and returns the peak in MiB.
func (w *memoryWatch) end(state *os.ProcessState) float64 {
	close(w.stop)
	<-w.done
	r, ok := state.SysUsage().(*syscall.Rusage)
	if !ok {
		return w.sampled
	}
	waited := float64(r.Maxrss) / 1024
	if own, err := peakMemory("self"); err == nil && waited > own {
		return waited
	}
	return w.sampled
}

// peakMemory is the largest resident memory since exec, MiB. process is a
// number or self.
func peakMemory(process string) (float64, error) {
	v := field("/proc/"+process+"/status", "VmHWM")
	kib, err := strconv.ParseFloat(strings.TrimSuffix(v, " kB"), 64)
	if err != nil {
		return 0, fmt.Errorf("peak memory of process %s: %w", process, err)
	}
	return kib / 1024, nil
}
