package registry

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// A configuration that would make the registry talk to other machines is refused.
func TestConfigurationThatDialsOutIsRefused(t *testing.T) {
	base := "version: 0.1\nhttp: {addr: '127.0.0.1:0'}\nstorage: {filesystem: {rootdirectory: " + t.TempDir() + "}}\n"
	for name, text := range map[string]string{
		"proxy":         base + "proxy: {remoteurl: 'https://registry-1.docker.io'}\n",
		"redis":         base + "redis: {addrs: ['127.0.0.1:6379']}\n",
		"notifications": base + "notifications: {endpoints: [{name: x, url: 'http://127.0.0.1/'}]}\n",
		"no accounts":   base + "auth: {htpasswd: {realm: x, path: " + t.TempDir() + "/missing}}\n",
		"no address":    strings.Replace(base, "127.0.0.1:0", "", 1),
		"storage":       "version: 0.1\nhttp: {addr: '127.0.0.1:0'}\nstorage: {inmemory: {}}\n",
		"not yaml":      "{",
	} {
		file := filepath.Join(t.TempDir(), "config.yml")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		if err := ServeConfig(ctx, file); err == nil {
			t.Errorf("%s: no error", name)
		}
		cancel()
	}
}

func TestServeEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	err := Serve(ctx, "127.0.0.1:0", nil, http.NotFoundHandler(), func(a net.Addr) {
		go func() {
			defer cancel()
			resp, err := http.Get("http://" + a.String() + "/")
			if err != nil || resp.StatusCode != 404 {
				t.Errorf("%v, %v", resp, err)
			}
		}()
	})
	if err != nil {
		t.Error(err)
	}
}

func writeConfig(t *testing.T, dir, root, host string) string {
	t.Helper()
	line, err := Accounts(Account{User: "admin", Password: "secret"})
	if err != nil {
		t.Fatal(err)
	}
	cert, key := certificate(t)
	write := func(name string, data []byte) string {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	write("certs/ca.crt", cert)
	text := fmt.Sprintf(`version: 0.1
log: {level: warn, accesslog: {disabled: true}}
storage:
  filesystem: {rootdirectory: %s}
  delete: {enabled: true}
http:
  addr: %q
  tls: {certificate: %s, key: %s}
auth:
  htpasswd: {realm: basic-realm, path: %s}
`, root, host, write("tls.crt", cert), write("tls.key", key), write("htpasswd", line))
	return write("config.yml", []byte(text))
}

func certificate(t *testing.T) (cert, key []byte) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "registry"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &k.PublicKey, k)
	if err != nil {
		t.Fatal(err)
	}
	kder, err := x509.MarshalECPrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: kder})
}
