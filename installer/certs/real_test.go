package certs

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func tool(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Skipf("%s is not installed: %v", name, err)
	}
	return path
}

func run(t *testing.T, argv ...string) string {
	t.Helper()
	out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(argv, " "), err, out)
	}
	return string(out)
}

func TestOpenSSLAcceptsTheChains(t *testing.T) {
	openssl := tool(t, "openssl")
	dir := t.TempDir()
	p := newPKI(t, filepath.Join(dir, "kept"))
	writeFiles(t, dir, masterFiles(t, p, masterInput()))
	crt, key, err := p.Registry("10.0.0.2", nil, nil, "sealos.hub")
	if err != nil {
		t.Fatal(err)
	}
	writeFiles(t, dir, map[string]File{
		"a": {"pki/registry.crt", 0o644, crt}, "b": {"pki/registry.key", 0o600, key}, "c": {"pki/registry-ca.crt", 0o644, p.RegistryCA()},
	})
	file := func(name string) string { return filepath.Join(dir, "pki", name+".crt") }
	for _, c := range [][]string{
		{"ca", "apiserver", "sslserver", "-verify_hostname", "kubernetes.default.svc"},
		{"ca", "apiserver", "sslserver", "-verify_ip", "10.96.0.1"},
		{"ca", "apiserver-kubelet-client", "sslclient"},
		{"front-proxy-ca", "front-proxy-client", "sslclient"},
		{"etcd/ca", "apiserver-etcd-client", "sslclient"},
		{"etcd/ca", "etcd/server", "sslserver", "-verify_ip", "10.0.0.2"},
		{"etcd/ca", "etcd/peer", "sslclient"},
		{"etcd/ca", "etcd/healthcheck-client", "sslclient"},
		{"registry-ca", "registry", "sslserver", "-verify_hostname", "sealos.hub"},
		{"registry-ca", "registry", "sslserver", "-verify_ip", "10.0.0.2"},
	} {
		argv := append([]string{openssl, "verify", "-x509_strict", "-CAfile", file(c[0]), "-purpose", c[2]}, c[3:]...)
		run(t, append(argv, file(c[1]))...)
	}
}

const kubeadmConfig = `apiVersion: kubeadm.k8s.io/v1beta4
kind: InitConfiguration
localAPIEndpoint: {advertiseAddress: 10.0.0.2, bindPort: 6443}
nodeRegistration: {name: master0, criSocket: unix:///run/containerd/containerd.sock}
---
apiVersion: kubeadm.k8s.io/v1beta4
kind: ClusterConfiguration
kubernetesVersion: v1.36.3
controlPlaneEndpoint: apiserver.cluster.local:6443
certificatesDir: DIR/pki
encryptionAlgorithm: ECDSA-P256
networking: {dnsDomain: cluster.local, serviceSubnet: 10.96.0.0/22, podSubnet: 100.64.0.0/10}
apiServer:
  certSANs: [10.0.0.3, apiserver.cluster.local, 10.103.97.2, api.example.org]
etcd:
  local: {dataDir: DIR/etcd, serverCertSANs: [etcd.example.org], peerCertSANs: [etcd.example.org]}
`

func TestKubeadmFindsEverythingAndMakesNothing(t *testing.T) {
	kubeadm := tool(t, "kubeadm")
	dir := t.TempDir()
	files := masterFiles(t, newPKI(t, filepath.Join(t.TempDir(), "kept")), masterInput())
	writeFiles(t, dir, files)
	config := filepath.Join(dir, "kubeadm.yaml")
	if err := os.WriteFile(config, []byte(strings.ReplaceAll(kubeadmConfig, "DIR", dir)), 0o600); err != nil {
		t.Fatal(err)
	}
	out := run(t, kubeadm, "init", "phase", "certs", "all", "--config", config)
	if strings.Contains(out, "Generating") || strings.Contains(out, "WARNING") || strings.Count(out, "Using existing") < 10 {
		t.Errorf("kubeadm init phase certs all says:\n%s", out)
	}
	for _, name := range []string{"admin", "super-admin", "controller-manager", "scheduler"} {
		out := run(t, kubeadm, "init", "phase", "kubeconfig", name, "--config", config, "--kubeconfig-dir", dir)
		if !strings.Contains(out, "Using existing kubeconfig file") {
			t.Errorf("kubeadm init phase kubeconfig %s says:\n%s", name, out)
		}
	}
	list := run(t, kubeadm, "certs", "check-expiration", "--config", config, "--cert-dir", filepath.Join(dir, "pki"))
	for _, name := range []string{"apiserver", "apiserver-etcd-client", "apiserver-kubelet-client", "etcd-healthcheck-client", "etcd-peer", "etcd-server", "front-proxy-client", "ca", "etcd-ca", "front-proxy-ca"} {
		found := false
		for line := range strings.Lines(list) {
			f := strings.Fields(line)
			found = found || len(f) > 5 && f[0] == name && strings.Contains(line, "UTC") && strings.Contains(line, "99y")
		}
		if !found {
			t.Errorf("kubeadm does not list %s for 99 years:\n%s", name, list)
		}
	}
	after := map[string]string{}
	for name := range files {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		after[name] = string(b)
	}
	if diff := cmp.Diff(contents(files), after); diff != "" {
		t.Errorf("kubeadm changed files:\n%s", diff)
	}
}
