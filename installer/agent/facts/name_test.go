package facts

import (
	"testing"

	"github.com/sealbuild/sealbuild/installer/agent/files/filestest"
)

func TestNameThatABootKeepsIsRead(t *testing.T) {
	for text, want := range map[string]string{
		"SRV-K8S-01\n": "SRV-K8S-01", "# set by hand\n\n  node-1.example  \n": "node-1.example", "": "", "\n#\n": "",
	} {
		m := at(t.TempDir())
		filestest.Write(t, m.Path("/etc/hostname"), text, 0o644)
		if got := m.bootName(); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
	m := at(t.TempDir())
	if got := m.bootName(); got != "" {
		t.Errorf("no file: %q", got)
	}
	filestest.Write(t, m.Path("/etc/HOSTNAME"), "suse-1\n", 0o644)
	if got := m.bootName(); got != "suse-1" {
		t.Errorf("old file: %q", got)
	}
}
