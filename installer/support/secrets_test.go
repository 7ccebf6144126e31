package support

import (
	"bytes"
	"compress/gzip"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"filippo.io/age"
	"filippo.io/age/agessh"
	"golang.org/x/crypto/ssh"
)

// planted is one secret, and what may not be found of it in a bundle.
type planted struct {
	name string
	gone []string
}

// plants makes secrets and remembers them.
type plants struct {
	t   testing.TB
	all []planted
}

// word makes a secret that nobody knows.
func (p *plants) word(name string) string {
	raw := make([]byte, 12)
	rand.Read(raw)
	secret := "Z" + hex.EncodeToString(raw)
	p.all = append(p.all, planted{name, []string{secret, base64.StdEncoding.EncodeToString([]byte(secret))[:24]}})
	return secret
}

// key makes a private key in PEM.
func (p *plants) key(name string) string {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		p.t.Fatal(err)
	}
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		p.t.Fatal(err)
	}
	text := string(pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}))
	lines := strings.Split(text, "\n")
	p.all = append(p.all, planted{name, []string{lines[1][:32], lines[2][10:42], lines[3][:20], base64.StdEncoding.EncodeToString([]byte(text))[60:100]}})
	return text
}

func TestNoneOfThirtyPlantedSecretsInTenShapesIsInABundle(t *testing.T) {
	s := newSim(t, 2, true)
	m, other := s.hosts[0], s.hosts[1]
	m.api = newAPI()
	p := &plants{t: t}
	b64 := func(text string) string { return base64.StdEncoding.EncodeToString([]byte(text)) }
	var journal, pod, process strings.Builder
	say := func(format string, args ...any) {
		fmt.Fprintf(&journal, "2026-01-02T03:04:05+0000 m1 app[7]: "+format+"\n", args...)
	}

	// Known by value: made by the installer, and told by nothing around them.
	pull, push := p.word("registry password"), p.word("registry push password")
	m.write("/var/lib/sealos/data/default/etc/registry-password", pull+"\n")
	m.write("/var/lib/sealos/data/default/etc/registry-push-password", push+"\n")
	say("odd line with %s in it", pull)
	ca, kubelet, admin := p.key("authority"), p.key("kubelet's key"), p.key("administrator's key")
	m.write("/etc/kubernetes/pki/ca.key", ca)
	other.write("/var/lib/kubelet/pki/kubelet-client-current.pem", kubelet)
	m.write("/etc/kubernetes/admin.conf", "users:\n- user:\n    client-key-data: "+b64(admin)+"\n")
	say("a part of a key: %s", strings.Split(ca, "\n")[2][8:])
	say("a key of another host: %s", strings.Split(kubelet, "\n")[1])
	say("dump of %s", b64(admin)[40:])
	sealed := p.word("encryption of etcd")
	m.write("/etc/kubernetes/manifests/kube-apiserver.yaml", "    - --encryption-provider-config="+m.root+"/etc/kubernetes/enc.yaml\n")
	m.write("/etc/kubernetes/enc.yaml", "providers:\n- aescbc:\n    keys:\n    - name: key1\n      secret: "+b64(sealed)+"\n")
	p.all[len(p.all)-1].gone = append(p.all[len(p.all)-1].gone, b64(sealed))
	say("it has read %s from somewhere", b64(sealed))
	given := p.word("variable marked secret")
	s.Redact.Hide(given)
	say("using %s", given)

	// 1 env, 2 URL, 3 base64
	m.write("/etc/systemd/system/kubelet.service.d/10.conf", "[Service]\nEnvironment=\"HTTP_PASSWORD="+p.word("env of a unit")+"\"\n")
	say("starting with API_TOKEN=%s MODE=fast", p.word("env in a log"))
	m.write("/etc/default/kubelet", "export DB_PASS="+p.word("env in a file")+"\n")
	say("dial postgres://app:%s@10.0.0.9:5432/db", p.word("URL in a log"))
	m.write("/etc/containerd/config.toml", "endpoint = \"https://u:"+p.word("URL in TOML")+"@mirror/\"\n")
	fmt.Fprintf(&process, "1 0 root app --proxy=http://u:%s@proxy:3128\n", p.word("URL in a process"))
	say("sent %s", b64("user:"+push))
	say("body=%s", url.QueryEscape(pull+"&x"))
	// 4 JSON in a log line
	fmt.Fprintf(&pod, "2026-01-02T03:04:05Z stdout F {\"level\":\"info\",\"password\":\"%s\"}\n", p.word("JSON in a log"))
	fmt.Fprintf(&pod, "2026-01-02T03:04:05Z stdout F {\"msg\":\"got {\\\"clientSecret\\\":\\\"%s\\\"}\"}\n", p.word("JSON in JSON"))
	long := p.word("a line in two parts")
	p.all[len(p.all)-1].gone = append(p.all[len(p.all)-1].gone, long[9:])
	fmt.Fprintf(&pod, "2026-01-02T03:04:05Z stdout P {\"token\":\"%s\n2026-01-02T03:04:05Z stdout F %s\"}\n", long[:9], long[9:])
	// 5 kubeconfig
	m.write("/etc/cni/net.d/calico-kubeconfig", "users:\n- user:\n    token: "+p.word("token of a kubeconfig")+"\n")
	m.write("/var/lib/sealos/data/default/etc/kubeconfig.yaml", "users:\n- user:\n    password: "+p.word("password of a kubeconfig")+"\n    client-key-data: "+b64(p.key("key of a kubeconfig"))+"\n")
	// 6 arguments
	fmt.Fprintf(&process, "2 0 root kubeadm join 10.0.0.2:6443 --token %s --v=5\n", p.word("token in an argument"))
	fmt.Fprintf(&process, "3 0 root curl -u me:%s http://10.0.0.9/\n", p.word("login in an argument"))
	m.write("/etc/kubernetes/manifests/app.yaml", "    - --client-secret\n    - "+p.word("argument in YAML")+"\n")
	// 7 YAML
	m.write("/var/lib/sealos/data/default/Clusterfile", "spec:\n  env:\n  - SMTP_PASSWORD="+p.word("env in the record")+"\n")
	m.write("/var/lib/kubelet/config.yaml", "auth:\n  apiKey: \""+p.word("key in YAML")+"\"\n")
	m.write("/etc/crictl.yaml", "secret: |\n  "+p.word("block of YAML")+"\n")
	// 8 headers
	say("> Authorization: Bearer %s", p.word("bearer"))
	say("< Set-Cookie: id=%s; Path=/", p.word("cookie"))
	say("> X-Api-Key: %s", p.word("key in a header"))
	// 9 PEM
	for line := range strings.Lines(p.key("key in a log")) {
		say("%s", strings.TrimSpace(line))
	}
	m.write("/etc/containerd/certs.d/site/hosts.toml", "key = '''\n"+p.key("key in TOML")+"'''\n")
	// 10 docker's configuration
	m.write("/etc/docker/daemon.json", `{"auths":{"site":{"auth":"`+b64("u:"+p.word("docker's auth"))+`","identitytoken":"`+p.word("docker's token")+`"}}}`)
	say("pull with eyJhdXRo%s", b64(p.word("docker's auth in base64")))

	// In objects of the API.
	m.api.objects["/api/v1/configmaps"] = listOf("ConfigMap", "v1", object("default", "c", map[string]any{"data": map[string]any{
		"password": p.word("ConfigMap"), "app.yaml": "db:\n  password: " + p.word("YAML in a ConfigMap") + "\n",
	}}))
	m.api.objects["/apis/apps/v1/deployments"] = listOf("Deployment", "apps/v1", object("default", "d", map[string]any{"spec": map[string]any{
		"env": []any{map[string]any{"name": "DB_PASSWORD", "value": p.word("env of a pod")}}, "args": []any{"--password", p.word("argument of a pod")},
	}}))
	m.api.objects["/api/v1/secrets"] = listOf("Secret", "v1", object("default", "s", map[string]any{"data": map[string]any{"any": b64(p.word("Secret"))}}))

	// On this machine.
	mine := p.key("authority here")
	for name, text := range map[string]string{
		"pki/ca.key": mine, "logs/20260102T030405.000Z.log": "{\"line\":\"registryPassword=" + p.word("log of a run") + " " + strings.Split(mine, "\n")[1] + "\"}\n",
		"Clusterfile": "spec:\n  ssh:\n    passwd: " + p.word("ssh's password") + "\n",
	} {
		if err := os.MkdirAll(filepath.Dir(s.State.Path(name)), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(s.State.Path(name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	m.program("journalctl", journal.String())
	m.program("ps", process.String())
	m.write("/var/log/pods/kube-system_app-m1_uid/app/0.log", pod.String())

	if len(p.all) < 30 {
		t.Fatalf("only %d secrets are planted", len(p.all))
	}
	var out bytes.Buffer
	if _, err := s.Write(t.Context(), &out, "root"); err != nil {
		t.Fatal(err)
	}
	packed, err := gzip.NewReader(bytes.NewReader(out.Bytes()))
	if err != nil {
		t.Fatal(err)
	}
	whole, err := io.ReadAll(packed)
	if err != nil {
		t.Fatal(err)
	}
	files := unpack(t, &out)
	for _, secret := range p.all {
		for _, text := range secret.gone {
			if !bytes.Contains(whole, []byte(text)) {
				continue
			}
			for name, content := range files {
				if i := strings.Index(content, text); i >= 0 {
					t.Errorf("%s is in %s: …%s…", secret.name, name, content[max(0, i-60):min(len(content), i+len(text)+20)])
				}
			}
		}
	}
	t.Logf("%d secrets were planted", len(p.all))
	// It would be easy to leave everything out.
	for name, stays := range map[string]string{
		"host-collectors/journald/10.0.0.2/kubelet.txt":               "starting with API_TOKEN=****** MODE=fast",
		"host-collectors/run-host/10.0.0.2/processes.txt":             "kubeadm join 10.0.0.2:6443 --token ****** --v=5",
		"host-collectors/copy/10.0.0.2" + m.root + "/etc/crictl.yaml": "secret: |",
		"cluster-resources/deployments/default.json":                  `"--password"`,
		"cluster-resources/pods/logs/kube-system/app-m1/app.log":      `{"level":"info","password":"******"}`,
		"sealinstall/Clusterfile":                                     "passwd: ******",
	} {
		if !strings.Contains(files[name], stays) {
			t.Errorf("%s has no %q:\n%s", name, stays, files[name])
		}
	}
}

func TestOnlyRecipientsCanOpenABundle(t *testing.T) {
	identity, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	sshPublic, err := ssh.NewPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	sshIdentity, err := agessh.NewEd25519Identity(private)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "helpers.pub")
	if err := os.WriteFile(file, []byte("# who helps\n\n"+string(ssh.MarshalAuthorizedKey(sshPublic))), 0o600); err != nil {
		t.Fatal(err)
	}
	to, err := ReadRecipients([]string{identity.Recipient().String(), file})
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	w, err := to.Encrypt(&out)
	if err != nil {
		t.Fatal(err)
	}
	io.WriteString(w, "the bundle")
	if err := w.Close(); err != nil || bytes.Contains(out.Bytes(), []byte("the bundle")) {
		t.Fatalf("%v", err)
	}
	stranger, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	for name, who := range map[string]age.Identity{"age": identity, "ssh": sshIdentity, "stranger": stranger} {
		r, err := age.Decrypt(bytes.NewReader(out.Bytes()), who)
		if (err == nil) != (name != "stranger") {
			t.Errorf("%s: %v", name, err)
		}
		if err == nil {
			if text, err := io.ReadAll(r); err != nil || string(text) != "the bundle" {
				t.Errorf("%s: %q, %v", name, text, err)
			}
		}
	}
}

func TestARecipientThatIsNoneIsRefusedAndNotRepeated(t *testing.T) {
	dir := t.TempDir()
	private := filepath.Join(dir, "key")
	secret := "AGE-SECRET-KEY-1QQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQ"
	for name, text := range map[string]string{"key": secret + "\n", "empty": "# nobody\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, text := range []string{private, filepath.Join(dir, "empty"), filepath.Join(dir, "none"), "age1xyz", "ssh-ed25519 AAAA"} {
		if _, err := ReadRecipients([]string{text}); err == nil || strings.Contains(err.Error(), secret) {
			t.Errorf("%s: %v", text, err)
		}
	}
	if to, err := ReadRecipientsDir(filepath.Join(dir, "none")); err != nil || to != nil {
		t.Errorf("%v, %v", to, err)
	}
	if _, err := ReadRecipientsDir(dir); err == nil {
		t.Error("a directory whose files are no public keys is taken")
	}
}
