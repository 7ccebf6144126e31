package certs

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// has is what a master holds after files were written there.
func has(files map[string]File) map[string][]byte {
	m := map[string][]byte{}
	for name, f := range files {
		m[name] = f.Content
	}
	return m
}

// copyAuthorities takes the authorities of one machine to another, as taking over a cluster does.
func copyAuthorities(t *testing.T, from, to string) {
	t.Helper()
	if err := Import(to, from); err != nil {
		t.Fatal(err)
	}
}

func TestAnotherMachineKeepsWhatAMasterHas(t *testing.T) {
	first, second := t.TempDir(), t.TempDir()
	before := masterFiles(t, newPKI(t, first), masterInput())
	copyAuthorities(t, first, second)
	in := masterInput()
	in.Has = has(before)
	after := masterFiles(t, newPKI(t, second), in)
	if d := cmp.Diff(contents(before), contents(after)); d != "" {
		t.Errorf("files of the master (-before +after):\n%s", d)
	}
	// The first machine's own copy is stale once the second has renewed one.
	in.Renew = []string{"apiserver", "admin.conf"}
	renewed := masterFiles(t, newPKI(t, second), in)
	for name := range before {
		same := bytes.Equal(before[name].Content, renewed[name].Content)
		if want := !slices.Contains([]string{"pki/apiserver.crt", "pki/apiserver.key", "admin.conf"}, name); same != want {
			t.Errorf("%s stays: %t, want %t", name, same, want)
		}
	}
	in = masterInput()
	in.Has = has(renewed)
	if d := cmp.Diff(contents(renewed), contents(masterFiles(t, newPKI(t, first), in))); d != "" {
		t.Errorf("the first machine writes its old ones over the renewed (-renewed +written):\n%s", d)
	}
}

func TestWhatNoLongerFitsIsMadeAnewWithItsOldNames(t *testing.T) {
	dir := t.TempDir()
	in := masterInput()
	in.APISANs = append(in.APISANs, "old.example.org")
	before := masterFiles(t, newPKI(t, dir), in)
	in = masterInput()
	in.APISANs = append(in.APISANs, "new.example.org", "10.0.0.9")
	in.Has = has(before)
	after := masterFiles(t, newPKI(t, dir), in)
	cert := parseCert(t, after["pki/apiserver.crt"].Content)
	for _, name := range []string{"old.example.org", "new.example.org", "10.0.0.9", "10.0.0.2"} {
		if err := cert.VerifyHostname(name); err != nil {
			t.Error(err)
		}
	}
	if !bytes.Equal(before["pki/etcd/server.crt"].Content, after["pki/etcd/server.crt"].Content) {
		t.Error("a certificate whose names did not change was made anew")
	}
}

func TestForeignOrBrokenFilesOfAMasterAreReplaced(t *testing.T) {
	in := masterInput()
	in.Has = has(masterFiles(t, newPKI(t, t.TempDir()), in)) // of another cluster
	in.Has["admin.conf"] = []byte("{")
	p := newPKI(t, t.TempDir())
	files := masterFiles(t, p, in)
	for _, name := range []string{"apiserver", "etcd/peer"} {
		ca := p.authorities[map[string]string{"apiserver": kubernetesCA, "etcd/peer": etcdCA}[name]]
		if err := parseCert(t, files["pki/"+name+".crt"].Content).CheckSignatureFrom(ca.Cert); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestValidityIsAsAsked(t *testing.T) {
	p, err := LoadOrCreate(t.TempDir(), Validity{Leaf: 24 * 365 * time.Hour, CA: 10 * 24 * 365 * time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	files := masterFiles(t, p, masterInput())
	if end := parseCert(t, files["pki/apiserver.crt"].Content).NotAfter; !near(end, time.Now().Add(24*365*time.Hour)) {
		t.Errorf("leaf until %s", end)
	}
	if end := parseCert(t, files["pki/ca.crt"].Content).NotAfter; !near(end, time.Now().Add(10*24*365*time.Hour)) {
		t.Errorf("authority until %s", end)
	}
}

func TestAuthoritiesOfADirectoryAreTakenOver(t *testing.T) {
	from, dir := t.TempDir(), t.TempDir()
	given := newPKI(t, from)
	for _, name := range []string{"registry-ca", "front-proxy-ca"} { // these may be missing
		for _, end := range []string{".crt", ".key"} {
			if err := os.Remove(filepath.Join(from, name+end)); err != nil {
				t.Fatal(err)
			}
		}
	}
	for range 2 {
		if err := Import(dir, from); err != nil {
			t.Fatal(err)
		}
	}
	p := newPKI(t, dir)
	if !bytes.Equal(p.CA(), given.CA()) || !bytes.Equal(p.saPrivate, given.saPrivate) {
		t.Error("the cluster has other authorities than those given")
	}
	other := t.TempDir()
	newPKI(t, other)
	if err := Import(dir, other); err == nil || !strings.Contains(err.Error(), "a cluster keeps its authorities") {
		t.Errorf("a second authority: %v", err)
	}
	if err := Import(t.TempDir(), t.TempDir()); err == nil || !strings.Contains(err.Error(), "ca.crt") {
		t.Errorf("a directory without one: %v", err)
	}
	if err := os.Remove(filepath.Join(from, "ca.key")); err != nil {
		t.Fatal(err)
	}
	if err := Import(t.TempDir(), from); err == nil || !strings.Contains(err.Error(), "its key is missing") {
		t.Errorf("a certificate without its key: %v", err)
	}
}

func TestKeysAreReadableByTheirOwnerAlone(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "pki")
	for _, f := range masterFiles(t, newPKI(t, dir), masterInput()) {
		if holdsKey := bytes.Contains(f.Content, []byte("PRIVATE KEY")) || bytes.Contains(f.Content, []byte("client-key-data")); holdsKey && f.Mode != 0o600 {
			t.Errorf("%s has mode %v", f.Path, f.Mode)
		}
	}
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if want := map[bool]os.FileMode{true: 0o700, false: 0o600}[d.IsDir()]; err == nil && info.Mode().Perm() != want {
			t.Errorf("%s has mode %v, want %v", path, info.Mode().Perm(), want)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}
