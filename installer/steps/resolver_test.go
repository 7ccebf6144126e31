package steps

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sealbuild/sealbuild/installer/plan"

	"github.com/sealbuild/sealbuild/installer/agent"
)

func TestEveryKubeletIsToldOneNameThatEachHostFillsItself(t *testing.T) {
	w := newWorld(t, memoryDir(t), simBundle(t), 1, 2)
	machines := w.Machines()
	const resolved = "/run/systemd/resolve/resolv.conf"
	machines[0].Is = func(f *agent.Facts) { // systemd-resolved on the first master only
		f.ResolvFiles = []agent.ResolvFile{{Path: "/etc/resolv.conf", Others: true}, {Path: resolved, Servers: []string{"10.0.0.53"}}}
	}
	machines[1].Is = func(f *agent.Facts) {
		f.ResolvFiles = []agent.ResolvFile{{Path: "/etc/resolv.conf", Servers: []string{"10.0.0.53"}}}
	}
	if _, err := w.run(t.Context(), Install()); err != nil {
		t.Fatal(err)
	}
	const file = "/var/lib/sealos/data/default/etc/resolv.conf"
	leadsTo := func(i int) string {
		t.Helper()
		name := filepath.Join(machines[i].Root(), file)
		if to, err := os.Readlink(name); err == nil {
			return to
		}
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	for i, want := range []string{resolved, "/etc/resolv.conf", "# this host has no name server that pods can use; 10.77.0.3 refuses at once\nnameserver 10.77.0.3\n"} {
		if got := leadsTo(i); got != want {
			t.Errorf("host %d: %q, want %q", i, got, want)
		}
	}
	if changes, err := w.run(t.Context(), Install()); err != nil || changes != 0 {
		t.Errorf("second run: %d changes, %v", changes, err)
	}
	// A node that has joined loses its name server, and another gets one.
	machines[1].Is, machines[2].Is = nil, machines[1].Is
	if changes, err := w.run(t.Context(), Install()); err != nil || changes != 2 {
		t.Errorf("after the change: %d changes, %v", changes, err)
	}
	if got := leadsTo(1); !strings.Contains(got, "10.77.0.2 refuses at once") {
		t.Errorf("host 1: %q", got)
	}
	if got := leadsTo(2); got != "/etc/resolv.conf" {
		t.Errorf("host 2: %q", got)
	}
	if _, err := w.run(t.Context(), Reset()); err != nil {
		t.Fatal(err)
	}
	if bad := w.Gone(); len(bad) > 0 {
		t.Error(bad)
	}
}

func TestKubeletOfEveryHostIsToldTheFileOfTheInstaller(t *testing.T) {
	r := loaded(t, simImages(), oneMaster)
	r.Targets[0].Facts.Hostname = "host"
	docs, err := plan.Documents(r.Site)
	if err != nil || len(docs) != 1 || !strings.Contains(docs[0].Documents, "resolvConf: /var/lib/sealos/data/default/etc/resolv.conf\n") {
		t.Errorf("%v:\n%+v", err, docs)
	}
}
