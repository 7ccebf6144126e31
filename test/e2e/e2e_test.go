// Package e2e runs the scenarios on real hosts: `make e2e SCENARIO=name`.
package e2e

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/sealbuild/sealbuild/test/scenario"
	"github.com/sealbuild/sealbuild/test/testbed"
)

var selected = flag.String("scenario", "", "names of the scenarios to run, with commas between them; none runs none, \"all\" all of them")

func TestScenario(t *testing.T) {
	if *selected == "" {
		t.Skip("real hosts are booted only when asked for: make e2e SCENARIO=install")
	}
	if missing := testbed.Missing(); len(missing) > 0 {
		t.Fatalf("this machine cannot boot hosts: %s", strings.Join(missing, "; "))
	}
	known := map[string]bool{}
	var failed []string
	for _, s := range scenario.All() {
		known[s.Name] = true
		if *selected != "all" && !contains(*selected, s.Name) {
			continue
		}
		t.Run(s.Name, func(t *testing.T) {
			// Ctrl-C must take the hosts down too.
			ctx, stop := signal.NotifyContext(context.WithoutCancel(t.Context()), os.Interrupt, syscall.SIGTERM)
			defer stop()
			last := new(tail)
			if err := s.Run(ctx, io.MultiWriter(os.Stdout, last)); err != nil {
				failed = append(failed, fmt.Sprintf("the last lines of %s:\n%s\n%s: %v", s.Name, last, s.Name, err))
				t.Fatal(err)
			}
		})
	}
	// Told once more at the end: whoever reads a long log reads its end.
	for _, f := range failed {
		t.Log(f)
	}
	for name := range strings.SplitSeq(*selected, ",") {
		if name != "all" && !known[name] {
			t.Errorf("no scenario is called %q", name)
		}
	}
}

func contains(list, name string) bool {
	for n := range strings.SplitSeq(list, ",") {
		if n == name {
			return true
		}
	}
	return false
}

// tail keeps the end of what is written to it.
type tail struct {
	mu   sync.Mutex
	text []byte
}

const tailSize = 6 << 10

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.text = append(t.text, p...)
	if extra := len(t.text) - tailSize; extra > 0 {
		t.text = append(t.text[:0], t.text[extra:]...)
	}
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.text)
}
