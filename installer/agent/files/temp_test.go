package files

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sealbuild/sealbuild/ground/durable"
	"github.com/sealbuild/sealbuild/installer/agent"
)

func TestTemporaryFileOfAKilledAgentGoesWithTheNextWrite(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "admin.conf")
	killed, err := durable.Create(name, tempPrefix)
	if err != nil {
		t.Fatal(err)
	}
	if err := killed.Close(); err != nil { // as the kernel does it
		t.Fatal(err)
	}
	other, err := durable.Create(filepath.Join(dir, "scheduler.conf"), tempPrefix)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	living, err := durable.Create(name, tempPrefix)
	if err != nil {
		t.Fatal(err)
	}
	defer living.Close()
	if _, err := At("").writeFile(agent.File{Path: name, Mode: 0o600, Content: []byte("key")}); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range entries {
		got = append(got, e.Name())
	}
	want := []string{filepath.Base(living.Name()), filepath.Base(other.Name()), "admin.conf"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("what is there (-want +got):\n%s", diff)
	}
}
