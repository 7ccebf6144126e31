// Package certs makes every certificate and kubeconfig of a cluster on the machine that installs it: the CAs once, and for each
// master the leaves that kubeadm would make, so that kubeadm finds them all in place and makes none.
//
// A second run gives the same files: those in the directory are used again as long as they fit. Keys are ECDSA P-256, validity
// is 100 years unless asked otherwise, and validity begins a day ago, since the clocks of a site need not agree.
package certs

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net/netip"
	"slices"
	"time"
)

// DefaultValidity is 100 years, as sealos has it.
const DefaultValidity = 100 * 365 * 24 * time.Hour

// backdate covers clocks that are behind this machine's.
const backdate = 24 * time.Hour

// Pair is a certificate with its key, both PEM.
type Pair struct {
	CertPEM, KeyPEM []byte
	Cert            *x509.Certificate
	key             crypto.Signer
}

// profile is what a certificate is for.
type profile struct {
	commonName   string
	organization []string
	usages       []x509.ExtKeyUsage
	names        []string
	addresses    []netip.Addr
	without      []string // addresses that it must not have
}

// usable gives an error for a pair that cannot sign certificates: it is no authority, or has expired.
func (ca *Pair) usable() error {
	if !ca.Cert.IsCA || ca.Cert.KeyUsage != 0 && ca.Cert.KeyUsage&x509.KeyUsageCertSign == 0 {
		return errors.New("it is not a certificate authority")
	}
	if time.Now().After(ca.Cert.NotAfter) {
		return fmt.Errorf("it expired on %s; check the clock of this machine, or replace it and everything it signed",
			ca.Cert.NotAfter.Format(time.DateOnly))
	}
	return nil
}

// newCA makes a self-signed CA.
func newCA(name string, validity time.Duration) (*Pair, error) {
	template := &x509.Certificate{
		Subject:  pkix.Name{CommonName: name},
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment | x509.KeyUsageCertSign,
		IsCA:     true, BasicConstraintsValid: true,
		DNSNames: []string{name},
	}
	return issue(template, nil, validity)
}

// leaf makes a certificate signed by ca.
func (ca *Pair) leaf(p profile, validity time.Duration) (*Pair, error) {
	template := &x509.Certificate{
		Subject:     pkix.Name{CommonName: p.commonName, Organization: p.organization},
		KeyUsage:    x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment,
		ExtKeyUsage: p.usages,
		DNSNames:    p.names, BasicConstraintsValid: true,
	}
	for _, a := range p.addresses {
		template.IPAddresses = append(template.IPAddresses, a.AsSlice())
	}
	return issue(template, ca, validity)
}

// issue signs a template with ca, or with its own key when ca is nil.
func issue(template *x509.Certificate, ca *Pair, validity time.Duration) (*Pair, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make a key: %w", err)
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, fmt.Errorf("make a serial number: %w", err)
	}
	now := time.Now().UTC()
	template.SerialNumber = serial.Add(serial, big.NewInt(1))
	template.NotBefore, template.NotAfter = now.Add(-backdate), now.Add(validity)
	parent, signer := template, crypto.Signer(key)
	if ca != nil {
		parent, signer = ca.Cert, ca.key
		// A leaf that outlives its CA is refused by some verifiers.
		if template.NotAfter.After(ca.Cert.NotAfter) {
			template.NotAfter = ca.Cert.NotAfter
		}
		if template.NotBefore.Before(ca.Cert.NotBefore) {
			template.NotBefore = ca.Cert.NotBefore
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		return nil, fmt.Errorf("sign certificate %s: %w", template.Subject.CommonName, err)
	}
	keyPEM, err := encodeKey(key)
	if err != nil {
		return nil, err
	}
	return parsePair(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), keyPEM)
}

func encodeKey(key crypto.PrivateKey) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("encode a key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

// parsePair reads a certificate and its key, of any kind that x509 knows.
func parsePair(certPEM, keyPEM []byte) (*Pair, error) {
	block, _ := pem.Decode(certPEM)
	if block == nil || block.Type != "CERTIFICATE" {
		return nil, errors.New("no PEM certificate")
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, err
	}
	key, err := parseKey(keyPEM)
	if err != nil {
		return nil, err
	}
	if pub, ok := key.Public().(interface{ Equal(crypto.PublicKey) bool }); !ok || !pub.Equal(cert.PublicKey) {
		return nil, errors.New("the key does not belong to the certificate")
	}
	return &Pair{CertPEM: certPEM, KeyPEM: keyPEM, Cert: cert, key: key}, nil
}

func parseKey(keyPEM []byte) (crypto.Signer, error) {
	block, _ := pem.Decode(keyPEM)
	if block == nil {
		return nil, errors.New("no PEM key")
	}
	var key any
	var err error
	switch block.Type {
	case "RSA PRIVATE KEY":
		key, err = x509.ParsePKCS1PrivateKey(block.Bytes)
	case "EC PRIVATE KEY":
		key, err = x509.ParseECPrivateKey(block.Bytes)
	default:
		key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
	}
	if err != nil {
		return nil, err
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, errors.New("the key cannot sign")
	}
	return signer, nil
}

// renewBefore is how long before its end a certificate is renewed: a year, and for one of a short life a tenth of its life,
// since every run would renew it otherwise.
func renewBefore(c *x509.Certificate) time.Duration {
	return min(365*24*time.Hour, c.NotAfter.Sub(c.NotBefore)/10)
}

// fits reports whether a certificate is signed by ca, is for at least what p
// asks, and stays valid for long. One that ends with its CA is long enough.
func (l *Pair) fits(ca *Pair, p profile) bool {
	if l.Cert.CheckSignatureFrom(ca.Cert) != nil || l.Cert.Subject.CommonName != p.commonName {
		return false
	}
	if time.Until(l.Cert.NotAfter) < renewBefore(l.Cert) && l.Cert.NotAfter.Before(ca.Cert.NotAfter) {
		return false
	}
	if !slices.Equal(l.Cert.ExtKeyUsage, p.usages) {
		return false
	}
	for _, n := range p.names {
		if !slices.Contains(l.Cert.DNSNames, n) {
			return false
		}
	}
	for _, a := range p.addresses {
		if l.Cert.VerifyHostname(a.String()) != nil {
			return false
		}
	}
	if slices.ContainsFunc(l.Cert.IPAddresses, p.excludes) {
		return false
	}
	return slices.Equal(l.Cert.Subject.Organization, p.organization)
}
