package kubeadm

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestSharedDocumentsGivenBackChangeNothing(t *testing.T) {
	for _, version := range []string{"v1.36.3", "v1.28.0"} {
		for _, user := range []string{"", testbedDocs} {
			first := example(Init)
			first.KubernetesVersion = version
			if user != "" {
				first.UserDocs = [][]byte{[]byte(user)}
			}
			shared, err := Shared(first)
			if err != nil {
				t.Fatal(err)
			}
			for _, own := range []string{"master-0", "node-ip", "advertiseAddress", "192.168.0.", "kubernetesVersion"} {
				if strings.Contains(string(shared), own) {
					t.Errorf("%s: shared documents hold %s of one host:\n%s", version, own, shared)
				}
			}
			if err := CheckFields("shared", shared, hintOf); err != nil {
				t.Error(err)
			}
			for _, kind := range []Kind{Init, JoinMaster, JoinNode} {
				in := example(kind)
				in.KubernetesVersion, in.UserDocs = version, first.UserDocs
				want := render(t, in)
				in.UserDocs = [][]byte{shared}
				if d := cmp.Diff(want, render(t, in)); d != "" {
					t.Errorf("%s %s (-before +after):\n%s", version, kind, d)
				}
			}
		}
	}
}

func TestCertificateSettingsAreAddedOnce(t *testing.T) {
	docs := [][]byte{[]byte("apiVersion: kubeadm.k8s.io/v1beta3\nkind: ClusterConfiguration\napiServer: {certSANs: [a.example]}\n")}
	for range 2 {
		var err error
		if docs, err = WithCertificates(docs, []string{"a.example", "b.example", "10.1.1.1"}, 8760*time.Hour); err != nil {
			t.Fatal(err)
		}
	}
	if len(docs) != 2 {
		t.Fatalf("%d documents", len(docs))
	}
	for _, version := range []string{"v1.36.3", "v1.28.0"} { // kubeadm of 1.28 has no field for it; the installer needs none
		in := example(Init)
		in.KubernetesVersion, in.UserDocs = version, docs
		d, err := Render(in)
		if err != nil {
			t.Fatal(err)
		}
		s := d.Settings()
		if s.CertificateValidity != 8760*time.Hour || s.CAValidity != 876000*time.Hour {
			t.Errorf("validity %s, of the CA %s", s.CertificateValidity, s.CAValidity)
		}
		for _, want := range []string{"a.example", "b.example", "10.1.1.1"} {
			if !strings.Contains(strings.Join(s.CertSANs, " "), want) {
				t.Errorf("no %s among %v", want, s.CertSANs)
			}
		}
	}
	in := example(Init)
	in.UserDocs = [][]byte{[]byte("apiVersion: kubeadm.k8s.io/v1beta4\nkind: ClusterConfiguration\ncertificateValidityPeriod: soon\n")}
	if _, err := Render(in); err == nil || !strings.Contains(err.Error(), "certificateValidityPeriod") {
		t.Errorf("a validity that is none: %v", err)
	}
}

func TestKubeadmDoesNotPullBesideAShim(t *testing.T) {
	in := example(Init)
	in.ImageSocket = "/var/run/image-cri-shim.sock"
	if !strings.Contains(render(t, in), "imagePullPolicy: Never") {
		t.Error("kubeadm would pull from the runtime, which does not know the registry")
	}
	in.ImageSocket = in.CRISocket
	if !strings.Contains(render(t, in), "imagePullPolicy: IfNotPresent") {
		t.Error("kubeadm does not pull though the runtime can")
	}
}

func TestARepositoryThatADocumentNamesStays(t *testing.T) {
	in := example(Init)
	in.ImageRepository = "hub.site:5000"
	if text := render(t, in); !strings.Contains(text, "\nimageRepository: hub.site:5000\n") || !strings.Contains(text, "imageRepository: hub.site:5000/coredns\n") {
		t.Errorf("images of Kubernetes have other names:\n%s", text)
	}
	in.ImageDocs = [][]byte{[]byte("apiVersion: kubeadm.k8s.io/v1beta4\nkind: ClusterConfiguration\nimageRepository: mirror.example/k8s\n")}
	if text := render(t, in); strings.Contains(text, "hub.site") || !strings.Contains(text, "\nimageRepository: mirror.example/k8s\n") {
		t.Errorf("the image's own repository is not used alone:\n%s", text)
	}
	in.ImageDocs = [][]byte{[]byte("apiVersion: kubeadm.k8s.io/v1beta4\nkind: ClusterConfiguration\ndns:\n  imageRepository: mirror.example/dns\n")}
	if text := render(t, in); !strings.Contains(text, "imageRepository: mirror.example/dns\n") || strings.Contains(text, "hub.site:5000/coredns") {
		t.Errorf("the repository of CoreDNS is another:\n%s", text)
	}
}
