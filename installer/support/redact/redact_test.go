package redact

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sealbuild/sealbuild/installer"
)

func newRedactor(known ...string) *Redactor {
	r := New(installer.Silent())
	for _, secret := range known {
		r.Hide(secret)
	}
	return r
}

// through is what a stream becomes that arrives in parts of n bytes.
func through(t testing.TB, r *Redactor, text string, n int) string {
	t.Helper()
	var out bytes.Buffer
	w := r.Writer(&out)
	for rest := text; rest != ""; {
		part := rest[:min(n, len(rest))]
		rest = rest[len(part):]
		if _, err := w.Write([]byte(part)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func newKey(t testing.TB) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}))
}

// Nobody has told the redactor these: the text says that they are secrets.
func TestASecretIsKnownByWhatStandsAroundIt(t *testing.T) {
	const secret = "Zx9qTr4-vLm2Wk"
	for name, text := range map[string]string{
		"env":                    "export DB_PASSWORD=SECRET\nPATH=/bin",
		"env in a line":          "started with API_TOKEN=SECRET MODE=fast",
		"unit":                   `Environment="REGISTRY_PASSWORD=SECRET"`,
		"TOML":                   `  password = "SECRET"`,
		"ini":                    "smtp_password = SECRET",
		"YAML":                   "auth:\n  password: SECRET\n  user: me",
		"YAML with blanks":       "password: my SECRET is long",
		"YAML in quotes":         `  apiKey: "SECRET"`,
		"YAML block":             "data:\n  db-password: |\n    SECRET\n    SECRET\n  other: 1",
		"JSON":                   `{"user":"me","password":"SECRET","n":1}`,
		"JSON in a log":          `time=1 msg="body {\"clientSecret\":\"SECRET\"}"`,
		"JSON in JSON in a log":  `{"log":"{\"body\":\"{\\\"secret\\\":\\\"SECRET\\\"}\"}"}`,
		"JSON number":            `{"pin": 8812, "password": SECRET}`,
		"URL":                    "dial postgres://app:SECRET@10.0.0.9:5432/db?sslmode=off",
		"URL with a slash":       "dial amqp://app:SECRET/x@10.0.0.9",
		"URL with a token":       "clone https://SECRETSECRET@git.site/x.git",
		"DSN":                    "app:SECRET@tcp(10.0.0.9:3306)/db",
		"argument":               "kubeadm join 10.0.0.2:6443 --token SECRET --v 5",
		"argument with a sign":   "kubeadm init --certificate-key=SECRET --v=5",
		"argument in quotes":     `--password 'SECRET'`,
		"argument in JSON":       `["app","--client-secret","SECRET","--v"]`,
		"argument in YAML":       "    - --token\n    - SECRET\n    - --v=5",
		"login of curl":          "curl -u me:SECRET http://10.0.0.9/",
		"sshpass":                "sshpass -p SECRET ssh host",
		"header":                 "> X-Api-Key: SECRET",
		"bearer":                 "Authorization: Bearer SECRET",
		"bearer in a log":        `headers: map[Authorization:[Bearer SECRET]]`,
		"basic":                  "authorization: Basic SECRET",
		"cookie":                 "Cookie: id=SECRET; lang=de",
		"docker":                 `{"auths":{"r:5000":{"auth":"SECRET","identitytoken":"SECRET"}}}`,
		"kubeconfig":             "- name: admin\n  user:\n    token: SECRET\n    client-key-data: SECRET",
		"encryption":             "keys:\n- name: key1\n  secret: SECRET",
		"a journal's line":       "2026-01-02T03:04:05+0000 m1 app[7]: password: SECRET was used",
		"a journal's weak line":  "2026-01-02T03:04:05+0000 m1 app[7]: token: SECRET was used",
		"JWT":                    "got eyJhbGciOiJSUzI1NiIsImtpZCI6IlN.eyJpc3MiOiJrdWJlcm5ldGVzL3NlcnZp.SECRET",
		"a form":                 "ghp_SECRETSECRETSECRET",
		"a command's assignment": "PGPASSWORD=SECRET psql -h 10.0.0.9",
	} {
		text = strings.ReplaceAll(text, "SECRET", secret)
		if got := newRedactor().Text(text); strings.Contains(got, secret[:6]) || !strings.Contains(got, Masked) {
			t.Errorf("%s: %s", name, got)
		}
	}
	for _, token := range []string{"abcdef.0123456789abcdef", "token is q1w2e3.r4t5y6u7i8o9p0a1."} {
		if got := newRedactor().Text(token); !strings.Contains(got, Masked) {
			t.Errorf("a token of kubeadm: %s", got)
		}
	}
}

