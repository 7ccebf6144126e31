package verbs_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sealbuild/sealbuild/installer/agent"
	"github.com/sealbuild/sealbuild/installer/agent/agenttest"
	"github.com/sealbuild/sealbuild/installer/agent/files/filestest"
	"github.com/sealbuild/sealbuild/installer/agent/verbs"
)

// fakeSystemd puts a systemctl and a systemd-run into PATH that note what they are asked. State is what `show` prints.
func fakeSystemd(t *testing.T, state string) (calls func() []string) {
	t.Helper()
	dir := t.TempDir()
	log := filepath.Join(dir, "log")
	script := "#!/bin/sh\necho \"$(basename \"$0\") $*\" >> " + log + "\n[ \"$1\" = show ] && cat " + filepath.Join(dir, "state") + "\nexit 0\n"
	filestest.Write(t, filepath.Join(dir, "systemctl"), script, 0o755)
	filestest.Write(t, filepath.Join(dir, "systemd-run"), script, 0o755)
	filestest.Write(t, filepath.Join(dir, "state"), state, 0o644)
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	return func() []string {
		text, _ := os.ReadFile(log)
		os.Remove(log)
		return strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
	}
}

func TestCareStartsOnceForTheSameArguments(t *testing.T) {
	argv := []string{"/var/lib/sealos/bin/sealinstall", "care", "--rs", "10.0.0.1:6443"}
	q := agent.CareRequest{Unit: "sealos-care", Argv: argv}
	running := "ActiveState=active\nDescription=" + verbs.Description(q) + "\n"
	for name, c := range map[string]struct {
		state string
		want  []string
	}{
		"not there": {"LoadState=not-found\nActiveState=inactive\n", []string{
			"systemctl show -p ActiveState -p Description sealos-care.service", "systemctl show -p LoadState sealos-care.service",
			"systemd-run --unit=sealos-care.service --collect --quiet --description=" + verbs.Description(q) + " -p Restart=always -p RestartSec=1 -- " + strings.Join(argv, " "),
		}},
		"running": {running, []string{"systemctl show -p ActiveState -p Description sealos-care.service"}},
		"other arguments": {"LoadState=loaded\nActiveState=active\nDescription=other\n", []string{
			"systemctl show -p ActiveState -p Description sealos-care.service", "systemctl show -p LoadState sealos-care.service",
			"systemctl stop sealos-care.service", "systemctl reset-failed sealos-care.service",
			"systemd-run --unit=sealos-care.service --collect --quiet --description=" + verbs.Description(q) + " -p Restart=always -p RestartSec=1 -- " + strings.Join(argv, " "),
		}},
	} {
		t.Run(name, func(t *testing.T) {
			calls := fakeSystemd(t, c.state)
			if err := agenttest.Local(t).CareStart(t.Context(), "sealos-care", argv); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, calls()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestCareStopOfNothingIsFine(t *testing.T) {
	calls := fakeSystemd(t, "LoadState=not-found\n")
	if err := agenttest.Local(t).CareStop(t.Context(), "sealos-care.service"); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"systemctl show -p LoadState sealos-care.service"}, calls()); diff != "" {
		t.Error(diff)
	}
	for _, bad := range []string{"", "-x", "a b", "a/b", "a@b"} {
		if err := agenttest.Local(t).CareStop(t.Context(), bad); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}
