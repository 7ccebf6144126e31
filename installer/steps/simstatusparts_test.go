package steps

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sealbuild/sealbuild/installer/care"
	"github.com/sealbuild/sealbuild/installer/status"
	"github.com/sealbuild/sealbuild/registry/disk"
)

func TestStatusTellsOfAnEtcdThatFillsUpAndOfAlarms(t *testing.T) {
	w := installed(t, 3, 1)
	w.Fill(1600 << 20)
	mustSay(t, w.status(t), true)
	w.Fill(1700 << 20)
	mustSay(t, w.status(t), false, "10.77.0.2: etcd's database is 1.7 GiB of the 2.0 GiB at which it refuses writes (83 %)")
	w.Fill(2<<30, "NOSPACE")
	mustSay(t, w.status(t), false, "etcd has raised the alarm NOSPACE")
}

func TestStatusHoldsTheMembersOfEtcdAgainstTheMasters(t *testing.T) {
	w := installed(t, 3, 1)
	w.AddMember("10.77.0.9")
	s := w.status(t)
	mustSay(t, s, false, "10.77.0.9 is a member of etcd, and no master of the cluster")
	if s.Etcd.Matches {
		t.Errorf("etcd: %+v", s.Etcd)
	}
}

func TestStatusTellsWhatARegistryLacks(t *testing.T) {
	w := installed(t, 2, 1)
	var blobs []string
	root := filepath.Join(w.Machines()[1].Root(), disk.DefaultRoot, "docker/registry/v2/blobs/sha256")
	if err := filepath.WalkDir(root, func(name string, d os.DirEntry, err error) error {
		if err == nil && d.Name() == "data" {
			blobs = append(blobs, name)
		}
		return err
	}); err != nil || len(blobs) == 0 {
		t.Fatalf("%d blobs, %v", len(blobs), err)
	}
	if err := os.Remove(blobs[0]); err != nil {
		t.Fatal(err)
	}
	s := w.recordedStatus(t)
	mustSay(t, s, false, "10.77.0.2: its registry lacks 1 of the ")
	if lacks := s.Hosts[1].Registry.Lacks; s.Registry.Complete || len(lacks) != 1 || lacks[0] != "sha256:"+filepath.Base(filepath.Dir(blobs[0])) {
		t.Errorf("registry: %+v, it lacks %v", s.Registry, lacks)
	}
	w.Machines()[0].LoseRegistry()
	mustSay(t, w.recordedStatus(t), false, "10.77.0.1: its registry does not answer: nothing listens on port 5000")
	// Without the bundle that the cluster was made with, the masters are compared with each other.
	w.bundle = withStub(t, "another", simImages())
	if s = w.recordedStatus(t); s.Registry.ByBundle || s.Hosts[1].Registry.Missing != 1 {
		t.Errorf("registry by another bundle: %+v", s.Registry)
	}
}

func TestStatusHoldsTheServersOfTheVirtualAddressAgainstTheMasters(t *testing.T) {
	w := installed(t, 2, 2)
	// This node's kernel forwards, and has kept a master that is gone.
	if err := w.Machines()[3].Write("/proc/net/ip_vs", `IP Virtual Server version 1.2.1 (size=4096)
Prot LocalAddress:Port Scheduler Flags
  -> RemoteAddress:Port Forward Weight ActiveConn InActConn
TCP  0A676102:192B rr
  -> 0A4D0001:192B      Masq    1      0          0
  -> 0A4D0009:192B      Masq    0      0          0
`); err != nil {
		t.Fatal(err)
	}
	s := w.status(t)
	mustSay(t, s, false, "10.77.0.4: the virtual address leads to 10.77.0.9:6443, which is no master", "10.77.0.4: the virtual address does not lead to the master 10.77.0.2")
	if diff := cmp.Diff([]status.Server{{Address: "10.77.0.1:6443", Weight: 1}, {Address: "10.77.0.9:6443", Weight: 0}}, s.Hosts[3].Servers); diff != "" {
		t.Error(diff)
	}
}

func TestStatusTellsOfAServerThatACutOffUpgradeWithholds(t *testing.T) {
	w := installed(t, 2, 1)
	if err := w.Machines()[2].Write(care.ListFile, w.read(t, 2, care.ListFile)+"# withheld 10.77.0.2:6443\n"); err != nil {
		t.Fatal(err)
	}
	s := w.status(t)
	mustSay(t, s, false, "10.77.0.3: an upgrade keeps new connections to the virtual address away from 10.77.0.2:6443")
	if diff := cmp.Diff([]status.Server{{Address: "10.77.0.1:6443", Weight: 1}, {Address: "10.77.0.2:6443", Withheld: true}}, s.Hosts[2].Servers); diff != "" {
		t.Error(diff)
	}
}

func TestStatusTellsWhenADiskWillBeFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := installed(t, 1, 1)
		const gib = 1 << 30
		w.Machines()[1].Leave("/var/lib/containerd", 400*gib)
		mustSay(t, w.status(t), true)
		time.Sleep(time.Minute)
		w.Machines()[1].Leave("/var/lib/containerd", 399*gib)
		if s := w.status(t); slices.ContainsFunc(s.Hosts[1].Disks, func(d status.Disk) bool { return !d.Full.IsZero() }) {
			t.Errorf("figures a minute apart make a trend: %+v", s.Hosts[1].Disks)
		}
		time.Sleep(time.Hour - time.Minute)
		w.Machines()[1].Leave("/var/lib/containerd", 360*gib)
		s := w.status(t)
		mustSay(t, s, true, "10.77.0.2: /var/lib/containerd will be full in 9 hours")
		i := slices.IndexFunc(s.Hosts[1].Disks, func(d status.Disk) bool { return d.Path == "/var/lib/containerd" })
		if i < 0 || s.Hosts[1].Disks[i].Full.Sub(s.At).Round(time.Minute) != 9*time.Hour {
			t.Errorf("disks: %+v", s.Hosts[1].Disks)
		}
	})
}

// kubeletCertificate is a certificate with its key, as kubelet keeps that of its client.
func kubeletCertificate(t testing.TB, valid time.Duration) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "system:node"}, NotBefore: time.Now(), NotAfter: time.Now().Add(valid)}
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})) + string(pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: private}))
}

func TestStatusTellsOfCertificatesThatEndOnAnyHost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := installed(t, 1, 1)
		const client, day = "/var/lib/kubelet/pki/kubelet-client-current.pem", 24 * time.Hour
		if err := w.Machines()[1].Write(client, kubeletCertificate(t, 365*day)); err != nil {
			t.Fatal(err)
		}
		s := w.status(t)
		mustSay(t, s, true)
		if h := s.Hosts[1]; h.FirstCert != client || h.CertsEnd.Sub(s.At).Round(day) != 365*day {
			t.Errorf("host: %+v", h)
		}
		time.Sleep(340 * day)
		mustSay(t, w.status(t), true, "10.77.0.2: its certificate "+client+" ends on 2000-12-31")
		time.Sleep(26 * day)
		mustSay(t, w.status(t), false, "10.77.0.2: its certificate "+client+" ended on 2000-12-31")
	})
}

func TestStatusTellsWhyPodsDoNotRun(t *testing.T) {
	w := installed(t, 1, 1)
	w.Add("pods", map[string]any{
		"metadata": map[string]any{"namespace": "shop", "name": "web-0", "labels": map[string]any{"app": "web"}}, "spec": map[string]any{},
		"status": map[string]any{"phase": "Pending", "conditions": []any{map[string]any{"type": "PodScheduled", "status": "False", "message": "0/2 nodes are available: 2 Insufficient cpu."}}},
	})
	s := w.status(t)
	mustSay(t, s, true)
	want := []status.Pod{{Name: "shop/web-0", Why: "Pending, 0/2 nodes are available: 2 Insufficient cpu."}}
	if diff := cmp.Diff(want, s.Pods); diff != "" {
		t.Errorf("pods (-want +got):\n%s", diff)
	}
}

func TestStatusOfAHostWithoutAnInstallerTellsThatNothingWasBegunThere(t *testing.T) {
	w := installed(t, 1, 2)
	if err := w.Machines()[2].Replace(); err != nil {
		t.Fatal(err)
	}
	before := w.trees(t)
	s := w.recordedStatus(t)
	mustSay(t, s, false, "10.77.0.3: it is recorded as a host of the cluster, and nothing of that is there")
	if h := s.Hosts[2]; !h.Reached || h.Begun || h.Joined || s.Hosts[1].Installer == "" {
		t.Errorf("hosts: %+v", s.Hosts)
	}
	for i, tree := range w.trees(t) {
		if diff := differences(before[i], tree); len(diff) > 0 {
			t.Errorf("host %d: %v", i+1, diff)
		}
	}
}
