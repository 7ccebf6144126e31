package certs

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io/fs"
	"math/big"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestEveryChainVerifiesForItsUse(t *testing.T) {
	files := masterFiles(t, newPKI(t, t.TempDir()), masterInput())
	both := []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	server, client := both[:1], both[1:]
	for _, c := range []struct {
		name, ca, cn string
		org          []string
		usages       []x509.ExtKeyUsage
		hosts        []string
	}{
		{"apiserver", "ca", "kube-apiserver", nil, server, []string{
			"kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local", "master0", "localhost",
			"apiserver.cluster.local", "api.example.org", "10.0.0.2", "10.0.0.3", "10.103.97.2", "127.0.0.1", "10.96.0.1",
		}},
		{"apiserver-kubelet-client", "ca", "kube-apiserver-kubelet-client", []string{"kubeadm:cluster-admins"}, client, nil},
		{"front-proxy-client", "front-proxy-ca", "front-proxy-client", nil, client, nil},
		{"apiserver-etcd-client", "etcd/ca", "kube-apiserver-etcd-client", nil, client, nil},
		{"etcd/server", "etcd/ca", "master0", nil, both, []string{"master0", "localhost", "10.0.0.2", "127.0.0.1", "::1", "etcd.example.org"}},
		{"etcd/peer", "etcd/ca", "master0", nil, both, []string{"master0", "localhost", "10.0.0.2", "127.0.0.1", "::1", "etcd.example.org"}},
		{"etcd/healthcheck-client", "etcd/ca", "kube-etcd-healthcheck-client", nil, client, nil},
	} {
		crt, key := files["pki/"+c.name+".crt"], files["pki/"+c.name+".key"]
		if crt.Mode != 0o644 || key.Mode != 0o600 {
			t.Errorf("%s has modes %v and %v", c.name, crt.Mode, key.Mode)
		}
		if _, err := tls.X509KeyPair(crt.Content, key.Content); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		cert := parseCert(t, crt.Content)
		roots := x509.NewCertPool()
		roots.AddCert(parseCert(t, files["pki/"+c.ca+".crt"].Content))
		for _, usage := range both {
			_, err := cert.Verify(x509.VerifyOptions{Roots: roots, KeyUsages: []x509.ExtKeyUsage{usage}})
			wanted := usage == c.usages[0] || len(c.usages) > 1
			if (err == nil) != wanted {
				t.Errorf("%s for use %d: %v", c.name, usage, err)
			}
		}
		for _, h := range c.hosts {
			if err := cert.VerifyHostname(h); err != nil {
				t.Errorf("%s: %v", c.name, err)
			}
		}
		if cert.Subject.CommonName != c.cn || !cmp.Equal(cert.Subject.Organization, c.org) {
			t.Errorf("%s is of %v", c.name, cert.Subject)
		}
		if pub, ok := cert.PublicKey.(*ecdsa.PublicKey); !ok || pub.Curve.Params().Name != "P-256" {
			t.Errorf("%s has a key %T", c.name, cert.PublicKey)
		}
	}
}

func TestValidityIsACenturyAndBeganYesterday(t *testing.T) {
	for name, f := range masterFiles(t, newPKI(t, t.TempDir()), masterInput()) {
		if !strings.HasSuffix(name, ".crt") {
			continue
		}
		c := parseCert(t, f.Content)
		if !near(c.NotAfter, time.Now().Add(100*365*24*time.Hour)) || !near(c.NotBefore, time.Now().Add(-24*time.Hour)) {
			t.Errorf("%s is valid from %v to %v", name, c.NotBefore, c.NotAfter)
		}
	}
}

