package upstream

import (
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// requireTree skips unless tree and registry data have been made: making them
// takes many minutes, which is for the scripts, not for a unit test.
func requireTree(t *testing.T) Tree {
	t.Helper()
	path, err := script(t.Context(), "make.sh", "--path")
	if err != nil {
		t.Skip("make.sh does not run here: ", err)
	}
	if _, err := os.Stat(path); err != nil {
		t.Skip("run test/upstream/registry.sh fill first: ", err)
	}
	data, err := filepath.Glob(filepath.Join(filepath.Dir(path), "registry-*", "docker"))
	if err != nil || len(data) == 0 {
		t.Skip("run test/upstream/registry.sh fill first: no registry data")
	}
	return Tree(path)
}

func TestTreeHoldsEveryImageThatKubeadmAsksFor(t *testing.T) {
	tree := requireTree(t)
	index, err := os.ReadFile(filepath.Join(tree.Images(), "index.json"))
	if err != nil {
		t.Fatal(err)
	}
	version, err := exec.CommandContext(t.Context(), tree.Bin("kubeadm"), "version", "-o", "short").Output()
	if err != nil {
		t.Fatal(err)
	}
	wanted, err := exec.CommandContext(t.Context(), tree.Bin("kubeadm"), "config", "images", "list",
		"--kubernetes-version", strings.TrimSpace(string(version))).Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range strings.Fields(string(wanted)) {
		if !strings.Contains(string(index), `"`+name+`"`) {
			t.Errorf("image %s is missing", name)
		}
	}
}

func TestRegistryServesWhatTheLayoutHolds(t *testing.T) {
	tree := requireTree(t)
	registry, err := Start(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := registry.Close(); err != nil {
			t.Error(err)
		}
	}()
	var index struct {
		Manifests []struct {
			Digest      string
			MediaType   string
			Annotations map[string]string
		}
	}
	data, err := os.ReadFile(filepath.Join(tree.Images(), "index.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, &index); err != nil {
		t.Fatal(err)
	}
	for _, manifest := range index.Manifests {
		name := manifest.Annotations["org.opencontainers.image.ref.name"]
		colon := strings.LastIndex(name, ":")
		request, err := http.NewRequestWithContext(t.Context(), http.MethodHead,
			"http://"+registry.Addr+"/v2/"+name[:colon]+"/manifests/"+name[colon+1:], nil)
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Accept", manifest.MediaType)
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		if diff := cmp.Diff(manifest.Digest, response.Header.Get("Docker-Content-Digest")); diff != "" {
			t.Errorf("%s (-layout +registry):\n%s", name, diff)
		}
	}
}

func TestConfLeadsEveryDomainToTheRegistry(t *testing.T) {
	path := filepath.Join(t.TempDir(), "registries.conf")
	registry := &Registry{Addr: "127.0.0.1:5443"}
	if err := registry.WriteConf(t.Context(), path); err != nil {
		t.Fatal(err)
	}
	conf, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, domain := range []string{"registry.k8s.io", "ghcr.io", "docker.io"} {
		want := "prefix = \"" + domain + "\"\nlocation = \"127.0.0.1:5443/" + domain + "\"\ninsecure = true\n"
		if !strings.Contains(string(conf), want) {
			t.Errorf("%s is not led to the registry:\n%s", domain, conf)
		}
	}
}
