package stepstest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"regexp"
	"strings"
	"time"
)

const pkiDir = "/etc/kubernetes/pki/"

var (
	confCert = regexp.MustCompile(`(client-certificate-data: "?)([A-Za-z0-9+/=]+)`)
	confKey  = regexp.MustCompile(`(client-key-data: "?)([A-Za-z0-9+/=]+)`)
)

// renew makes certificates anew, as kubeadm does it in an upgrade whether they are near their end or not: with new keys, the
// subjects and names of before, and the validity that kubeadm is told. Names are those of files in pki, or of a kubeconfig.
func (u *upgrade) renew(m *Machine, names ...string) error {
	if !u.renews {
		return nil
	}
	for _, name := range names {
		if strings.HasSuffix(name, ".conf") {
			file := "/etc/kubernetes/" + name
			text := m.tree.text(file)
			found := confCert.FindStringSubmatch(text)
			if found == nil {
				continue // a file of a test, without a certificate
			}
			old, err := base64.StdEncoding.DecodeString(found[2])
			if err != nil {
				return err
			}
			cert, key, err := resign(m, "ca", string(old))
			if err != nil {
				return fmt.Errorf("renew %s: %w", name, err)
			}
			text = confCert.ReplaceAllString(text, "${1}"+base64.StdEncoding.EncodeToString(cert))
			if err := m.tree.put(file, confKey.ReplaceAllString(text, "${1}"+base64.StdEncoding.EncodeToString(key))); err != nil {
				return err
			}
			continue
		}
		ca := "ca"
		switch {
		case strings.HasPrefix(name, "etcd/"), name == "apiserver-etcd-client":
			ca = "etcd/ca"
		case strings.HasPrefix(name, "front-proxy"):
			ca = "front-proxy-ca"
		}
		cert, key, err := resign(m, ca, m.tree.text(pkiDir+name+".crt"))
		if err != nil {
			return fmt.Errorf("renew %s: %w", name, err)
		}
		if err := errors.Join(m.tree.put(pkiDir+name+".crt", string(cert)), m.tree.put(pkiDir+name+".key", string(key))); err != nil {
			return err
		}
	}
	return nil
}

// resign makes a certificate like an old one, signed by an authority of the machine.
func resign(m *Machine, ca, old string) (cert, key []byte, err error) {
	block, _ := pem.Decode([]byte(old))
	caBlock, _ := pem.Decode([]byte(m.tree.text(pkiDir + ca + ".crt")))
	keyBlock, _ := pem.Decode([]byte(m.tree.text(pkiDir + ca + ".key")))
	if block == nil || caBlock == nil || keyBlock == nil {
		return nil, nil, errors.New("no certificate, or no authority")
	}
	was, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, nil, err
	}
	authority, err := x509.ParseCertificate(caBlock.Bytes)
	if err != nil {
		return nil, nil, err
	}
	signer, err := signerOf(keyBlock)
	if err != nil {
		return nil, nil, err
	}
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		return nil, nil, err
	}
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: serial, Subject: was.Subject, DNSNames: was.DNSNames, IPAddresses: was.IPAddresses, KeyUsage: was.KeyUsage, ExtKeyUsage: was.ExtKeyUsage,
		NotBefore: authority.NotBefore, NotAfter: time.Now().Add(was.NotAfter.Sub(was.NotBefore)), BasicConstraintsValid: true,
	}, authority, private.Public(), signer)
	if err != nil {
		return nil, nil, err
	}
	raw, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return nil, nil, err
	}
	encode := func(kind string, b []byte) []byte { return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: b}) }
	return encode("CERTIFICATE", der), encode("PRIVATE KEY", raw), nil
}

func signerOf(block *pem.Block) (any, error) {
	if key, err := x509.ParseECPrivateKey(block.Bytes); err == nil {
		return key, nil
	}
	if key, err := x509.ParsePKCS1PrivateKey(block.Bytes); err == nil {
		return key, nil
	}
	return x509.ParsePKCS8PrivateKey(block.Bytes)
}