func TestKubeconfigsFollowTheKubernetesVersion(t *testing.T) {
	p := newPKI(t, t.TempDir())
	in := masterInput()
	old := in
	old.SuperAdmin = false
	second := in
	second.IP, second.Hostname, second.WithSuperAdmin = netip.MustParseAddr("10.0.0.3"), "master1", false
	for _, c := range []struct {
		name, file, cn string
		in             MasterInput
		org            []string
	}{
		{"new", "admin.conf", "kubernetes-admin", in, []string{"kubeadm:cluster-admins"}},
		{"new", "super-admin.conf", "kubernetes-super-admin", in, []string{"system:masters"}},
		{"new", "controller-manager.conf", "system:kube-controller-manager", in, nil},
		{"new", "scheduler.conf", "system:kube-scheduler", in, nil},
		{"old", "admin.conf", "kubernetes-admin", old, []string{"system:masters"}},
		{"old", "super-admin.conf", "", old, nil},
		{"second", "admin.conf", "kubernetes-admin", second, []string{"kubeadm:cluster-admins"}},
		{"second", "super-admin.conf", "", second, nil},
	} {
		files := masterFiles(t, p, c.in)
		f, ok := files[c.file]
		if c.cn == "" {
			if ok {
				t.Errorf("%s: %s is made", c.name, c.file)
			}
			continue
		}
		// Controllers ask the API server beside them, whatever the shared name means.
		server := "server: https://apiserver.cluster.local:6443\n"
		if strings.HasPrefix(c.cn, "system:kube-") {
			server = "server: https://" + c.in.IP.String() + ":6443\n"
		}
		if f.Mode != 0o600 || !strings.Contains(string(f.Content), server) {
			t.Errorf("%s: %s has mode %v, or is not for %s", c.name, c.file, f.Mode, server)
		}
		crt, key := kubeconfigField(t, f.Content, "client-certificate-data"), kubeconfigField(t, f.Content, "client-key-data")
		if _, err := tls.X509KeyPair(crt, key); err != nil {
			t.Errorf("%s: %s: %v", c.name, c.file, err)
		}
		cert := parseCert(t, crt)
		roots := x509.NewCertPool()
		roots.AppendCertsFromPEM(kubeconfigField(t, f.Content, "certificate-authority-data"))
		if _, err := cert.Verify(x509.VerifyOptions{Roots: roots, KeyUsages: clientAuth}); err != nil {
			t.Errorf("%s: %s: %v", c.name, c.file, err)
		}
		if cert.Subject.CommonName != c.cn || !cmp.Equal(cert.Subject.Organization, c.org) {
			t.Errorf("%s: %s is of %v", c.name, c.file, cert.Subject)
		}
	}
}

