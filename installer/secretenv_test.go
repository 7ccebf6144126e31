package installer

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestNamesOfSecretsAreKnownByTheirParts(t *testing.T) {
	for _, name := range []string{
		"registryPassword", "PASSWORD", "PASS", "DB_PASS", "dbPass", "dbpass", "MYSQL_PWD", "mysqlPwd", "DBPWD", "ROOT_PASSWD", "rootpw", "KEY", "API_KEY", "apiKey", "apikey", "APIKey", "SSH_KEY", "keys",
		"TOKEN", "GITHUB_TOKEN", "authToken", "AUTHTOKEN", "SECRET", "AWS_SECRET_ACCESS_KEY", "clientSecret", "MYSECRETS", "CREDENTIAL", "CREDENTIALS", "gcpCredentials", "DSN", "SENTRY_DSN",
		"AUTH", "BASIC_AUTH", "registryAuth", "PRIVATE", "PRIVATE_KEY", "tls.private-key", "PASSPHRASE", "KEY_PASSPHRASE", "mysql.root-password", "PASSWORD1", "TOKEN2", "S3_SECRET_KEY_ID",
	} {
		if !SecretName(name) {
			t.Errorf("%s is no secret", name)
		}
	}
	for _, name := range []string{
		"", "SITE", "KEYBOARD", "KEYBOARD_LAYOUT", "MONKEY", "monkeyBars", "COMPASS", "BYPASS", "PASSENGER", "AUTHOR", "AUTHORITY", "TOKENIZER", "KEYCLOAK_HOST", "HOCKEY", "TURKEY", "registryUsername",
		"PASSWORD_FILE", "KEY_PATH", "AUTH_MODE", "TOKEN_TTL", "KEY_SIZE", "PRIVATE_IP", "PRIVATE_SUBNET", "AUTH_TYPE", "criData", "defaultVIP", "SEALOS_SYS_RUN_MODE", "spinner", "PINE",
	} {
		if SecretName(name) {
			t.Errorf("%s is a secret", name)
		}
	}
}

func TestValuesTellSecretsToo(t *testing.T) {
	for _, c := range []struct {
		key, value string
		want       bool
	}{
		{"PWD", "/srv/here", false},
		{"OLDPWD", "/", false},
		{"PWD", "hunter2", true},
		{"BASIC_AUTH", "true", false},
		{"AUTH", "None", false},
		{"AUTH", "bob:hunter2", true},
		{"ROOT_PASSWORD", "true", true},
		{"DATABASE_URL", "postgres://app:hunter2@db/app", true},
		{"DATABASE_URL", "postgres://app:hun ter%zz@db/app", true},
		{"DATABASE_URL", "postgres://app@db/app", false},
		{"MIRROR", "https://mirror.example.org/x@y", false},
	} {
		if got := SecretEnv(c.key, c.value); got != c.want {
			t.Errorf("%s=%s: %t", c.key, c.value, got)
		}
	}
	c := &Cluster{Secret: []string{"SITE_WORD"}}
	got := c.Secrets(map[string]string{"SITE_WORD": "xyzzy", "URL": "redis://:p%40ss@r", "A": "b"})
	slices.Sort(got)
	if diff := cmp.Diff([]string{"p@ss", "redis://:p%40ss@r", "xyzzy"}, got); diff != "" {
		t.Error(diff)
	}
}

// rewritten writes a Clusterfile and reads it again, as the next run does.
func rewritten(t *testing.T, c *Cluster) (*Cluster, string) {
	t.Helper()
	text, err := c.Clusterfile(time.Time{}, Status{Phase: PhaseSuccess})
	if err != nil {
		t.Fatal(err)
	}
	again, err := ParseClusterfile("Clusterfile", text)
	if err != nil {
		t.Fatal(err)
	}
	return again, string(text)
}

