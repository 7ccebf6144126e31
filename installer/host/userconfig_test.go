package host_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sealbuild/sealbuild/installer/host"
	"github.com/sealbuild/sealbuild/installer/host/hosttest"
)

func userConfig(t *testing.T, text string) *host.UserConfig {
	t.Helper()
	file := filepath.Join(t.TempDir(), "config")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	u, err := host.ReadUserConfig(file)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func TestUserConfigurationIsReadAsSSHReadsIt(t *testing.T) {
	t.Setenv("HOME", "/home/me")
	u := userConfig(t, `# mine
Host bastion
  HostName bastion.example
  User jump
Host 10.0.0.* !10.0.0.9
  User ops
  Port 2222
  IdentityFile ~/.ssh/site
  IdentityFile /keys/%r@%h
  ProxyJump bastion,second:2022
Match host 10.0.1.1
  User matched
Host 10.0.2.1
  HostName %h.internal
  ProxyJump none
Host *
  User everybody
  IdentityFile none
`)
	for name, want := range map[string]host.Settings{
		"10.0.0.5": {User: "ops", Port: 2222, KeyFiles: []string{"/home/me/.ssh/site", "/keys/ops@10.0.0.5"}, Jump: "bastion,second:2022"},
		"10.0.0.9": {User: "everybody"},
		"10.0.1.1": {User: "matched"},
		"10.0.2.1": {User: "everybody", HostName: "10.0.2.1.internal"},
		"bastion":  {User: "jump", HostName: "bastion.example"},
	} {
		got, err := u.For(name, "")
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
	if _, err := userConfig(t, "Host a\n Port many\n").For("a", ""); err == nil {
		t.Error("a port that is none was taken")
	}
	none, err := host.ReadUserConfig("/no/such/file")
	if err != nil {
		t.Fatal(err)
	}
	if got, err := none.For("a", ""); err != nil || got.User != "" {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestJumpHostsOfTheConfigurationAreFollowed(t *testing.T) {
	first, second, last := hosttest.StartSSHD(t, "127.0.0.2"), hosttest.StartSSHD(t, "127.0.0.3"), hosttest.StartSSHD(t, "127.0.0.4")
	u := userConfig(t, "Host outer\n HostName 127.0.0.2\n Port "+port(first.Port)+"\n IdentityFile "+first.KeyFile+
		"\nHost inner\n HostName 127.0.0.3\n Port "+port(second.Port)+"\n IdentityFile "+second.KeyFile+"\n ProxyJump outer\n"+
		"Host round\n ProxyJump about\nHost about\n ProxyJump round\n")
	like := host.SSHConfig{User: "root", HostKey: host.Off}
	via, all, err := u.Jumps("inner", like)
	if err != nil || len(all) != 2 {
		t.Fatalf("%d jump hosts, %v", len(all), err)
	}
	for _, j := range all {
		defer j.Close()
	}
	h := dial(t, host.SSHConfig{Address: last.Address, Port: last.Port, KeyFiles: []string{last.KeyFile}, HostKey: host.Off, Via: via})
	if got := output(t, h, "echo", "hello"); got != "hello\n" {
		t.Errorf("%q", got)
	}
	if _, _, err := u.Jumps("round", like); err == nil {
		t.Error("a circle was followed")
	}
	if via, _, err := u.Jumps("none", like); via != nil || err != nil {
		t.Errorf("%v, %v", via, err)
	}
}

func FuzzUserConfig(f *testing.F) {
	for _, s := range []string{
		"Host a\n User b\n", "Match all\nPort 22\n", "Host *\nIdentityFile ~/%h%%\n", "Host", "\x00", "Host a\n  ProxyJump=b\n",
		"Match host 10.*,!10.0.0.9 user ops\nUser x\n", "Match exec \"rm -rf /\" host *\nUser x\n", "Match !host \"a b\" final\n", "Match\n", "Match host\n", "Match =all\n",
		"Match host=10.0.0.5 !user=root\nCertificateFile ${HOME}/c\n", "Host \"a\n", "Include /dev/null\nInclude\n", "Match originalhost * localuser root,!me\nHostName %h.%%\n", "ProxyCommand x\n",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if strings.Contains(strings.ToLower(text), "include") {
			return // of whatever lies on this machine
		}
		file := filepath.Join(t.TempDir(), "config")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		u, err := host.ReadUserConfig(file)
		if err != nil {
			return
		}
		for _, user := range []string{"", "ops"} {
			if s, err := u.For("10.0.0.5", user); err == nil && (s.Port < 0 || s.Port > 65535) {
				t.Errorf("%+v", s)
			}
		}
		if lines := strings.Count(text, "\n") + 1; len(u.Warnings()) > lines || len(u.Warnings()) > 0 {
			t.Error("more than one warning of a line")
		}
	})
}
