package certs

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Import copies the authorities and the service account key from one directory into dir, before LoadOrCreate. Its layout is that of
// /etc/kubernetes/pki: ca.crt and ca.key must be there, front-proxy-ca, etcd/ca,
// registry-ca and sa.key may. Those that dir has already must be the same.
func Import(dir, from string) error {
	p := &PKI{dir: dir}
	pairs := map[string]*Pair{}
	for _, a := range authorities() {
		pair, err := loadPair(from, a.file)
		switch {
		case errors.Is(err, fs.ErrNotExist) && a.file != kubernetesCA:
			continue
		case err == nil:
			err = pair.usable()
		}
		if err != nil {
			return fmt.Errorf("certificate authority %s: %w", filepath.Join(from, a.file+".crt"), err)
		}
		old, err := os.ReadFile(filepath.Join(dir, a.file+".crt"))
		if err == nil && !bytes.Equal(bytes.TrimSpace(old), bytes.TrimSpace(pair.CertPEM)) {
			return fmt.Errorf("certificate authority %s is not the one that the cluster has (%s): a cluster keeps its authorities", filepath.Join(from, a.file+".crt"), filepath.Join(dir, a.file+".crt"))
		}
		if err != nil {
			pairs[a.file] = pair
		}
	}
	key, err := os.ReadFile(filepath.Join(from, "sa.key"))
	if err == nil {
		if _, err := parseKey(key); err != nil {
			return fmt.Errorf("service account key %s: %w", filepath.Join(from, "sa.key"), err)
		}
		if old, err := os.ReadFile(filepath.Join(dir, "sa.key")); err == nil && !bytes.Equal(old, key) {
			return fmt.Errorf("service account key %s is not the one that the cluster has", filepath.Join(from, "sa.key"))
		}
		if err := p.write("sa.key", key); err != nil {
			return err
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for name, pair := range pairs {
		if err := p.store(name, pair); err != nil {
			return fmt.Errorf("keep certificate authority %s: %w", name, err)
		}
	}
	return nil
}

// clientOf reads the client certificate and key, PEM, of a kubeconfig's current user.
func clientOf(kubeconfig []byte) (certPEM, keyPEM []byte) {
	var k struct {
		CurrentContext string `yaml:"current-context"`
		Contexts       []struct {
			Name    string `yaml:"name"`
			Context struct {
				User string `yaml:"user"`
			} `yaml:"context"`
		} `yaml:"contexts"`
		Users []struct {
			Name string `yaml:"name"`
			User struct {
				Cert string `yaml:"client-certificate-data"`
				Key  string `yaml:"client-key-data"`
			} `yaml:"user"`
		} `yaml:"users"`
	}
	if yaml.Unmarshal(kubeconfig, &k) != nil {
		return nil, nil
	}
	for _, c := range k.Contexts {
		for _, u := range k.Users {
			if c.Name == k.CurrentContext && u.Name == c.Context.User {
				cert, _ := base64.StdEncoding.DecodeString(u.User.Cert) // one that cannot be read counts as none
				key, _ := base64.StdEncoding.DecodeString(u.User.Key)
				return cert, key
			}
		}
	}
	return nil, nil
}

// forget drops the files that are to be made anew, those of the master and those kept here.
func (p *PKI) forget(dir string, in *MasterInput) error {
	has := maps.Clone(in.Has)
	for _, name := range in.Renew {
		base := strings.TrimSuffix(name, ".conf")
		for _, end := range []string{".crt", ".key"} {
			if err := os.Remove(filepath.Join(p.dir, dir, base+end)); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
			delete(has, "pki/"+name+end)
		}
		delete(has, name)
	}
	in.Has = has
	return nil
}
