package host_test

import (
	"bufio"
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sealbuild/sealbuild/installer/host"
)

// asSSH gives what the ssh of this machine makes of a configuration file.
func asSSH(t *testing.T, file, name string) host.Settings {
	t.Helper()
	if _, err := exec.LookPath("ssh"); err != nil {
		t.Skip("no ssh on this machine")
	}
	var errs bytes.Buffer
	cmd := exec.CommandContext(t.Context(), "ssh", "-G", "-F", file, name)
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("ssh -G %s: %v: %s", name, err, errs.String())
	}
	s := host.Settings{}
	for sc := bufio.NewScanner(bytes.NewReader(out)); sc.Scan(); {
		keyword, value, _ := strings.Cut(sc.Text(), " ")
		switch keyword {
		case "user":
			s.User = value
		case "hostname":
			s.HostName = value
		case "port":
			s.Port, _ = strconv.Atoi(value)
		case "proxyjump":
			s.Jump = value
		case "certificatefile":
			s.CertFiles = append(s.CertFiles, value)
		case "identityfile":
			if !strings.HasPrefix(value, "~/.ssh/id_") {
				s.KeyFiles = append(s.KeyFiles, value)
			}
		}
	}
	return s
}

// The configurations of this test ask for nothing that cannot be known here.
func TestConfigurationSaysWhatItSaysToSSH(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("ssh logs in as its own user, the installer as root, where nothing else is said")
	}
	dir := t.TempDir()
	for name, text := range map[string]string{
		"lan":         "Port 2022\nHost 10.0.0.2\n User lan\nMatch host 10.0.0.3\n IdentityFile /keys/lan\n",
		"more/a.conf": "IdentityFile /keys/a\n", "more/b.conf": "Host 10.0.0.4\n User b\n", "more/c.d/x": "",
	} {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, text := range map[string]string{
		"comma lists":      "Match host 10.0.0.2,10.0.0.3\n User two\nMatch host 10.0.*,!10.0.0.4\n User many\nMatch host !10.0.0.4,*\n Port 44\n",
		"users":            "Match user root,admin\n Port 1001\nMatch user ops\n Port 1002\nHost 10.0.0.3\n User ops\nMatch user ops,root\n IdentityFile /keys/ops\n",
		"all":              "Host 10.0.0.2\n User two\nMatch all\n User everybody\n Port 9\n",
		"negated":          "Match !host 10.0.0.2 user root\n Port 2222\nMatch !user root\n User nobody\nMatch !originalhost 10.0.0.3\n IdentityFile /k\n",
		"several criteria": "Match host 10.0.0.* user root originalhost *.2\n Port 7\nMatch user ops host *\n Port 8\n",
		"localuser":        "Match localuser root,me\n User r\nMatch localuser nobody-here\n Port 3\n",
		"host name":        "Host 10.0.0.2\n HostName %h.example\nMatch host *.example\n User named\nMatch originalhost 10.0.0.2\n Port 5\nMatch host 10.0.0.2\n Port 6\n",
		"first counts":     "User first\nHost *\n User second\n IdentityFile /k1\n IdentityFile /k2\n CertificateFile /c1\n CertificateFile /c2\n IdentityFile /k1\n",
		"questions":        "Host 10.0.0.?\n User one\nHost 10.0.0.2?\n User never\nHost 10.0.0.?0\n Port 20\n",
		"quotes, equals":   "Host=10.0.0.2\n User=\"two\"\n Port = 22002\nMatch host \"10.0.0.3\" user=root\n User x # no\nHOST \"10.0.0.4\" 10.0.0.20 # ten\n\tidentityfile \"/a b/c\"\n",
		"host negation":    "Host * !10.0.0.2\n User not2\nHost !10.0.0.3\n User never\n",
		"unknown keywords": "IgnoreUnknown Strange\nStrange thing\nHost *\n ForwardAgent yes\n SendEnv LANG\n Ciphers aes256-ctr\n User u\n",
		"includes":         "Include " + dir + "/lan\nUser after\n",
		"include in block": "Host 10.0.0.3\n Include " + dir + "/lan " + dir + "/missing\nHost *\n User after\n",
		"include pattern":  "Match host 10.0.0.4\n Include " + dir + "/more/*.conf\n Port 17\nMatch all\n User last\n",
		"jumps":            "Host 10.0.0.2\n ProxyJump none\nMatch host 10.0.0.3,10.0.0.4\n ProxyJump me@bastion:2200\n",
		"case":             "MATCH HOST 10.0.0.2\n PORT 12\nmatch All\n uSeR u\n",
		"empty":            "\n# nothing\n   \n",
	} {
		file := filepath.Join(dir, "config")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		u, err := host.ReadUserConfig(file)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		for _, h := range []string{"10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.20"} {
			got, err := u.For(h, "")
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
			if got.User == "" {
				got.User = "root"
			}
			if got.Port == 0 {
				got.Port = 22
			}
			if got.HostName == "" {
				got.HostName = h
			}
			if diff := cmp.Diff(asSSH(t, file, h), got); diff != "" {
				t.Errorf("%s: %s: %s", name, h, diff)
			}
		}
		if w := u.Warnings(); len(w) > 0 {
			t.Errorf("%s: %q", name, w)
		}
	}
}

