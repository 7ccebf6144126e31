package main

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/sealbuild/sealbuild/installer/steps/stepstest"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"sealinstall": main})
}

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
		},
	})
}
