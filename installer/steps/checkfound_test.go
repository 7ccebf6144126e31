package steps

import (
	"errors"
	"maps"
	"os"
	"strings"
	"testing"

	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/steps/stepstest"
)

func TestWhatACheckScriptFoundOutOutlivesItsComplaints(t *testing.T) {
	if !apart(t) {
		return
	}
	runtimeAnswers(t)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	images := stepstest.Sealos("#!/bin/sh\nexec " + self + " plain-registry \"$@\"\n")
	script := images[0].Files["scripts/check.sh"]
	// Like scripts of real images: it refuses a host that is in use before it finds anything out.
	script = strings.Replace(script, "command -v apparmor_parser >/dev/null || sed", `[ -e "$BIN_DIR/ran" ] && fail "port 10250 is taken"`+"\nsed", 1)
	images[0].Files["scripts/check.sh"] = script
	file := makeBundle(t, images)
	master := sshHost(t, "127.0.0.2", "right", true)
	t.Setenv("SEALOS_RUNTIME_ROOT", t.TempDir())
	env := map[string]string{"BIN_DIR": "/var/lib/test-bin", "registryConfig": "/var/lib/test-registry-config", "registryPort": freePort(t)}
	install := func() (*Run, error) {
		r := newRun(t, file, t.Output(), master)
		r.Cluster.Env = maps.Clone(env)
		mustCheck(t, r)
		_, err := installer.RunSteps(t.Context(), until("init-master0"), r, r.Report)
		return r, err
	}
	config := func(r *Run) string {
		t.Helper()
		data, err := os.ReadFile(r.RootfsDir() + "/etc/config.toml")
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	r, err := install()
	if err != nil {
		t.Fatal(err)
	}
	if text := config(r); !strings.Contains(text, "disable_apparmor = true\n") {
		t.Fatalf("the check script found out nothing:\n%s", text)
	}
	closeRun(t, r)
	// Another setting, so that the file is rendered anew; the host is in use now.
	env["sandboxImage"] = "pause:3.10"
	if r, err = install(); err != nil {
		t.Fatal(err)
	}
	if text := config(r); !strings.Contains(text, "pause:3.10\"\ndisable_apparmor = true\n") {
		t.Errorf("what the check script found out flipped back:\n%s", text)
	}
	closeRun(t, r)
	// A setting that takes the line away, so that the change cannot be made again.
	env["disableApparmor"] = "perhaps"
	r, err = install()
	var failed *installer.HostError
	if !errors.As(err, &failed) || !strings.Contains(err.Error(), `etc/config.toml has no line "disable_apparmor = false" any more`) {
		t.Errorf("%v", err)
	}
	closeRun(t, r)
	delete(env, "disableApparmor")
	if r, err = install(); err != nil {
		t.Errorf("the settings of before: %v", err)
	}
	closeRun(t, r)
}