func TestAVariableThatIsToldToBeSecretIsRecordedByNameOnly(t *testing.T) {
	c, err := ParseClusterfile("site.yaml", []byte(`apiVersion: apps.sealos.io/v1beta1
kind: Cluster
metadata: {name: default}
spec:
  hosts: [{ips: ["10.0.0.2:22"], roles: [master], env: [HOST_WORD=xyzzy, ZONE=a]}]
  env: [SITE_WORD=plugh, DB_URL=postgres://a:hunter2@db/a, SITE=north]
`))
	if err != nil {
		t.Fatal(err)
	}
	c.Secret = []string{"SITE_WORD", "HOST_WORD", "LATER"}
	if err := c.Complete(); err != nil {
		t.Fatal(err)
	}
	again, text := rewritten(t, c)
	for _, secret := range []string{"xyzzy", "plugh", "hunter2"} {
		if strings.Contains(text, secret) {
			t.Errorf("%s is recorded:\n%s", secret, text)
		}
	}
	if got, want := again.Annotations[annotationSecrets], "10.0.0.2/HOST_WORD,DB_URL,LATER,SITE_WORD"; got != want {
		t.Errorf("names: %s, want %s", got, want)
	}
	if again.Env["SITE"] != "north" || again.Hosts[0].Env["ZONE"] != "a" {
		t.Errorf("what is no secret: %v %v", again.Env, again.Hosts[0].Env)
	}
	warnings := strings.Join(again.Warnings(), "\n")
	for _, name := range []string{"HOST_WORD", "DB_URL", "SITE_WORD"} {
		if !strings.Contains(warnings, name) {
			t.Errorf("nobody is told that %s is missing:\n%s", name, warnings)
		}
	}

	// It stays secret when it is given again without the flag, and also after a run without it.
	again, _ = rewritten(t, again)
	again.Env["SITE_WORD"] = "plugh again"
	if !again.SecretEnv("SITE_WORD", "plugh again") || !again.SecretEnv("LATER", "x") {
		t.Error("what was told once is forgotten")
	}
	if _, text := rewritten(t, again); strings.Contains(text, "plugh") {
		t.Errorf("it is recorded the second time:\n%s", text)
	}
	again.Env["SITE_WORD"] = ""
	if last, _ := rewritten(t, again); strings.Contains(last.Annotations[annotationSecrets], "SITE_WORD") {
		t.Error("a variable that is given empty is still asked for")
	}
}

func TestARegistryPasswordThatCannotBeKeptIsRefused(t *testing.T) {
	for password, want := range map[string]string{
		"": "is empty", strings.Repeat("x", 73): "at most 72", "two\nlines": "end of a line", "not\xfftext": "no client can send", "tab\there": "no client can send",
		"1": "", "passw0rd": "", ` p<a"ss\word `: "", "müßig": "",
	} {
		c := &Cluster{Hosts: []Host{{IP: netip.AddrFrom4([4]byte{127, 0, 0, 2}), Master: true}}, Env: map[string]string{"registryPassword": password}}
		err := c.Complete()
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", password, err)
		}
		if err != nil && password != "" && strings.Contains(err.Error(), password) {
			t.Errorf("the message tells it: %v", err)
		}
	}
	c := &Cluster{Hosts: []Host{{IP: netip.AddrFrom4([4]byte{127, 0, 0, 2}), Master: true, Env: map[string]string{"registryPassword": "x"}}}}
	if err := c.Complete(); err == nil || !strings.Contains(err.Error(), "of its own") {
		t.Errorf("of one host: %v", err)
	}
	c = &Cluster{Hosts: []Host{{IP: netip.AddrFrom4([4]byte{127, 0, 0, 2}), Master: true}}, Env: map[string]string{"registryUsername": "a:b"}}
	if err := c.Complete(); err == nil {
		t.Error("a user name with a colon is taken")
	}
	c = &Cluster{Hosts: []Host{{IP: netip.AddrFrom4([4]byte{127, 0, 0, 2}), Master: true}}, Secret: []string{"A=b"}}
	if err := c.Complete(); err == nil {
		t.Error("a value is taken for the name of a secret")
	}
}
