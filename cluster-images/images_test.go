// Package clusterimages_test checks the cluster images as data: their Kubefiles
// parse, their templates render with the environment an installer gives them,
// and what comes out is what containerd, the registry and Kubernetes read.
package clusterimages_test

import (
	"bytes"
	"encoding/json"
	"io"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"text/template"

	"github.com/Masterminds/sprig/v3"
	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"

	"github.com/sealbuild/sealbuild/kubefile"
)

var images = []string{"kubernetes", "flannel", "calico", "helm", "example", "e2e"}

// parse reads the Kubefile of an image.
func parse(t *testing.T, image string) *kubefile.File {
	t.Helper()
	f, err := os.Open(filepath.Join(image, "Kubefile"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	kf, err := kubefile.Parse(f, f.Name(), kubefile.WithBuildArgs(map[string]string{"TARGETARCH": "amd64"}))
	if err != nil {
		t.Fatalf("parse %s: %v", f.Name(), err)
	}
	return kf
}

// environment is what templates of an image see on a host.
func environment(t *testing.T, image string, more map[string]string) map[string]string {
	t.Helper()
	env := map[string]string{
		"SEALOS_SYS_SEALINSTALL": "/var/lib/sealos/bin/sealinstall", "SEALOS_SYS_HOST_IP": "10.0.0.3",
		"SEALOS_SYS_RUN_MODE": "master", "SEALOS_SYS_KUBE_VERSION": "v1.36.3", "SEALOS_SYS_REGISTRY_HOSTS": "10.0.0.3 10.0.0.2",
		"SEALOS_SYS_MASTERS": "10.0.0.2 10.0.0.3", "SEALOS_SYS_CLUSTER": "default", "SEALOS_SYS_VIP": "10.103.97.2",
	}
	maps.Copy(env, parse(t, image).Env())
	maps.Copy(env, more)
	return env
}

// render renders one template as an installer does.
func render(t *testing.T, file string, env map[string]string) (string, error) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	tmpl, err := template.New(file).Option("missingkey=error").Funcs(sprig.TxtFuncMap()).Parse(string(text))
	if err != nil {
		return "", err
	}
	var out bytes.Buffer
	err = tmpl.Execute(&out, map[string]any{"Env": env})
	return out.String(), err
}

func mustRender(t *testing.T, file string, env map[string]string) string {
	t.Helper()
	out, err := render(t, file, env)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// documents decodes every YAML document of text.
func documents(t *testing.T, text string) []map[string]any {
	t.Helper()
	var docs []map[string]any
	for d := yaml.NewDecoder(strings.NewReader(text)); ; {
		var doc map[string]any
		if err := d.Decode(&doc); err == io.EOF {
			return docs
		} else if err != nil {
			t.Fatalf("%v in\n%s", err, text)
		}
		docs = append(docs, doc)
	}
}

// at walks maps by key and lists by index.
func at(t *testing.T, v any, keys ...any) any {
	t.Helper()
	for _, k := range keys {
		switch k := k.(type) {
		case string:
			m, ok := v.(map[string]any)
			if !ok || m[k] == nil {
				t.Fatalf("no %q in %v", k, v)
			}
			v = m[k]
		case int:
			l, ok := v.([]any)
			if !ok || k >= len(l) {
				t.Fatalf("no item %d in %v", k, v)
			}
			v = l[k]
		}
	}
	return v
}

func TestKubefilesSayWhatTheImagesAre(t *testing.T) {
	t.Parallel()
	for _, image := range images {
		kf := parse(t, image)
		want := kubefile.Application
		if image == "kubernetes" {
			want = kubefile.Rootfs
		}
		if got, err := kf.Type(); err != nil || got != want {
			t.Errorf("%s: type %q (%v), want %q", image, got, err, want)
		}
	}
}

func TestScriptLabelsNameScriptsThatExist(t *testing.T) {
	t.Parallel()
	labels := parse(t, "kubernetes").Labels()
	for _, key := range []string{"check", "init-registry", "init-cri", "init", "prepare", "clean", "clean-cri", "clean-registry"} {
		info, err := os.Stat(filepath.Join("kubernetes", "scripts", labels[key]))
		if labels[key] == "" || err != nil {
			t.Errorf("label %s=%q: %v", key, labels[key], err)
		} else if info.Mode()&0o111 == 0 {
			t.Errorf("%s is not executable", info.Name())
		}
	}
	if diff := cmp.Diff("$defaultVIP", labels["vip"]); diff != "" {
		t.Errorf("label vip (-want +got)\n%s", diff)
	}
}

func TestVersionIsABuildArgument(t *testing.T) {
	t.Parallel()
	f, err := os.Open("kubernetes/Kubefile")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	kf, err := kubefile.Parse(f, "Kubefile", kubefile.WithBuildArgs(map[string]string{"KUBE_VERSION": "v1.28.15", "TARGETARCH": "arm64"}))
	if err != nil {
		t.Fatal(err)
	}
	if got := kf.Labels()["version"]; got != "v1.28.15" {
		t.Errorf("label version is %q", got)
	}
}

func TestEveryTemplateRendersWithTheImagesOwnEnvironment(t *testing.T) {
	t.Parallel()
	found := 0
	for _, image := range images {
		env := environment(t, image, nil)
		for _, dir := range []string{"etc", "scripts", "manifests", "charts"} {
			files, err := filepath.Glob(filepath.Join(image, dir, "*.tmpl"))
			if err != nil {
				t.Fatal(err)
			}
			for _, file := range files {
				found++
				if out := mustRender(t, file, env); strings.Contains(out, "<no value>") {
					t.Errorf("%s: a value is missing in\n%s", file, out)
				}
			}
		}
	}
	if found < 9 {
		t.Errorf("only %d templates found", found)
	}
}

func TestFlannelManifestFollowsItsSettings(t *testing.T) {
	t.Parallel()
	const file = "flannel/manifests/kube-flannel.yaml.tmpl"
	for backend, want := range map[string]map[string]any{
		"vxlan":   {"Type": "vxlan", "Port": 8472.0, "MTU": 1400.0},
		"host-gw": {"Type": "host-gw", "MTU": 1400.0},
	} {
		env := environment(t, "flannel", map[string]string{"flannelBackend": backend, "podCIDR": "10.9.0.0/16", "flannelMTU": "1400"})
		kinds := map[string]map[string]any{}
		for _, doc := range documents(t, mustRender(t, file, env)) {
			kinds[at(t, doc, "kind").(string)] = doc
		}
		var conf struct {
			Network        string
			EnableNFTables bool
			Backend        map[string]any
		}
		text := at(t, kinds["ConfigMap"], "data", "net-conf.json").(string)
		if err := json.Unmarshal([]byte(text), &conf); err != nil {
			t.Fatal(err)
		}
		if conf.Network != "10.9.0.0/16" || conf.EnableNFTables {
			t.Errorf("%s: %s", backend, text)
		}
		if diff := cmp.Diff(want, conf.Backend); diff != "" {
			t.Errorf("%s: backend (-want +got)\n%s", backend, diff)
		}
		var cni map[string]any
		if err := json.Unmarshal([]byte(at(t, kinds["ConfigMap"], "data", "cni-conf.json").(string)), &cni); err != nil {
			t.Error(err)
		}
		image := at(t, kinds["DaemonSet"], "spec", "template", "spec", "containers", 0, "image")
		if image != "ghcr.io/flannel-io/flannel:v0.28.4" {
			t.Errorf("image %v", image)
		}
	}
	if _, err := render(t, file, environment(t, "flannel", map[string]string{"flannelBackend": "vxlann"})); err == nil || !strings.Contains(err.Error(), "vxlann") {
		t.Errorf("a misspelled backend gives %v", err)
	}
}