// What helps to find a fault stays.
func TestWhatIsNoSecretStays(t *testing.T) {
	for _, text := range []string{
		`E0102 03:04:05.1 1 reconciler.go:1] "Failed" err="MountVolume.SetUp failed for volume \"x\" : secret \"db\" not found" pod="default/a"`,
		`{"level":"warn","ts":"2026-01-02T03:04:05Z","msg":"apply request took too long","request":"key:\"/registry/leases/kube-system/x\" "}`,
		"--tls-private-key-file=/etc/kubernetes/pki/apiserver.key --service-account-key-file=/etc/kubernetes/pki/sa.pub",
		"--enable-bootstrap-token-auth=true --authorization-mode=Node,RBAC",
		"dial tcp 10.0.0.2:6443: connect: connection refused",
		"http://10.0.0.2:2379/health?x=1 https://10.0.0.2:6443",
		"listen peer urls: [https://10.0.0.2:2380]",
		"    secretName: registry-tls\n    key: node-role.kubernetes.io/control-plane\n    topologyKey: kubernetes.io/hostname",
		"certificate-authority-data: LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0tCk1JSURCVENDQWUyZ0F3SUJB",
		"-----BEGIN CERTIFICATE-----\nMIIDBTCCAe2gAwIBAgIIYWl0\n-----END CERTIFICATE-----",
		"Failed to get key: etcdserver: request timed out",
		`reflector.go:167: Failed to watch *v1.Secret: failed to list *v1.Secret: Get "https://10.96.0.1:443/api/v1/secrets": dial tcp: i/o timeout`,
		"image: registry.k8s.io/pause@sha256:278fb9dbcca9518083ad1e11276933a2e96f23de604a3a08cc3c80002767d24c",
		"net.ipv4.ip_forward = 1\nkernel.keys.maxkeys = 200",
		"password: ${DB_PASSWORD}\ntoken: null",
		"/dev/vda1 ext4 40G 21G 19G 53% /var/lib/kubelet/pods/6f1c2d3e-aaaa-bbbb-cccc-0123456789ab",
	} {
		if diff := cmp.Diff(text, newRedactor("t0p-s3cret-w0rd").Text(text)); diff != "" {
			t.Error(diff)
		}
	}
}

func TestAKnownSecretIsFoundWhereverItStands(t *testing.T) {
	const secret = `pa/ss "w0rd"&x`
	r := newRedactor(secret)
	escaped, _ := json.Marshal(secret)
	for name, text := range map[string]string{
		"as it is": "it is " + secret + " here", "JSON": string(escaped), "URL": "pa%2Fss%20%22w0rd%22%26x",
		"base64": base64.StdEncoding.EncodeToString([]byte(secret)), "in base64": base64.StdEncoding.EncodeToString([]byte("user:" + secret)),
		"over two lines": "pa/ss \"w\n  0rd\"&x",
	} {
		if got := r.Text(text); !strings.Contains(got, Masked) {
			t.Errorf("%s: %s", name, got)
		}
	}
}

func TestAKeyIsFoundByItsValueAlsoAPartOfIt(t *testing.T) {
	key := newKey(t)
	lines := strings.Split(key, "\n")
	conf := base64.StdEncoding.EncodeToString([]byte(key))
	r := newRedactor()
	r.Learn("users:\n- user:\n    client-key-data: " + conf + "\n")
	for name, text := range map[string]string{
		"a line": lines[2], "half a line": "read " + lines[1][20:60], "the kubeconfig": conf[30:120],
		"behind something": base64.StdEncoding.EncodeToString([]byte("x" + key))[8:90],
	} {
		if got := r.Text(text); strings.Contains(got, text[5:]) || !strings.Contains(got, Masked) {
			t.Errorf("%s: %s", name, got)
		}
	}
}

func TestPrivateKeysGoWholeWhereverTheirLinesAre(t *testing.T) {
	key := newKey(t)
	inner := strings.Split(key, "\n")[1]
	behind := ""
	for line := range strings.Lines(key) {
		behind += "2026-01-02T03:04:05+0000 m1 app[7]: " + line
	}
	quoted, _ := json.Marshal(key)
	for name, text := range map[string]string{
		"as it is": key, "in a journal": behind, "in JSON": string(quoted), "indented": strings.ReplaceAll(key, "\n", "\n    "),
		"its beginning is missing": key[20:], "its end is missing": key[:120], "in base64": base64.StdEncoding.EncodeToString([]byte(key)),
	} {
		long := strings.Repeat("a line before\n", piece/14) + text + "\n" + strings.Repeat("a line behind\n", 10)
		got := through(t, newRedactor(), long, 1000)
		if strings.Contains(got, inner[:30]) || strings.Contains(got, base64.StdEncoding.EncodeToString([]byte(key))[60:90]) {
			t.Errorf("%s: %s", name, got[len(got)-1000:])
		}
		if name != "its end is missing" && !strings.Contains(got, "a line behind") {
			t.Errorf("%s: what follows is gone", name)
		}
	}
}

