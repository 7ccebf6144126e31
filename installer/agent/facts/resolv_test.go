package facts

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sealbuild/sealbuild/installer/agent"
	"github.com/sealbuild/sealbuild/installer/agent/files/filestest"
)

func TestFilesWithNameServersAreReadAsTheySpeakForTheHost(t *testing.T) {
	for name, c := range map[string]struct {
		files map[string]string
		want  []agent.ResolvFile
	}{
		"none": {},
		"a file that somebody wrote": {
			map[string]string{etcResolv: "# x\nsearch a.example  b.example\noptions edns0 timeout:1\nnameserver 10.0.0.1\nnameserver 10.0.0.1\nnameserver nonsense\n", resolvedResolv: "nameserver 10.0.0.9\n"},
			[]agent.ResolvFile{{Path: etcResolv, Servers: []string{"10.0.0.1"}, Rest: []string{"search a.example b.example", "options edns0 timeout:1"}}},
		},
		"the stub of systemd-resolved": {
			map[string]string{etcResolv: "nameserver 127.0.0.53\noptions edns0\n", resolvedResolv: "nameserver 10.0.0.9\nsearch a\n"},
			[]agent.ResolvFile{
				{Path: etcResolv, Servers: []string{}, Others: true, Rest: []string{"options edns0"}},
				{Path: resolvedResolv, Servers: []string{"10.0.0.9"}, Rest: []string{"search a"}},
			},
		},
		"systemd-resolved past /etc/resolv.conf": {
			map[string]string{resolvedResolv: "nameserver 10.0.0.9\n"}, []agent.ResolvFile{{Path: resolvedResolv, Servers: []string{"10.0.0.9"}}},
		},
		"NetworkManager's dnsmasq": {
			map[string]string{etcResolv: "nameserver 127.0.1.1\n", managerResolv: "nameserver 10.0.0.8\n"},
			[]agent.ResolvFile{{Path: etcResolv, Servers: []string{}, Others: true}, {Path: managerResolv, Servers: []string{"10.0.0.8"}}},
		},
		"servers of a link": {
			map[string]string{etcResolv: "nameserver fe80::1%eth0\nnameserver fe80::2\nnameserver 10.0.0.1\n"},
			[]agent.ResolvFile{{Path: etcResolv, Servers: []string{"10.0.0.1"}, Others: true}},
		},
	} {
		m := at(t.TempDir())
		for file, text := range c.files {
			filestest.Write(t, m.Path(file), text, 0o644)
		}
		if diff := cmp.Diff(c.want, m.resolvFiles()); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}
