package main

import (
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
)

// The table is made by newer modules than the one that is built with. What these plan for versions to come may differ.
func TestTheTableIsWhatTheTypesOfKubernetesSay(t *testing.T) {
	text, err := os.ReadFile("../../installer/compat/apis/removed.txt")
	if err != nil {
		t.Fatal(err)
	}
	table, upTo := map[kind]int{}, 0
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); len(f) == 3 {
			if table[kind{f[0], f[1]}], err = strconv.Atoi(f[2]); err != nil {
				t.Fatal(err)
			}
		} else if len(f) == 2 && f[0] == "upto" {
			if upTo, err = strconv.Atoi(f[1]); err != nil {
				t.Fatal(err)
			}
		}
	}
	seen := 0
	for _, module := range []string{"k8s.io/api", "k8s.io/apiextensions-apiserver"} {
		out, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Dir}}", module).CombinedOutput()
		dir := strings.TrimSpace(string(out))
		if err != nil || dir == "" {
			t.Errorf("%s: %v: %s", module, err, out)
			continue
		}
		found, err := kinds(dir)
		if err != nil {
			t.Fatal(err)
		}
		for k, in := range found {
			switch told, ok := table[k]; {
			case in == never, in > upTo && told > upTo:
			case !ok:
				t.Errorf("%s: %s %s is removed in 1.%d, and the table does not know it: run test/removals", module, k.version, k.name, in)
			case told != in:
				t.Errorf("%s: %s %s is removed in 1.%d, and the table says 1.%d", module, k.version, k.name, in, told)
			default:
				seen++
			}
		}
	}
	if seen < 60 {
		t.Errorf("%d kinds were compared: this test sees nothing", seen)
	}
}
