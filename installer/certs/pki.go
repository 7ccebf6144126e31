package certs

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/sealbuild/sealbuild/ground/durable"
)

// Names of the authorities, which are also their files below the directory.
const (
	kubernetesCA = "ca"
	frontProxyCA = "front-proxy-ca"
	etcdCA       = "etcd/ca"
	registryCA   = "registry-ca"
)

// PKI is the certificates of one cluster, kept in a directory of this machine (0700, keys 0600).
type PKI struct {
	dir         string
	validity    time.Duration // of leaves
	authorities map[string]*Pair
	saPrivate   []byte
	saPublic    []byte
}

// Validity is how long new certificates are valid; zero means DefaultValidity.
type Validity struct{ Leaf, CA time.Duration }

// LoadOrCreate opens the directory and makes the authorities it lacks. A CA that is there is taken over, whoever made it; one
// that cannot be read, or whose key is missing, is an error and never replaced, since everything signed by it would become
// worthless.
func LoadOrCreate(dir string, v Validity) (*PKI, error) {
	if v.Leaf <= 0 {
		v.Leaf = DefaultValidity
	}
	if v.CA <= 0 {
		v.CA = DefaultValidity
	}
	p := &PKI{dir: dir, validity: v.Leaf, authorities: map[string]*Pair{}}
	for _, a := range authorities() {
		pair, err := loadPair(dir, a.file)
		if errors.Is(err, fs.ErrNotExist) {
			if pair, err = newCA(a.commonName, v.CA); err == nil {
				err = p.store(a.file, pair)
			}
		}
		if err == nil {
			err = pair.usable()
		}
		if err != nil {
			return nil, fmt.Errorf("certificate authority %s: %w", filepath.Join(dir, a.file+".crt"), err)
		}
		p.authorities[a.file] = pair
	}
	if err := p.loadServiceAccounts(); err != nil {
		return nil, fmt.Errorf("service account key in %s: %w", dir, err)
	}
	return p, nil
}

type authority struct{ file, commonName string }

func authorities() []authority {
	return []authority{
		{kubernetesCA, "kubernetes"}, {frontProxyCA, "front-proxy-ca"}, {etcdCA, "etcd-ca"}, {registryCA, "sealos-registry-ca"},
	}
}

// CA is the certificate that API servers prove themselves with, PEM.
func (p *PKI) CA() []byte { return p.authorities[kubernetesCA].CertPEM }

// loadPair reads a certificate and its key. The error is fs.ErrNotExist only where the certificate is missing.
func loadPair(dir, name string) (*Pair, error) {
	cert, certErr := os.ReadFile(filepath.Join(dir, name+".crt"))
	key, keyErr := os.ReadFile(filepath.Join(dir, name+".key"))
	switch {
	case certErr != nil:
		// The key is written first: a key without a certificate was left by a run that was cut off.
		return nil, certErr
	case errors.Is(keyErr, fs.ErrNotExist):
		// Not fs.ErrNotExist: a certificate that is there must not be replaced.
		return nil, errKeyMissing
	case keyErr != nil:
		return nil, fmt.Errorf("read its key: %w", keyErr)
	}
	return parsePair(cert, key)
}

var errKeyMissing = errors.New("its key is missing; put the key beside the certificate, or remove both to have new ones made")

func (p *PKI) store(name string, pair *Pair) error {
	if err := p.write(name+".key", pair.KeyPEM); err != nil {
		return err
	}
	return p.write(name+".crt", pair.CertPEM)
}

// write replaces a file atomically and durably, readable by its owner alone.
func (p *PKI) write(name string, data []byte) error {
	path := filepath.Join(p.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	return durable.Write(path, data, 0o600)
}

// loadServiceAccounts reads or makes the key pair that signs service account tokens.
func (p *PKI) loadServiceAccounts() error {
	private, err := os.ReadFile(filepath.Join(p.dir, "sa.key"))
	if errors.Is(err, fs.ErrNotExist) {
		// The public key is written last: one alone means that the key was lost.
		if _, err := os.Stat(filepath.Join(p.dir, "sa.pub")); err == nil {
			return errors.New("sa.key is missing and sa.pub is there; put sa.key back, or remove sa.pub to have new ones made")
		}
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return err
		}
		if private, err = encodeKey(key); err != nil {
			return err
		}
		if err := p.write("sa.key", private); err != nil {
			return err
		}
	} else if err != nil {
		return err
	}
	signer, err := parseKey(private)
	if err != nil {
		return err
	}
	der, err := x509.MarshalPKIXPublicKey(signer.Public())
	if err != nil {
		return err
	}
	p.saPrivate, p.saPublic = private, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	if old, err := os.ReadFile(filepath.Join(p.dir, "sa.pub")); err == nil && bytes.Equal(old, p.saPublic) {
		return nil
	}
	return p.write("sa.pub", p.saPublic)
}

// chosen returns the leaf that a host has when it still fits, else the one of that name kept here when that fits, else a new
// one. That of the host comes first, since another machine may have made it: one that fits is not replaced. A new one has the
// names of the old one, too.
func (p *PKI) chosen(name, authority string, prof profile, has *Pair) (*Pair, error) {
	ca := p.authorities[authority]
	kept, err := loadPair(p.dir, name)
	if has != nil && has.fits(ca, prof) {
		if err == nil && bytes.Equal(kept.CertPEM, has.CertPEM) {
			return has, nil
		}
		return has, p.store(name, has)
	}
	if err == nil && kept.fits(ca, prof) {
		return kept, nil
	}
	if has != nil && has.Cert.CheckSignatureFrom(ca.Cert) == nil {
		prof.addFrom(has.Cert)
	}
	pair, err := ca.leaf(prof, p.validity)
	if err != nil {
		return nil, err
	}
	return pair, p.store(name, pair)
}