func TestMatchThatCannotBeKnownIsSkippedWithOneWarning(t *testing.T) {
	ran := filepath.Join(t.TempDir(), "ran")
	for criteria, told := range map[string]int{
		`exec "touch ` + ran + `"`:         1,
		`exec true`:                        1,
		`!exec false`:                      1,
		`final`:                            1,
		`canonical all`:                    1,
		`!final host *`:                    1,
		`host 10.0.0.2,10.0.0.3 exec true`: 1,
		`exec true host 10.9.9.9`:          0, // it would not apply anyhow
		`user nobody exec true`:            0,
		`tagged x`:                         1,
		`localnetwork 10.0.0.0/8`:          1,
		`version OpenSSH_9*`:               1,
		`sessiontype exec`:                 1,
		`weather fine`:                     1,
		`host`:                             1,
		``:                                 1,
		`host * all`:                       1,
		`all exec true`:                    1,
		`!all`:                             1,
		`Exec="touch ` + ran + `" user root,admin`: 1,
	} {
		u := userConfig(t, "Match "+criteria+"\n User wrong\n Port 1\n ProxyJump wrong\nHost *\n User right\n")
		var warnings []string
		for range 2 {
			for _, h := range []string{"10.0.0.2", "10.0.0.3"} {
				for _, user := range []string{"", "root"} {
					got, err := u.For(h, user)
					if err != nil || got.User != "right" || got.Port != 0 || got.Jump != "" {
						t.Errorf("%q: %+v, %v", criteria, got, err)
					}
				}
			}
			warnings = append(warnings, u.Warnings()...)
		}
		if len(warnings) != told || told > 0 && !strings.Contains(warnings[0], "config line 1: this Match is skipped") {
			t.Errorf("%q: %q", criteria, warnings)
		}
	}
	if _, err := os.Stat(ran); err == nil {
		t.Error("the command of a Match was run")
	}
}

func TestUserThatWasNamedIsMatched(t *testing.T) {
	u := userConfig(t, "Match user ops\n Port 2200\n IdentityFile /keys/%r\nMatch user root\n Port 22\n")
	for user, want := range map[string]host.Settings{
		"": {Port: 22}, "root": {Port: 22}, "ops": {Port: 2200, KeyFiles: []string{"/keys/ops"}}, "other": {},
	} {
		got, err := u.For("10.0.0.2", user)
		if err != nil {
			t.Error(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%q: %s", user, diff)
		}
	}
}

func TestConfigurationThatIncludesItselfIsRefused(t *testing.T) {
	file := filepath.Join(t.TempDir(), "config")
	if err := os.WriteFile(file, []byte("Include "+file+" "+file+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := host.ReadUserConfig(file); err == nil || !strings.Contains(err.Error(), "circle") {
		t.Errorf("%v", err)
	}
	if _, err := host.ReadUserConfig(filepath.Dir(file)); err == nil {
		t.Error("a directory was read")
	}
}

func TestProxyCommandIsToldOnce(t *testing.T) {
	u := userConfig(t, "Host 10.*\n ProxyCommand nc %h %p\nHost *\n ProxyJump bastion\n")
	for _, h := range []string{"10.0.0.2", "10.0.0.3", "192.0.2.1"} {
		if _, err := u.For(h, ""); err != nil {
			t.Error(err)
		}
	}
	if w := u.Warnings(); len(w) != 1 || !strings.Contains(w[0], "line 2: ProxyCommand is not followed") {
		t.Errorf("%q", w)
	}
}
