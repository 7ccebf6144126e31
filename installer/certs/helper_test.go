package certs

import (
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func newPKI(t *testing.T, dir string) *PKI {
	t.Helper()
	p, err := LoadOrCreate(dir, Validity{})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func masterInput() MasterInput {
	return MasterInput{
		Hostname: "master0", IP: netip.MustParseAddr("10.0.0.2"),
		APISANs:        []string{"10.0.0.2", "10.0.0.3", "apiserver.cluster.local", "10.103.97.2", "api.example.org"},
		EtcdSANs:       []string{"etcd.example.org"},
		ServiceSubnets: []netip.Prefix{netip.MustParsePrefix("10.96.0.0/22")},
		Endpoint:       "apiserver.cluster.local:6443", SuperAdmin: true, WithSuperAdmin: true,
	}
}

func masterFiles(t *testing.T, p *PKI, in MasterInput) map[string]File {
	t.Helper()
	files, err := p.MasterFiles(in)
	if err != nil {
		t.Fatal(err)
	}
	m := map[string]File{}
	for _, f := range files {
		if _, ok := m[f.Path]; ok {
			t.Errorf("%s is made twice", f.Path)
		}
		m[f.Path] = f
	}
	return m
}

func contents(files map[string]File) map[string]string {
	m := map[string]string{}
	for name, f := range maps.All(files) {
		m[name] = string(f.Content)
	}
	return m
}

func parseCert(t *testing.T, data []byte) *x509.Certificate {
	t.Helper()
	block, rest := pem.Decode(data)
	if block == nil || len(rest) > 0 {
		t.Fatalf("not one PEM block: %q", data)
	}
	c, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// kubeconfigField is a base64 value of a kubeconfig, decoded.
func kubeconfigField(t *testing.T, conf []byte, name string) []byte {
	t.Helper()
	_, after, ok := strings.Cut(string(conf), name+": ")
	if !ok {
		t.Fatalf("kubeconfig has no %s", name)
	}
	b, err := base64.StdEncoding.DecodeString(strings.Fields(after)[0])
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func writeFiles(t *testing.T, dir string, files map[string]File) {
	t.Helper()
	for _, f := range files {
		path := filepath.Join(dir, f.Path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, f.Content, f.Mode); err != nil {
			t.Fatal(err)
		}
	}
}

func near(a, b time.Time) bool { return a.Sub(b).Abs() < time.Hour }
