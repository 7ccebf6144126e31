package fleet

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/host"
	"github.com/sealbuild/sealbuild/installer/host/hosttest"
	"github.com/sealbuild/sealbuild/installer/payload"
)

// brought is a fleet of one host that has, or lacks, the stub of this version.
func brought(t *testing.T, has bool) (*Fleet, *hosttest.Fake, string) {
	t.Helper()
	p := payload.OfStub([]byte("the program"))
	stub, err := p.Stub("")
	if err != nil {
		t.Fatal(err)
	}
	fake := hosttest.NewFake(t, "10.0.0.1")
	fake.On([]string{"uname", "-m"}, hosttest.Answer{Stdout: "x86_64\n"})
	code := 1
	if has {
		code = 0
	}
	fake.On([]string{"test", "-x", stub.Path}, hosttest.Answer{Code: code})
	fake.On([]string{"/bin/sh", "-c", findMount, "/var/lib/sealos/bin"}, hosttest.Answer{Stdout: "/ rw\n"})
	fake.On([]string{"/bin/sh", "-c", takeBack, stub.Path, "/var/lib/sealos/bin", "/var/lib/sealos"}, hosttest.Answer{})
	f := New(Options{Payload: p, Jobs: 1, Timeout: time.Minute}, []installer.Host{{IP: netip.MustParseAddr("10.0.0.1"), Master: true}}, nil)
	f.Dial = func(context.Context, *Target) (host.Host, error) { return fake, nil }
	if err := f.Bring(t.Context(), f.Targets[0]); err != nil {
		t.Fatal(err)
	}
	if err := f.TakeBack(t.Context()); err != nil {
		t.Fatal(err)
	}
	return f, fake, stub.Path
}

func TestAStubThatIsThereIsUsedAndStays(t *testing.T) {
	_, fake, path := brought(t, true)
	if _, put := fake.File(path); put {
		t.Error("it was brought again")
	}
	for _, c := range fake.Calls() {
		if len(c.Argv) > 2 && c.Argv[2] == takeBack {
			t.Error("it was taken away")
		}
	}
}

func TestAStubThatWasBroughtIsTakenAwayAgain(t *testing.T) {
	_, fake, path := brought(t, false)
	if f, put := fake.File(path); !put || string(f.Content) != "the program" || f.Mode != 0o755 {
		t.Errorf("%v %+v", put, f)
	}
	if calls := fake.Calls(); calls[len(calls)-1].Argv[2] != takeBack {
		t.Errorf("the last call is %q", calls[len(calls)-1].Argv)
	}
}

func TestOnlyAStubThatNobodyRunsIsTakenAway(t *testing.T) {
	sleep, err := exec.LookPath("sleep")
	if err != nil {
		t.Skip(err)
	}
	program, err := os.ReadFile(sleep)
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "bin")
	stub := filepath.Join(dir, "sealinstall-0123456789ab")
	if err := errors.Join(os.Mkdir(dir, 0o755), os.WriteFile(stub, program, 0o755)); err != nil {
		t.Fatal(err)
	}
	runs := exec.CommandContext(t.Context(), stub, "1000")
	if err := runs.Start(); err != nil {
		t.Fatal(err)
	}
	take := func() []string {
		t.Helper()
		if out, err := exec.Command("/bin/sh", "-c", takeBack, stub, dir).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		left, _ := filepath.Glob(filepath.Dir(dir) + "/*/*")
		return left
	}
	if diff := cmp.Diff([]string{stub}, take()); diff != "" {
		t.Errorf("while it runs: %s", diff)
	}
	_ = runs.Process.Kill()
	_ = runs.Wait()
	if left := take(); len(left) > 0 {
		t.Errorf("%q is left", left)
	}
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the empty directory stays: %v", err)
	}
}
