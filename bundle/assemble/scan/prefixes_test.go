package scan

import (
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

func TestNamesAreReadBelowTheRegistryAtTheTop(t *testing.T) {
	runManifests(t, "manifests/x.yaml", map[string]manifestCase{
		"in a ConfigMap: forms for each system, a second document with a base of its own": {text: `
apiVersion: v1
kind: ConfigMap
data:
  images.yaml: |
    ---
    base: quay.io/acme
    components:
      agent: {image: acme-agent, tag: v2}
      loader:
        tag: v9.2
        image: loader-noble
        match:
        - osImage: Red Hat Enterprise Linux 9
          image: loader-el9
        - {osImage: flatcar, image: loader-flatcar, precompiled: true}
      kernel:
        tag: v3
        image: kernel
        match: {debian: {image: kernel-debian}, suse: {image: kernel-suse, tag: v4}}
    ---
    base: registry.k8s.io/sig-storage
    components:
      csi: {image: csi, tag: v1}
`, images: []string{
			"suspected quay.io/acme/acme-agent:v2 8", "suspected quay.io/acme/kernel-debian:v3 19", "suspected quay.io/acme/kernel-suse:v4 19",
			"suspected quay.io/acme/kernel:v3 18", "suspected quay.io/acme/loader-el9:v9.2 14",
			"suspected quay.io/acme/loader-flatcar:v9.2 15", "suspected quay.io/acme/loader-noble:v9.2 11",
			"suspected registry.k8s.io/sig-storage/csi:v1 23",
		}},
		"in a ConfigMap: beside each other, in JSON, and below the text's neighbour": {text: `
apiVersion: v1
kind: ConfigMap
data:
  image_registry: quay.io/acme
  agent_image: acme-agent
  agent_tag: v2
  more.json: |
    {"images": {"csi": {"name": "csi", "tag": "v1"}}}
`, images: []string{"suspected quay.io/acme/acme-agent:v2 5", "suspected quay.io/acme/csi:v1 8"}},
		"in a resource: what a key says of one name, and of all": {text: `
apiVersion: acme.example.com/v1
kind: Config
spec:
  imageRegistry: quay.io/acme
  workerRegistry: ghcr.io/other
  workerImage: worker
  workerTag: v5
  agentImage: acme-agent
  agentTag: v2
  csi: {name: csi, tag: v1}
  images: [sidecar:v3]
  pinned: {image: "ghcr.io/whole/name:v4"}
`, images: []string{
			"certain ghcr.io/other/worker:v5 6", "certain ghcr.io/whole/name:v4 12", "suspected quay.io/acme/acme-agent:v2 8",
			"suspected quay.io/acme/csi:v1 10", "suspected quay.io/acme/sidecar:v3 11", "suspected docker.io/library/sidecar:v3 11",
		}},
		"a registry and a repository above": {text: `
registry: https://quay.io/
repository: acme
parts: {agent: {image: acme-agent, tag: v2}}
`, images: []string{"suspected quay.io/acme/acme-agent:v2 3"}},
		"one tag for all": {text: `
image_registry: quay.io/acme
image_tag: v7
parts: {agent: {image: acme-agent}, csi: {image: csi, tag: v1}}
`, images: []string{"suspected quay.io/acme/acme-agent:v7 3", "suspected quay.io/acme/csi:v1 3"}},
		"a repository in the place of another": {text: `
versions:
- repository: acme/stack
  mirrors: [{imageTag: v1}, {imageTag: v2, repository: agent}]
enterprise: {repository: acme/plain, enterpriseRepository: acme/full, enterpriseTag: v4}
`, images: []string{"suspected docker.io/acme/full:v4 4"}},
		"a name beside a repository": {text: `
registry: quay.io
parts: [{name: first, repository: acme/agent, tag: v2}]
`, images: []string{"suspected quay.io/acme/agent:v2 2"}},
		"a prefix that names begin with": {text: `
imagePrefix: quay.io/acme/prod-
parts: {agent: {image: agent, tag: v2}}
`, images: []string{"suspected quay.io/acme/prod-agent:v2 2"}},
	})
}

func TestEveryKeyOfARegistryGoesInFrontOfNames(t *testing.T) {
	const resource = "apiVersion: acme.example.com/v1\nkind: Config\nspec:\n"
	for _, key := range []string{
		"image_registry", "imageRegistry", "imagePrefix", "image-prefix", "registry", "repository", "repo", "base", "hub", "imageRepository",
		"defaultRegistry", "dockerRegistry", "registryUrl", "imageBase", "containerRegistry",
	} {
		top := "  " + key + ": quay.io/acme\n  parts:\n    agent: {image: acme-agent, tag: v2}\n"
		runManifests(t, "manifests/x.yaml", map[string]manifestCase{
			key + " in a resource": {text: resource + top, images: []string{"suspected quay.io/acme/acme-agent:v2 6"}},
			key + " in a ConfigMap": {
				text:   "apiVersion: v1\nkind: ConfigMap\ndata:\n  x.yaml: |\n" + "  " + strings.ReplaceAll(top, "\n", "\n  "),
				images: []string{"suspected quay.io/acme/acme-agent:v2 7"},
			},
			key + " in values": {text: top, images: []string{"suspected quay.io/acme/acme-agent:v2 3"}},
		})
	}
}

func TestWhatOnlySoundsLikeARegistryMovesNoImage(t *testing.T) {
	const resource = "apiVersion: acme.example.com/v1\nkind: Config\nspec:\n"
	for top, want := range map[string][]string{
		// Nobody knows whether it is Docker Hub's organisation or something else: both are candidates.
		"repository: git": {"suspected docker.io/git/csi:v1 5", "suspected docker.io/library/csi:v1 5"},
		"repo: acme":      {"suspected docker.io/acme/csi:v1 5", "suspected docker.io/library/csi:v1 5"},
		// Or it is an image of its own, whose tag is added later.
		"repository: quay.io/acme/app": {"suspected docker.io/library/csi:v1 5", "suspected quay.io/acme/app/csi:v1 5"},
		// These are none.
		"repository: https://charts.example.com": {"certain docker.io/library/csi:v1 5"},
		"repository: github.com/acme/app":        {"certain docker.io/library/csi:v1 5"},
		"repo: git@example.com:acme/app.git":     {"certain docker.io/library/csi:v1 5"},
		"base: main":                             {"certain docker.io/library/csi:v1 5"},
		"prefix: prod":                           {"certain docker.io/library/csi:v1 5"},
		"proxyRegistry: quay.io/acme":            {"certain docker.io/library/csi:v1 5"},
		"registryMirror: quay.io/acme":           {"certain docker.io/library/csi:v1 5"},
		"registry: 3":                            {"suspected docker.io/3/csi:v1 5"},
		// An image of its own beside the others.
		"{repository: quay.io/acme/app, tag: v3}": {"certain docker.io/library/csi:v1 5", "certain quay.io/acme/app:v3 4"},
	} {
		text := resource + "  " + top + "\n  csi: {image: csi, tag: v1}\n"
		if strings.HasPrefix(top, "{") {
			text = resource + "  image: " + top + "\n  csi: {image: csi, tag: v1}\n"
		}
		runManifests(t, "manifests/x.yaml", map[string]manifestCase{top: {text: text, images: want}})
	}
}

func TestAValuesFileWithTheRegistryAtTheTop(t *testing.T) {
	wants(t, scanFS(t, contextOf(`
-- charts/app/Chart.yaml --
{apiVersion: v2, name: app, version: 1.0.0}
-- charts/app/templates/c.yaml --
apiVersion: v1
kind: ConfigMap
data:
  images.yaml: |
{{ toYaml .Values.images | indent 4 }}
-- charts/app.values.yaml --
images:
  base: quay.io/acme
  components: {agent: {image: acme-agent, tag: v2}, csi: {image: csi, tag: v1}}
`)), []string{
		"suspected quay.io/acme/acme-agent:v2 charts/app/templates/c.yaml:0", "suspected quay.io/acme/csi:v1 charts/app/templates/c.yaml:0",
	}, nil)
}

// FuzzConfigMaps: no text under a key of a ConfigMap gives an image on a line that is not there, or one that does not normalise.
func FuzzConfigMaps(f *testing.F) {
	f.Add("x.yaml", "base: quay.io/acme\ncomponents:\n  a: {image: b, tag: v1, match: [{osImage: x, image: c}]}\n---\nbase: r.io\n")
	f.Add("x.json", `{"imageRegistry": "quay.io/a", "images": {"b": "c:1", "d": ["e:2"]}}`)
	f.Add("image_registry", "repository: git\nx: {name: a, tag: b}")
	f.Add("x.toml", "registry = \"quay.io/a-\"\n[x]\nimage = \"b\"\ntag = \"c\"\n")
	f.Add("x", "registry: https://a.io/\nrepository: b\nimage: {name: c}\ntag: '1'\n")
	f.Fuzz(func(t *testing.T, key, content string) {
		lines := strings.Count(content, "\n") + 10
		value, err := yamlText(map[string]any{"apiVersion": "v1", "kind": "ConfigMap", "data": map[string]string{key: content}})
		if err != nil {
			t.Skip()
		}
		s := &scanner{collector: newCollector(&ignoreList{}), env: map[string]string{}}
		s.manifest("x.yaml", value, rendered{})
		for _, i := range s.result().Images {
			if again, err := Normalize(i.Ref); err != nil || again != i.Ref || i.Line < 0 || i.Line > lines+strings.Count(value, "\n") {
				t.Fatalf("%+v: %v", i, err)
			}
		}
	})
}

// yamlText is a value as a document.
func yamlText(v any) (string, error) {
	text, err := yaml.Marshal(v)
	return string(text), err
}
