package files

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/sealbuild/sealbuild/installer/agent"
	"github.com/sealbuild/sealbuild/installer/agent/files/filestest"
)

func ours(names ...string) []agent.HostsEntry {
	return []agent.HostsEntry{{IP: "10.0.0.2", Names: names}}
}

func TestOurLinesComeAndGoAndAllElseStays(t *testing.T) {
	for name, c := range map[string]struct{ before, after string }{
		"empty":                 {"", "10.0.0.2 sealos.hub # sealos\n"},
		"usual":                 {"127.0.0.1 localhost\n::1 localhost\n", "127.0.0.1 localhost\n::1 localhost\n10.0.0.2 sealos.hub # sealos\n"},
		"no final newline":      {"127.0.0.1 localhost", "127.0.0.1 localhost\n10.0.0.2 sealos.hub # sealos"},
		"CRLF":                  {"127.0.0.1 localhost\r\n# x\r\n", "127.0.0.1 localhost\r\n# x\r\n10.0.0.2 sealos.hub # sealos\n"},
		"blank lines":           {"\n\na\n\n", "\n\na\n\n10.0.0.2 sealos.hub # sealos\n"},
		"only a newline":        {"\n", "\n10.0.0.2 sealos.hub # sealos\n"},
		"not a host line":       {"\x00\xff what\n", "\x00\xff what\n10.0.0.2 sealos.hub # sealos\n"},
		"mark in another place": {"# sealos\n1.2.3.4 a # sealos no\n1.2.3.4 b# sealos\n", "# sealos\n1.2.3.4 a # sealos no\n1.2.3.4 b# sealos\n10.0.0.2 sealos.hub # sealos\n"},
		"name taken by others":  {"127.0.0.1 localhost\n9.9.9.9 x Sealos.Hub\nlast\n", "127.0.0.1 localhost\n10.0.0.2 sealos.hub # sealos\n9.9.9.9 x Sealos.Hub\nlast\n"},
		"name with our address": {"10.0.0.2 sealos.hub\nlast\n", "10.0.0.2 sealos.hub\nlast\n10.0.0.2 sealos.hub # sealos\n"},
	} {
		t.Run(name, func(t *testing.T) {
			got := editHosts(c.before, ours("sealos.hub"))
			if diff := cmp.Diff(c.after, got); diff != "" {
				t.Error(diff)
			}
			if again := editHosts(got, ours("sealos.hub")); again != got {
				t.Errorf("not stable: %q", again)
			}
			if diff := cmp.Diff(c.before, editHosts(got, nil)); diff != "" {
				t.Errorf("removal: %s", diff)
			}
		})
	}
}

func TestOurLinesStayWhereTheyAre(t *testing.T) {
	got := editHosts("a\n1.1.1.1 old # sealos\nb\n2.2.2.2 older # sealos \r\nc\n", ours("new"))
	if diff := cmp.Diff("a\n10.0.0.2 new # sealos\nb\nc\n", got); diff != "" {
		t.Error(diff)
	}
}

func FuzzEditHosts(f *testing.F) {
	f.Add("127.0.0.1 localhost\n", "node1", "10.0.0.3")
	f.Add("127.0.0.1 node1\r\n10.0.0.9 x # sealos", "node1", "10.0.0.3")
	f.Add("", "a", "::1")
	f.Add("\n# sealos\n\t # sealos", "b", "fd00::1")
	f.Fuzz(func(t *testing.T, text, name, ip string) {
		entries := []agent.HostsEntry{{IP: ip, Names: []string{name}}}
		if checkEntry(entries[0]) != nil {
			t.Skip()
		}
		after := editHosts(text, entries)
		if again := editHosts(after, entries); again != after {
			t.Fatalf("not stable: %q, then %q", after, again)
		}
		if diff := cmp.Diff(entries, ourHosts(after)); diff != "" {
			t.Fatal(diff)
		}
		// Without our lines, what is left is what was there without them, byte for byte.
		bare := editHosts(text, nil)
		if got := editHosts(after, nil); got != bare {
			t.Fatalf("want %q, got %q", bare, got)
		}
		if !strings.Contains(text, hostsMark) && bare != text {
			t.Fatalf("%q became %q", text, bare)
		}
	})
}

func TestHostsFileKeepsModeOwnerAndIsUntouchedWhenRight(t *testing.T) {
	m := At(t.TempDir())
	name := m.Path(hostsPath)
	filestest.Write(t, name, "127.0.0.1 localhost\n", 0o640)
	if os.Geteuid() == 0 {
		if err := os.Chown(name, 7, 8); err != nil {
			t.Fatal(err)
		}
	}
	for i, want := range []bool{true, false} {
		res, err := m.SetHosts(t.Context(), agent.HostsRequest{Entries: ours("a")})
		if err != nil || res.Changed != want {
			t.Fatalf("call %d: %v, %v", i, res, err)
		}
	}
	var st unix.Stat_t
	if err := unix.Stat(name, &st); err != nil {
		t.Fatal(err)
	}
	if st.Mode&0o7777 != 0o640 || (os.Geteuid() == 0 && (st.Uid != 7 || st.Gid != 8)) {
		t.Errorf("mode %o, owner %d:%d", st.Mode, st.Uid, st.Gid)
	}
	left, _ := filepath.Glob(filepath.Join(filepath.Dir(name), ".*"))
	if len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	if _, err := m.SetHosts(t.Context(), agent.HostsRequest{Entries: []agent.HostsEntry{{IP: "1.2.3.4", Names: []string{"a\nb"}}}}); err == nil {
		t.Error("a name with a newline was taken")
	}
}

func TestHostsFileThatIsAMountIsWrittenInPlace(t *testing.T) {
	m := At(t.TempDir())
	name, source := m.Path(hostsPath), filepath.Join(t.TempDir(), "source")
	filestest.Write(t, name, "", 0o644)
	filestest.Write(t, source, "127.0.0.1 localhost\n# a longer text that has to go\n10.9.9.9 x # sealos\n", 0o644)
	if err := unix.Mount(source, name, "", unix.MS_BIND, ""); err != nil {
		t.Skipf("no bind mounts here: %v", err)
	}
	t.Cleanup(func() { unix.Unmount(name, unix.MNT_DETACH) })
	if _, err := m.SetHosts(t.Context(), agent.HostsRequest{}); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(source)
	if err != nil || string(text) != "127.0.0.1 localhost\n# a longer text that has to go\n" {
		t.Errorf("%q, %v", text, err)
	}
}
