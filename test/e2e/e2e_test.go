// Package e2e runs the scenarios on real hosts: `make e2e SCENARIO=name`.
package e2e

import (
	"context"
	"flag"
	"os"
	"os/signal"
	"strings"
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
	for _, s := range scenario.All() {
		known[s.Name] = true
		if *selected != "all" && !contains(*selected, s.Name) {
			continue
		}
		t.Run(s.Name, func(t *testing.T) {
			// Ctrl-C must take the hosts down too.
			ctx, stop := signal.NotifyContext(context.WithoutCancel(t.Context()), os.Interrupt, syscall.SIGTERM)
			defer stop()
			if err := s.Run(ctx, os.Stdout); err != nil {
				t.Fatal(err)
			}
		})
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
