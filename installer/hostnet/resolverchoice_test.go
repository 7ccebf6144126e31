package hostnet

import (
	"net/netip"
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