func TestAnObjectIsRedactedByItsNames(t *testing.T) {
	var v any
	err := json.Unmarshal([]byte(`{"kind":"PodList","items":[{"kind":"Pod","spec":{"containers":[{"name":"db","args":["--password","abc123","--v=2"],
		"env":[{"name":"DB_PASSWORD","value":"abc123"},{"name":"MODE","value":"fast"},{"name":"URL","value":"http://u:abc123@h/"},
		{"name":"K","valueFrom":{"secretKeyRef":{"name":"db","key":"password"}}}]}],"tolerations":[{"key":"node-role.kubernetes.io/control-plane"}]},
		"metadata":{"annotations":{"kubectl.kubernetes.io/last-applied-configuration":"{\"env\":[{\"name\":\"DB_PASSWORD\",\"value\":\"abc123\"}]}"}}},
		{"kind":"Secret","data":{"any":"YWJjMTIz"},"metadata":{"name":"s"}},{"kind":"ConfigMap","data":{"password":"abc123","conf":"a: 1\ntoken: abc123\n"}}]}`), &v)
	if err != nil {
		t.Fatal(err)
	}
	out, err := json.Marshal(newRedactor().JSON(v))
	if err != nil {
		t.Fatal(err)
	}
	for _, gone := range []string{"abc123", "YWJjMTIz"} {
		if strings.Contains(string(out), gone) {
			t.Errorf("%s is in %s", gone, out)
		}
	}
	for _, stays := range []string{`"key":"password"`, `"fast"`, `"node-role.kubernetes.io/control-plane"`, `"--v=2"`, `"name":"s"`} {
		if !strings.Contains(string(out), stays) {
			t.Errorf("%s is not in %s", stays, out)
		}
	}
}

func TestALineThatNobodyCouldJudgeIsLeftOut(t *testing.T) {
	text := "before\n" + strings.Repeat("x", 3*mostPiece) + "\nbehind\n"
	if got := through(t, newRedactor(), text, 4096); got != "before\n[a line of 786432 bytes is left out]\nbehind\n" {
		t.Errorf("%.200s", got)
	}
}

func TestATextThatIsCutOffEndsWithItsLastWholeLine(t *testing.T) {
	var out bytes.Buffer
	w := newRedactor().Writer(&out)
	io.WriteString(w, "whole\ntoken of which the half")
	w.Cut("[cut]")
	if err := w.Close(); err != nil || out.String() != "whole\n[cut]\n" {
		t.Errorf("%q, %v", out.String(), err)
	}
}

// However a stream is cut on its way, the same comes out, and no known secret does.
func FuzzTheSameComesOutHoweverAStreamIsCut(f *testing.F) {
	const secret = "t0p-s3cret/w0rd"
	key := newKey(f)
	f.Add("password: t0p-s3cret/w0rd\nnext\n", 7, false)
	f.Add(key, 13, true)
	f.Add(`{"token":"a\"b\\","x":"t0p-s3cret\/w0rd"}`, 1, true)
	f.Add("a://b:c@d --token\n- x =: \"", 3, false)
	r := newRedactor(secret)
	f.Fuzz(func(t *testing.T, text string, n int, long bool) {
		if long { // over the border between pieces
			text = strings.Repeat("a line before it\n", piece/17) + text
		}
		want := through(t, r, text, len(text)+1)
		if got := through(t, r, text, 1+(n&0xffff)%max(1, len(text))); got != want {
			t.Errorf("cut into parts of %d: %s", n, cmp.Diff(want, got))
		}
		if strings.Contains(want, secret) {
			t.Errorf("the secret came through: %q", want)
		}
		for _, at := range r.kinds(text) {
			if at.from < 0 || at.to > len(text) || at.from > at.to {
				t.Errorf("%v of %d bytes", at, len(text))
			}
		}
	})
}

func BenchmarkText(b *testing.B) {
	r := newRedactor("t0p-s3cret/w0rd", "an0ther-secret-w0rd")
	for range 50 {
		r.Learn(newKey(b))
	}
	line := `Jan 02 03:04:05 m1 kubelet[812]: I0102 03:04:05.123456     812 kubelet.go:2407] "SyncLoop (PLEG): event for pod" pod="kube-system/kube-apiserver-m1" event={"ID":"0f2b","Type":"ContainerStarted","Data":"5a1c"}` + "\n"
	text := strings.Repeat(line, piece/len(line))
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		r.Text(text)
	}
}
