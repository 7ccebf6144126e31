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

// requireSet skips unless the tree of a set has been made: making it takes
// many minutes, which is for the scripts, not for a unit test.
func requireSet(t *testing.T, set string) Tree {
	t.Helper()
	path, err := script(t.Context(), "make.sh", "--path", set)
	if err != nil {
		t.Skip("make.sh does not run here: ", err)
	}
	if _, err := os.Stat(path); err != nil {
		t.Skipf("run test/upstream/make.sh %s first: %v", set, err)
	}
	return Tree(path)
}

// requireTree is the tree of the current versions; it skips without registry data, too.
func requireTree(t *testing.T) Tree {
	t.Helper()
	path := string(requireSet(t, "cluster"))
	data, err := filepath.Glob(filepath.Join(filepath.Dir(path), "registry-*", "docker"))
	if err != nil || len(data) == 0 {
		t.Skip("run test/upstream/registry.sh fill first: no registry data")
	}
	return Tree(path)
}

func TestTreesHoldEveryImageThatTheirKubeadmAsksFor(t *testing.T) {
	for set, version := range map[string]string{"cluster": "v1.36.3", "before": "v1.35.0"} {
		t.Run(set, func(t *testing.T) {
			tree := requireSet(t, set)
			index, err := os.ReadFile(filepath.Join(tree.Images(), "index.json"))
			if err != nil {
				t.Fatal(err)
			}
			is, err := exec.CommandContext(t.Context(), tree.Bin("kubeadm"), "version", "-o", "short").Output()
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(version, strings.TrimSpace(string(is))); diff != "" {
				t.Errorf("kubeadm's version (-want +got):\n%s", diff)
			}
			wanted, err := exec.CommandContext(t.Context(), tree.Bin("kubeadm"), "config", "images", "list", "--kubernetes-version", version).Output()
			if err != nil {
				t.Fatal(err)
			}
			for _, name := range strings.Fields(string(wanted)) {
				if !strings.Contains(string(index), `"`+name+`"`) {
					t.Errorf("image %s is missing", name)
				}
			}
		})
	}
}

// Who upgrades wants to see everything change that an upgrade can change.
func TestTheSetBeforeDiffersInEveryPieceThatAnUpgradeBrings(t *testing.T) {
	read := func(name string) map[string]string {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		versions := map[string]string{}
		for line := range strings.Lines(string(data)) {
			if key, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok && !strings.HasPrefix(key, "#") {
				versions[key] = value
			}
		}
		return versions
	}
	before, now := read("before.env"), read("versions.env")
	for _, piece := range []string{"KUBERNETES_TAG", "ETCD_TAG", "COREDNS_TAG", "PAUSE_TAG", "CONTAINERD_VERSION"} {
		if before[piece] == "" || before[piece] == now[piece] {
			t.Errorf("%s is %q before and %q now", piece, before[piece], now[piece])
		}
	}
	for module, version := range map[string]string{
		"kubernetes": "k8s.io/kubernetes " + before["KUBERNETES_TAG"], "coredns": "github.com/coredns/coredns " + before["COREDNS_TAG"],
		"containerd": "github.com/containerd/containerd/v2 " + before["CONTAINERD_VERSION"],
		"etcd":       "go.etcd.io/etcd/server/v3 v" + strings.TrimSuffix(before["ETCD_TAG"], "-0"),
	} {
		mod, err := os.ReadFile(filepath.Join("before", module, "go.mod"))
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(mod), version+" ") {
			t.Errorf("before/%s/go.mod does not require %s", module, version)
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
