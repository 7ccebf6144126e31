package registry

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sealbuild/sealbuild/registry/disk"
	"github.com/sealbuild/sealbuild/test/registrytest"
)

// configured is a registry that runs as on a master: a configuration file, TLS, and the accounts given.
func configured(t *testing.T, accounts ...Account) (dir, host string) {
	t.Helper()
	src, c := registrytest.Samples(t)
	root := t.TempDir()
	mustFill(t, c, src, disk.Open(root))
	dir, host = t.TempDir(), freeAddress(t)
	config := writeConfig(t, dir, root, host)
	file, err := Accounts(accounts...)
	if err != nil {
		t.Fatal(err)
	}
	replace(t, filepath.Join(dir, "htpasswd"), file)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- ServeConfig(ctx, config) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("the registry ended: %v", err)
		}
	})
	awaitPort(t, host)
	return dir, host
}

// replace puts a file in place of another, as the scripts of images do.
func replace(t *testing.T, path string, data []byte) {
	t.Helper()
	if err := os.WriteFile(path+".new", data, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

func clientFor(t *testing.T, dir string) *http.Client {
	t.Helper()
	ca, err := os.ReadFile(filepath.Join(dir, "certs/ca.crt"))
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca)
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

func TestAnAccountThatMayOnlyPullNeitherPushesNorDeletes(t *testing.T) {
	dir, host := configured(t, Account{User: "admin", Password: "pull it", PullOnly: true}, Account{User: "push", Password: "push it"})
	client := clientFor(t, dir)
	ask := func(user, password, method, path, body string) (int, http.Header) {
		req, err := http.NewRequestWithContext(t.Context(), method, "https://"+host+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.SetBasicAuth(user, password)
		if method == http.MethodPut {
			req.Header.Set("Content-Type", "application/vnd.oci.image.manifest.v1+json")
		}
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		text, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if resp.StatusCode == http.StatusForbidden && !strings.Contains(string(text), "the account admin may only pull") {
			t.Errorf("%s %s says %s", method, path, text)
		}
		return resp.StatusCode, resp.Header
	}
	const manifest = "/v2/registry.k8s.io/pause/manifests/3.10"
	status, header := ask("admin", "pull it", http.MethodHead, manifest, "")
	digest := header.Get("Docker-Content-Digest")
	if status != http.StatusOK || digest == "" {
		t.Fatalf("pull: %d %v", status, header)
	}
	_, push := ask("push", "push it", http.MethodPost, "/v2/mine/blobs/uploads/", "")
	upload := strings.TrimPrefix(push.Get("Location"), "https://"+host)
	for _, c := range []struct{ method, path string }{
		{http.MethodPost, "/v2/mine/blobs/uploads/"},
		{http.MethodPost, "/v2/mine/blobs/uploads/?mount=" + digest + "&from=registry.k8s.io/pause"},
		{http.MethodGet, strings.Split(upload, "?")[0]},
		{http.MethodPatch, upload},
		{http.MethodPut, upload + "&digest=" + digest},
		{http.MethodDelete, upload},
		{http.MethodPut, "/v2/mine/manifests/1"},
		{http.MethodDelete, "/v2/registry.k8s.io/pause/manifests/" + digest},
		{http.MethodDelete, "/v2/registry.k8s.io/pause/blobs/" + digest},
		{"DESTROY", manifest},
	} {
		if status, _ := ask("admin", "pull it", c.method, c.path, "x"); status != http.StatusForbidden {
			t.Errorf("%s %s by who may only pull: %d", c.method, c.path, status)
		}
	}
	for _, path := range []string{"/v2/", manifest, "/v2/_catalog", "/v2/registry.k8s.io/pause/tags/list"} {
		if status, _ := ask("admin", "pull it", http.MethodGet, path, ""); status != http.StatusOK {
			t.Errorf("GET %s: %d", path, status)
		}
	}
	if status, _ := ask("push", "wrong", http.MethodPost, "/v2/mine/blobs/uploads/", ""); status != http.StatusUnauthorized {
		t.Errorf("a wrong password: %d", status)
	}
	if status, _ := ask("push", "push it", http.MethodDelete, "/v2/registry.k8s.io/pause/manifests/"+digest, ""); status != http.StatusAccepted {
		t.Errorf("delete by who may: %d", status)
	}
}

func TestSkopeoPushesAsTheAccountThatMayOnly(t *testing.T) {
	dir, host := configured(t, Account{User: "admin", Password: "pull-it", PullOnly: true}, Account{User: "push", Password: "push-it"})
	src, c := realSamples(t)
	h, err := NewHandler(t.Context(), HandlerOptions{Catalog: &c, Source: src})
	if err != nil {
		t.Fatal(err)
	}
	from := httptest.NewServer(h)
	defer from.Close()
	push := func(creds string) []string {
		return []string{
			"copy", "--all", "--preserve-digests", "--src-tls-verify=false", "--dest-cert-dir=" + dir + "/certs", "--dest-creds=" + creds,
			"docker://" + strings.TrimPrefix(from.URL, "http://") + "/pause:3.10", "docker://" + host + "/mine/pause:1",
		}
	}
	out, err := exec.CommandContext(t.Context(), tool(t, "skopeo"), append([]string{"--insecure-policy"}, push("admin:pull-it")...)...).CombinedOutput()
	if err == nil || !strings.Contains(string(out), "denied") {
		t.Errorf("push by who may only pull: %v\n%s", err, out)
	}
	skopeo(t, push("push:push-it")...)
	skopeo(t, "copy", "--all", "--src-cert-dir="+dir+"/certs", "--src-creds=admin:pull-it", "docker://"+host+"/mine/pause:1", "dir:"+t.TempDir())
	out, err = exec.CommandContext(t.Context(), tool(t, "skopeo"), "delete", "--cert-dir="+dir+"/certs", "--creds=admin:pull-it", "docker://"+host+"/mine/pause:1").CombinedOutput()
	if err == nil {
		t.Errorf("delete by who may only pull:\n%s", out)
	}
	skopeo(t, "copy", "--all", "--src-cert-dir="+dir+"/certs", "--src-creds=admin:pull-it", "docker://"+host+"/mine/pause:1", "dir:"+t.TempDir())
}

func TestChangedCertificatesAndAccountsAreServedWithoutARestart(t *testing.T) {
	dir, host := configured(t, Account{User: "admin", Password: "one"})
	served := func() [32]byte {
		conn, err := tls.Dial("tcp", host, &tls.Config{InsecureSkipVerify: true})
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		return sha256.Sum256(conn.ConnectionState().PeerCertificates[0].Raw)
	}
	first := served()
	for n := range 3 {
		cert, key := certificate(t)
		pair, err := tls.X509KeyPair(cert, key)
		if err != nil {
			t.Fatal(err)
		}
		order := []string{"tls.crt", "tls.key"}
		data := map[string][]byte{"tls.crt": cert, "tls.key": key}
		if n == 1 {
			order = []string{"tls.key", "tls.crt"}
		}
		before := served()
		stamp, err := os.Stat(filepath.Join(dir, "tls.crt"))
		if err != nil {
			t.Fatal(err)
		}
		replace(t, filepath.Join(dir, order[0]), data[order[0]])
		if got := served(); got != before {
			t.Errorf("with half a renewal another certificate is served: %x", got)
		}
		replace(t, filepath.Join(dir, order[1]), data[order[1]])
		if n == 2 { // written by somebody who keeps times
			if err := os.Chtimes(filepath.Join(dir, "tls.crt"), stamp.ModTime(), stamp.ModTime()); err != nil {
				t.Fatal(err)
			}
		}
		if got := served(); got == first || got != sha256.Sum256(pair.Certificate[0]) {
			t.Errorf("renewal %d is not served", n)
		}
		replace(t, filepath.Join(dir, "certs/ca.crt"), cert)
	}
	for _, password := range []string{"two", "three"} {
		file, err := Accounts(Account{User: "admin", Password: password})
		if err != nil {
			t.Fatal(err)
		}
		replace(t, filepath.Join(dir, "htpasswd"), file)
		req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+host+"/v2/", nil)
		req.SetBasicAuth("admin", password)
		resp, err := clientFor(t, dir).Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			t.Errorf("password %s: %s", password, resp.Status)
		}
	}
}

func TestAccountsFileTellsWhoMayOnlyPull(t *testing.T) {
	list := []Account{{User: "admin", Password: "one", PullOnly: true}, {User: "push", Password: "two"}}
	file, err := Accounts(list...)
	if err != nil {
		t.Fatal(err)
	}
	if !SameAccounts(file, list...) {
		t.Error("a file is not what it was made of")
	}
	for name, other := range map[string][]Account{
		"another password": {list[0], {User: "push", Password: "three"}},
		"one less":         list[:1],
		"one more":         append(list[:2:2], Account{User: "x", Password: "y"}),
		"other rights":     {{User: "admin", Password: "one"}, list[1]},
		"another name":     {list[0], {User: "pusher", Password: "two"}},
	} {
		if SameAccounts(file, other...) {
			t.Errorf("%s is taken for the same", name)
		}
	}
	if SameAccounts([]byte("broken"), list...) || SameAccounts(nil, list...) {
		t.Error("no file is taken for the same")
	}
	// Programs that know nothing of it read the same accounts.
	plain := bytes.Join(bytes.Split(file, []byte("\n")), []byte("\r\n"))
	found, err := parseHtpasswd(plain)
	if err != nil || len(found) != 2 || !found["admin"].pullOnly || found["push"].pullOnly {
		t.Errorf("%v, %v", found, err)
	}
	for _, bad := range []string{"", "a:b", "#a", " a", "a\nb"} {
		if _, err := Accounts(Account{User: bad, Password: "x"}); err == nil {
			t.Errorf("user %q is taken", bad)
		}
	}
	if diff := cmp.Diff(2, bytes.Count(file, []byte("$2a$"))); diff != "" {
		t.Error(diff)
	}
}
