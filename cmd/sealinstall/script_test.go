package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/sealbuild/sealbuild/installer/fleet"
	"github.com/sealbuild/sealbuild/installer/host/hosttest"
	"github.com/sealbuild/sealbuild/installer/steps/stepstest"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"sealinstall": func() {
		if os.Getenv(patient) != "" {
			fleet.ConnectTimeout = hosttest.NoClock
		}
		main()
	}})
}

// patient is the variable with which the program waits for a login as long as that takes.
const patient = "SEALINSTALL_TEST_PATIENT"

// TestScripts runs the real program. Scripts find a small real bundle as
// $BUNDLE; the state of clusters goes to $SEALOS_RUNTIME_ROOT. No script may
// name an address of this machine's interfaces, 127.0.0.1 included, as a host:
// it would be installed.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			home := filepath.Join(env.WorkDir, "home")
			if err := os.Mkdir(home, 0o700); err != nil {
				return err
			}
			env.Setenv("HOME", home)
			env.Setenv("SEALOS_RUNTIME_ROOT", filepath.Join(env.WorkDir, "state"))
			env.Values[stateKey{}] = &scriptState{}
			name := filepath.Join(env.WorkDir, "tiny.bundle")
			env.Setenv("BUNDLE", name)
			var buf bytes.Buffer
			if err := stepstest.Write(&buf, []byte("#!/bin/false\n"), stepstest.Cluster()); err != nil {
				return err
			}
			return os.WriteFile(name, buf.Bytes(), 0o644)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits": exits, "flip": flip, "cut": cut, "listen": listen, "accepted": accepted,
			"makebundle": makeBundle, "serving": serving, "fetch": fetch, "lacks": lacks, "stop-server": stopServer,
			"pages": pages, "modes": modes, "many": many,
		},
	})
}

// TestScriptsOverSSH runs the real program against two real sshd, which are this machine: $HOST1 and $HOST2.
// What they run finds a journalctl in $JOURNAL/bin that prints the files of its units there.
func TestScriptsOverSSH(t *testing.T) {
	journal := t.TempDir()
	if err := os.Mkdir(filepath.Join(journal, "bin"), 0o755); err != nil {
		t.Fatal(err)
	}
	program := `#!/bin/sh
for arg; do [ "$before" != -u ] || cat "` + journal + `/$arg" 2>/dev/null; before=$arg; done; true
`
	if err := os.WriteFile(filepath.Join(journal, "bin", "journalctl"), []byte(program), 0o755); err != nil {
		t.Fatal(err)
	}
	path := "SetEnv PATH=" + journal + "/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
	one, two := hosttest.StartSSHD(t, "127.0.0.11", path), hosttest.StartSSHD(t, "127.0.0.12", path)
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/ssh",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			home := filepath.Join(env.WorkDir, "home")
			env.Setenv("HOME", home)
			env.Setenv("SEALOS_RUNTIME_ROOT", filepath.Join(env.WorkDir, "state"))
			env.Setenv("HOST1", fmt.Sprintf("%s:%d", one.Address, one.Port))
			env.Setenv("HOST2", fmt.Sprintf("%s:%d", two.Address, two.Port))
			env.Setenv("JOURNAL", journal)
			env.Setenv(patient, "yes")
			env.Values[stateKey{}] = &scriptState{}
			keys := [][]byte{}
			for _, s := range []*hosttest.SSHD{one, two} {
				key, err := os.ReadFile(s.KeyFile)
				if err != nil {
					return err
				}
				keys = append(keys, key)
			}
			if err := os.MkdirAll(filepath.Join(home, ".ssh"), 0o700); err != nil {
				return err
			}
			return errors.Join(
				os.WriteFile(filepath.Join(home, ".ssh", "id_ed25519"), keys[0], 0o600), os.WriteFile(filepath.Join(home, ".ssh", "id_rsa"), keys[1], 0o600),
			)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"exits": exits, "listen": listen, "accepted": accepted, "lacks": lacks},
	})
}
