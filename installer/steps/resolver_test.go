package steps

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sealbuild/sealbuild/installer/agent"
)

func TestPodsGetAFileThatIsThereAndNamesServersThatTheyCanUse(t *testing.T) {
	const etc, resolved = "/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"
	const refuses = "# this host has no name server that pods can use; 10.0.0.2 refuses at once\nnameserver 10.0.0.2\n"
	for name, c := range map[string]struct {
		files []agent.ResolvFile
		link  string
		text  string
	}{
		"no file":                   {text: refuses},
		"no server":                 {files: []agent.ResolvFile{{Path: etc}}, text: refuses},
		"a static file":             {files: []agent.ResolvFile{{Path: etc, Servers: []string{"10.0.0.53"}}}, link: etc},
		"systemd-resolved":          {files: []agent.ResolvFile{{Path: etc, Others: true}, {Path: resolved, Servers: []string{"10.0.0.53"}}}, link: resolved},
		"resolved without a server": {files: []agent.ResolvFile{{Path: etc, Others: true}, {Path: resolved}}, text: refuses},
		"only a local resolver":     {files: []agent.ResolvFile{{Path: etc, Others: true}}, text: refuses},
		"more than are asked":       {files: []agent.ResolvFile{{Path: etc, Servers: []string{"10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4"}}}, link: etc},
		"IPv6 beside IPv4":          {files: []agent.ResolvFile{{Path: etc, Servers: []string{"fd00::53", "10.0.0.53"}}}, link: etc},
		"IPv6 alone":                {files: []agent.ResolvFile{{Path: etc, Servers: []string{"fd00::53"}}}, text: refuses},
		"a local resolver beside others": {
			files: []agent.ResolvFile{{Path: etc, Others: true, Servers: []string{"10.0.0.1", "fd00::1", "10.0.0.2", "10.0.0.3", "10.0.0.4"}, Rest: []string{"search a.example", "options timeout:1"}}},
			text:  "# of this host's name servers those that pods can use; the others are the host's own\nnameserver 10.0.0.1\nnameserver 10.0.0.2\nnameserver 10.0.0.3\nsearch a.example\noptions timeout:1\n",
		},
	} {
		want := agent.File{Link: c.link}
		if c.text != "" {
			want = agent.File{Own: true, Mode: 0o644, Content: []byte(c.text)}
		}
		if diff := cmp.Diff(want, resolver(c.files, netip.MustParseAddr("10.0.0.2"))); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

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
	docs, err := r.planKubeadm()
	if err != nil || len(docs) != 1 || !strings.Contains(docs[0].Documents, "resolvConf: /var/lib/sealos/data/default/etc/resolv.conf\n") {
		t.Errorf("%v:\n%+v", err, docs)
	}
}
