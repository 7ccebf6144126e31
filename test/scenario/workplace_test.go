package scenario

import (
	"context"
	"errors"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Two runs at once once wrote their bundles into one file.
func TestEveryRunHasABundleOfItsOwn(t *testing.T) {
	cache := t.TempDir()
	var ended []string
	end := func(dir string) error {
		ended = append(ended, dir)
		return nil
	}
	one, err := newWorkplace(cache, end)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(one.path("sealinstall"), []byte("one"), 0o755); err != nil {
		t.Fatal(err)
	}
	two, err := newWorkplace(cache, end)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(two.path("sealinstall"), []byte("two"), 0o755); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(one.path("sealinstall")); err != nil || string(got) != "one" {
		t.Errorf("beside another run the bundle holds %q (%v)", got, err)
	}
	// A killed run loses its lock, and nothing else.
	if err := one.held.Close(); err != nil {
		t.Fatal(err)
	}
	three, err := newWorkplace(cache, end)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(one.dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("what a killed run left is still there: %v", err)
	}
	if diff := cmp.Diff([]string{one.dir}, ended); diff != "" {
		t.Errorf("runs whose processes were ended (-want +got):\n%s", diff)
	}
	if got, err := os.ReadFile(two.path("sealinstall")); err != nil || string(got) != "two" {
		t.Errorf("a run that lives lost its bundle: %q (%v)", got, err)
	}
	if err := errors.Join(two.remove(), three.remove()); err != nil {
		t.Error(err)
	}
	if left, err := os.ReadDir(cache + "/runs"); err != nil || len(left) > 0 {
		t.Errorf("runs that ended left %v (%v)", left, err)
	}
}

func TestRunsBuildOneAfterAnother(t *testing.T) {
	cache := t.TempDir()
	done, err := oneBuilds(t.Context(), cache)
	if err != nil {
		t.Fatal(err)
	}
	impatient, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := oneBuilds(impatient, cache); !errors.Is(err, context.Canceled) {
		t.Errorf("a second run builds beside the first: %v", err)
	}
	if err := done(); err != nil {
		t.Fatal(err)
	}
	if done, err = oneBuilds(t.Context(), cache); err != nil {
		t.Fatal(err)
	}
	if err := done(); err != nil {
		t.Error(err)
	}
}
