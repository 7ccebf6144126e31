package etcdtest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// certificates makes an authority, and one certificate for servers and clients, under the names that kubeadm gives them.
func certificates(t testing.TB, members int) string {
	t.Helper()
	dir := t.TempDir()
	ca, caKey := certificate(t, nil, nil, 0)
	leaf, key := certificate(t, ca, caKey, members)
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	writePEM(t, filepath.Join(dir, "ca.crt"), "CERTIFICATE", ca.Raw)
	for _, name := range []string{"server", "healthcheck-client"} {
		writePEM(t, filepath.Join(dir, name+".crt"), "CERTIFICATE", leaf.Raw)
		writePEM(t, filepath.Join(dir, name+".key"), "EC PRIVATE KEY", der)
	}
	return dir
}

// ServerTLS is for a server that stands in for etcd before clients with a directory of certificates.
func ServerTLS(t testing.TB, certs string) *tls.Config {
	t.Helper()
	pair, err := tls.LoadX509KeyPair(filepath.Join(certs, "server.crt"), filepath.Join(certs, "server.key"))
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(certs, "ca.crt"))
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(text)
	return &tls.Config{Certificates: []tls.Certificate{pair}, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert}
}

// Certs makes certificates for a server of a test at 127.0.0.1.
func Certs(t testing.TB) string { return certificates(t, 1) }

func certificate(t testing.TB, parent *x509.Certificate, parentKey *ecdsa.PrivateKey, members int) (*x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "etcd"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	for i := range members {
		c.IPAddresses = append(c.IPAddresses, net.IPv4(127, 0, 0, byte(1+i)))
	}
	if parent == nil {
		c.Subject.CommonName = "etcd-ca"
		parent, parentKey = c, key
		c.IsCA, c.BasicConstraintsValid, c.KeyUsage = true, true, x509.KeyUsageCertSign
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, key.Public(), parentKey)
	if err != nil {
		t.Fatal(err)
	}
	made, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return made, key
}

func writePEM(t testing.TB, name, kind string, der []byte) {
	t.Helper()
	if err := os.WriteFile(name, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
}