func TestSecondRunChangesNothing(t *testing.T) {
	dir := t.TempDir()
	in := masterInput()
	first := contents(masterFiles(t, newPKI(t, dir), in))
	again := contents(masterFiles(t, newPKI(t, dir), in))
	if diff := cmp.Diff(first, again); diff != "" {
		t.Errorf("the second run differs:\n%s", diff)
	}
	// A further master: only the certificate that has to name it is new.
	in.APISANs = append(in.APISANs, "10.0.0.4")
	third := contents(masterFiles(t, newPKI(t, dir), in))
	var changed []string
	for name := range third {
		if third[name] != first[name] {
			changed = append(changed, name)
		}
	}
	if len(changed) != 2 || third["pki/apiserver.crt"] == first["pki/apiserver.crt"] || third["pki/apiserver.key"] == first["pki/apiserver.key"] {
		t.Errorf("a new name changes %v", changed)
	}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		info, err := d.Info()
		if err == nil && info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %v", path, info.Mode())
		}
		if strings.Contains(d.Name(), "tmp") {
			t.Errorf("%s was left", path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestLeafIsMadeAnewWhenItNoLongerFits(t *testing.T) {
	p := newPKI(t, t.TempDir())
	ca := p.authorities[kubernetesCA]
	prof := profile{commonName: "x", organization: []string{"o"}, usages: clientAuth}
	prof.add("a.example", "10.0.0.1")
	leaf := func(validity time.Duration) *Pair {
		l, err := ca.leaf(prof, validity)
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	good := leaf(DefaultValidity)
	if !good.fits(ca, prof) {
		t.Error("a new leaf does not fit")
	}
	if !leaf(30*24*time.Hour).fits(ca, prof) {
		t.Error("a leaf with a short life is renewed at once")
	}
	if leaf(time.Hour).fits(ca, prof) {
		t.Error("a leaf that ends in an hour fits")
	}
	if good.fits(p.authorities[etcdCA], prof) {
		t.Error("a leaf of another CA fits")
	}
	for name, change := range map[string]func(*profile){
		"name": func(p *profile) { p.add("b.example") }, "address": func(p *profile) { p.add("10.0.0.2") },
		"usage": func(p *profile) { p.usages = serverAuth }, "group": func(p *profile) { p.organization = nil },
		"subject": func(p *profile) { p.commonName = "y" }, "address that it must not have": func(p *profile) { p.without = []string{"10.0.0.1"} },
	} {
		other := prof
		other.names, other.addresses = slices.Clone(prof.names), slices.Clone(prof.addresses)
		change(&other)
		if good.fits(ca, other) {
			t.Errorf("a leaf with another %s fits", name)
		}
	}
}

func TestCAOfOthersIsTakenOver(t *testing.T) {
	dir := t.TempDir()
	writeRSACA(t, dir, time.Now().Add(10*365*24*time.Hour))
	before, err := os.ReadFile(filepath.Join(dir, "ca.crt"))
	if err != nil {
		t.Fatal(err)
	}
	files := masterFiles(t, newPKI(t, dir), masterInput())
	if !bytes.Equal(files["pki/ca.crt"].Content, before) {
		t.Error("the CA was replaced")
	}
	cert := parseCert(t, files["pki/apiserver.crt"].Content)
	ca := parseCert(t, before)
	if err := cert.CheckSignatureFrom(ca); err != nil {
		t.Error(err)
	}
	if cert.NotAfter.After(ca.NotAfter) {
		t.Error("a leaf outlives its CA")
	}
	again := contents(masterFiles(t, newPKI(t, dir), masterInput()))
	if diff := cmp.Diff(contents(files), again); diff != "" {
		t.Errorf("the second run differs:\n%s", diff)
	}
}

func TestUnusableCAIsAnErrorAndStays(t *testing.T) {
	for name, spoil := range map[string]func(t *testing.T, dir string){
		"key missing": func(t *testing.T, dir string) { os.Remove(filepath.Join(dir, "ca.key")) },
		"key of another": func(t *testing.T, dir string) {
			b, err := os.ReadFile(filepath.Join(dir, "etcd", "ca.key"))
			if err != nil || os.WriteFile(filepath.Join(dir, "ca.key"), b, 0o600) != nil {
				t.Fatal(err)
			}
		},
		"not PEM": func(t *testing.T, dir string) { os.WriteFile(filepath.Join(dir, "ca.crt"), []byte("x"), 0o600) },
		"expired": func(t *testing.T, dir string) { writeRSACA(t, dir, time.Now().Add(-time.Hour)) },
	} {
		dir := t.TempDir()
		newPKI(t, dir)
		spoil(t, dir)
		before, err := os.ReadFile(filepath.Join(dir, "ca.crt"))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := LoadOrCreate(dir, Validity{}); err == nil || !strings.Contains(err.Error(), filepath.Join(dir, "ca.crt")) {
			t.Errorf("%s: LoadOrCreate = %v", name, err)
		}
		if after, err := os.ReadFile(filepath.Join(dir, "ca.crt")); err != nil || !bytes.Equal(before, after) {
			t.Errorf("%s: the CA was touched", name)
		}
	}
}

func TestLostServiceAccountKeyIsAnError(t *testing.T) {
	dir := t.TempDir()
	newPKI(t, dir)
	if err := os.Remove(filepath.Join(dir, "sa.key")); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadOrCreate(dir, Validity{}); err == nil {
		t.Error("the key that signs tokens was replaced")
	}
}

func TestRunCutOffBetweenKeyAndCertificateGoesOn(t *testing.T) {
	dir := t.TempDir()
	newPKI(t, dir)
	if err := os.Remove(filepath.Join(dir, "front-proxy-ca.crt")); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(dir, "sa.pub")); err != nil {
		t.Fatal(err)
	}
	newPKI(t, dir)
}

func writeRSACA(t *testing.T, dir string, end time.Time) {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "kubernetes"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: end.Add(-20 * 365 * 24 * time.Hour), NotAfter: end, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	for name, block := range map[string]*pem.Block{
		"ca.crt": {Type: "CERTIFICATE", Bytes: der},
		"ca.key": {Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)},
	} {
		if err := os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}
