package steps

import (
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sealbuild/sealbuild/installer/certs"
	"github.com/sealbuild/sealbuild/registry"
)

// from is the same site, seen from another control machine, which knows nothing of it.
func (w *world) from(t *testing.T) *world {
	t.Helper()
	other := *w
	other.dir = t.TempDir()
	return &other
}

// mustRun runs a pipeline that has to succeed.
func (w *world) mustRun(t *testing.T, pipeline []Step) int {
	t.Helper()
	changes, err := w.run(t.Context(), pipeline)
	if err != nil {
		t.Fatal(err)
	}
	return changes
}

// read is a file of a host.
func (w *world) read(t *testing.T, host int, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(w.Machines()[host].Root(), name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

const (
	servedCert     = "/etc/registry/tls.crt"
	servedAccounts = "/etc/registry/htpasswd"
	rootfsEtc      = "/var/lib/sealos/data/default/rootfs/etc/"
)

// expire replaces the certificates of a master's registry, and those that this machine keeps, by some that have ended.
func (w *world) expire(t *testing.T, host int) {
	t.Helper()
	pki, err := certs.LoadOrCreate(filepath.Join(w.dir, "pki"), certs.Validity{Leaf: time.Nanosecond})
	if err != nil {
		t.Fatal(err)
	}
	cert, key, err := pki.RenewRegistry(w.Machines()[host].IP, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string][]byte{servedCert: cert, rootfsEtc + "registry_tls.crt": cert, rootfsEtc + "registry_tls.key": key} {
		if err := os.WriteFile(filepath.Join(w.Machines()[host].Root(), name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func endOf(t *testing.T, text string) time.Time {
	t.Helper()
	block, _ := pem.Decode([]byte(text))
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return cert.NotAfter
}

func TestARegistrysCertificateThatEndsIsRenewedWhereItIsServed(t *testing.T) {
	w := newWorld(t, memoryDir(t), simBundle(t), 3, 1)
	w.mustRun(t, Install())
	if changes := w.mustRun(t, Install()); changes != 0 {
		t.Fatalf("the second run makes %d changes", changes)
	}
	others := []string{w.read(t, 0, servedCert), w.read(t, 2, servedCert)}
	w.expire(t, 1)
	if changes := w.mustRun(t, Install()); changes == 0 {
		t.Error("nothing was done about a certificate that has ended")
	}
	if end := endOf(t, w.read(t, 1, servedCert)); time.Until(end) < 365*24*time.Hour {
		t.Errorf("the registry shows a certificate until %s", end)
	}
	if diff := cmp.Diff(others, []string{w.read(t, 0, servedCert), w.read(t, 2, servedCert)}); diff != "" {
		t.Error("certificates that were right are others now")
	}
	if changes := w.mustRun(t, Install()); changes != 0 {
		t.Errorf("afterwards a run makes %d changes", changes)
	}
}

func TestCertListsAndRenewsTheRegistrysCertificates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, memoryDir(t), simBundle(t), 3, 1)
		w.mustRun(t, Install())
		listed := func(change bool, renew ...string) (ends []time.Time) {
			t.Helper()
			w.mustRun(t, Certificates(change, renew, func(hosts []HostCertificates) {
				for _, h := range hosts {
					i := slices.IndexFunc(h.Certificates, func(c certs.Info) bool { return c.Path == servedCert })
					if i < 0 {
						t.Fatalf("%s: the registry's certificate is not listed: %+v", h.Host, h.Certificates)
					}
					ends = append(ends, h.Certificates[i].Ends)
				}
			}))
			return ends
		}
		w.expire(t, 1)
		if ends := listed(false); len(ends) != 3 || time.Until(ends[0]) < 0 || time.Until(ends[1]) > 0 {
			t.Errorf("ends: %v", ends)
		}
		for _, name := range []string{"registry", "all"} {
			before := []string{w.read(t, 0, servedCert), w.read(t, 1, servedCert), w.read(t, 2, servedCert)}
			for i, end := range listed(true, name) {
				if now := w.read(t, i, servedCert); now == before[i] || time.Until(end) < 365*24*time.Hour || now != w.read(t, i, rootfsEtc+"registry_tls.crt") {
					t.Errorf("--renew %s: master %d shows a certificate until %s", name, i, end)
				}
			}
			if changes := w.mustRun(t, Install()); changes != 0 {
				t.Errorf("after --renew %s a run makes %d changes", name, changes)
			}
		}
		if _, err := w.run(t.Context(), Certificates(true, []string{"registri"}, func([]HostCertificates) {})); err == nil || !strings.Contains(err.Error(), `"registry"`) {
			t.Errorf("a slip is told: %v", err)
		}
	})
}

func TestEveryHostKnowsTheAccountThatPullsAndMastersAloneTheOther(t *testing.T) {
	w := newWorld(t, memoryDir(t), simBundle(t), 1, 1)
	w.env = map[string]string{"registryUsername": "site", "registryPassword": "10"}
	w.mustRun(t, Install())
	push := strings.TrimSuffix(w.read(t, 0, "/var/lib/sealos/data/default/etc/registry-push-password"), "\n")
	if !registry.SameAccounts([]byte(w.read(t, 0, servedAccounts)), registry.Account{User: "site", Password: "10", PullOnly: true}, registry.Account{User: "push", Password: push}) {
		t.Errorf("the registry knows %s", w.read(t, 0, servedAccounts))
	}
	for name, what := range w.trees(t)[1] {
		if strings.HasSuffix(name, "/") || strings.HasPrefix(what, "-> ") {
			continue
		}
		if text := w.read(t, 1, name); strings.Contains(text, push) {
			t.Errorf("a node has the password of who pushes, in %s", name)
		}
		if strings.Contains(name, "registry-push") || strings.Contains(name, "htpasswd") {
			t.Errorf("a node has %s", name)
		}
	}
}

func TestARegistryOfBeforeLearnsOfTheSecondAccount(t *testing.T) {
	w := newWorld(t, memoryDir(t), simBundle(t), 2, 1)
	w.mustRun(t, Install())
	// As it was before: one account, which may do everything, and no second password.
	const password = "a-password-of-this-cluster"
	old, err := registry.Accounts(registry.Account{User: "admin", Password: password})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 2 {
		root := w.Machines()[i].Root()
		for _, name := range []string{servedAccounts, rootfsEtc + "registry_htpasswd"} {
			if err := os.WriteFile(filepath.Join(root, name), old, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		for _, name := range []string{"etc/registry-push-password", "journal/registry-shown"} {
			if err := os.Remove(filepath.Join(root, "/var/lib/sealos/data/default", name)); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, name := range []string{"registry-push-password", "registry_htpasswd"} {
		if err := os.Remove(filepath.Join(w.dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	node := w.trees(t)[2]
	w.mustRun(t, Install())
	for i := range 2 {
		push := strings.TrimSuffix(w.read(t, i, "/var/lib/sealos/data/default/etc/registry-push-password"), "\n")
		if len(push) < 32 || !registry.SameAccounts([]byte(w.read(t, i, servedAccounts)), registry.Account{User: "admin", Password: password, PullOnly: true}, registry.Account{User: "push", Password: push}) {
			t.Errorf("master %d knows %s", i, w.read(t, i, servedAccounts))
		}
	}
	if bad := differences(node, w.trees(t)[2]); len(bad) > 0 {
		t.Errorf("what a node has is another:\n%s", strings.Join(bad, "\n"))
	}
	if changes := w.mustRun(t, Install()); changes != 0 {
		t.Errorf("the next run makes %d changes", changes)
	}
}

func TestAPasswordThatAnotherMachineHasSetIsNotReplaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, memoryDir(t), simBundle(t), 2, 1)
		w.mustRun(t, Install())
		other := w.from(t)
		if changes := other.mustRun(t, Install()); changes != 0 {
			t.Errorf("another machine makes %d changes", changes)
		}
		other.env = map[string]string{"registryPassword": "of mine"}
		other.mustRun(t, Install())
		other.env = nil
		for name, machine := range map[string]*world{"the first machine": w, "the other": other, "a third": w.from(t)} {
			if changes := machine.mustRun(t, Install()); changes != 0 {
				t.Errorf("%s makes %d changes", name, changes)
			}
			for i := range 2 {
				if got := w.read(t, i, "/var/lib/sealos/data/default/etc/registry-password"); got != "of mine\n" {
					t.Errorf("after %s: %q", name, got)
				}
			}
		}
	})
}

func TestAPasswordThatWasAskedForSurvivesARunThatWasCutOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, memoryDir(t), simBundle(t), 2, 0)
		w.mustRun(t, Install())
		w.env = map[string]string{"registryPassword": "of mine"}
		if _, err := w.run(t.Context(), Install()[:3]); err != nil { // the check has settled it, no master has it
			t.Fatal(err)
		}
		w.env = nil
		w.mustRun(t, Install())
		if got := w.read(t, 1, "/var/lib/sealos/data/default/etc/registry-password"); got != "of mine\n" {
			t.Errorf("%q", got)
		}
	})
}
