package verbs_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/sealbuild/sealbuild/installer/agent"
	"github.com/sealbuild/sealbuild/installer/agent/agenttest"
)

func TestFactsOfThisMachineAreThere(t *testing.T) {
	agenttest.Everywhere(t, func(t *testing.T, a *agent.Agent) {
		before := time.Now().UnixNano()
		f, err := a.Facts(t.Context(), agent.FactsRequest{Modules: []string{"no_such_module"}, Tools: []string{"bash", "no-such-tool"}, Paths: []string{"/var/lib/none/at/all"}})
		if err != nil {
			t.Fatal(err)
		}
		name, _ := os.Hostname()
		if f.Hostname != name || f.CPUs == 0 || f.MemoryBytes == 0 || f.Kernel == "" || len(f.Addresses) == 0 || len(f.Mounts) == 0 {
			t.Errorf("%+v", f)
		}
		if f.Modules["no_such_module"] || !f.Tools["bash"] || f.Tools["no-such-tool"] {
			t.Errorf("modules %v, tools %v", f.Modules, f.Tools)
		}
		if d := f.Disks["/var/lib/none/at/all"]; d.Path == "" || d.Total == 0 {
			t.Errorf("disk %+v", d)
		}
		if after := time.Now().UnixNano(); f.UnixNano < before || f.UnixNano > after {
			t.Errorf("its clock shows %d, that of this test %d before and %d after", f.UnixNano, before, after)
		}
	})
}

func TestWhoHoldsALockIsToldWithoutTakingIt(t *testing.T) {
	a := agenttest.Local(t)
	path := filepath.Join(t.TempDir(), "lock")
	ask := func() string {
		f, err := a.Facts(t.Context(), agent.FactsRequest{Lock: path})
		if err != nil {
			t.Fatal(err)
		}
		return f.LockedBy
	}
	if by := ask(); by != "" {
		t.Errorf("before: %q", by)
	}
	if err := os.WriteFile(path, []byte("one that was killed"), 0o600); err != nil {
		t.Fatal(err)
	}
	if by := ask(); by != "" {
		t.Errorf("of a file that nobody holds: %q", by)
	}
	l, err := a.Lock(t.Context(), path, "process 7 on here")
	if err != nil {
		t.Fatal(err)
	}
	if by := ask(); by != "process 7 on here" {
		t.Errorf("while it is held: %q", by)
	}
	l.Release()
	if by := ask(); by != "" {
		t.Errorf("after: %q", by)
	}
}
