package scan

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
)

func write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func link(t *testing.T, old, name string) {
	t.Helper()
	if err := os.Symlink(old, name); err != nil {
		t.Fatal(err)
	}
}

// manifestCase is one form: what stands in manifests/x.yaml and what is found
// there, as CERTAINTY REF LINE.
type manifestCase struct {
	text     string
	images   []string
	problems []string
}

func runManifests(t *testing.T, file string, cases map[string]manifestCase) {
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			fsys := fstest.MapFS{
				file:       {Data: []byte(strings.TrimPrefix(tc.text, "\n"))},
				"Kubefile": {Data: []byte("FROM scratch\nENV registry=reg.example.com TAG=v9\n")},
			}
			var images []string
			for _, i := range tc.images {
				at := strings.LastIndexByte(i, ' ')
				images = append(images, i[:at]+" "+file+":"+i[at+1:])
			}
			wants(t, scanFS(t, fsys), images, tc.problems)
		})
	}
}

func TestPodSpecsAreWalkedWhereverTheyAre(t *testing.T) {
	runManifests(t, "manifests/x.yaml", map[string]manifestCase{
		"deployment": {text: `
apiVersion: apps/v1
kind: Deployment
spec:
  template:
    spec:
      initContainers:
      - name: i
        image: busybox
        imagePullPolicy: IfNotPresent
      containers:
      - image: "quay.io/a/b:1"  # c/d:2
        name: b
        ports: [{containerPort: 8080}]
      ephemeralContainers: [{name: e, image: e:1}]
      volumes:
      - name: v
        image: {reference: quay.io/vol/v:3, pullPolicy: Always}
`, images: []string{
			"certain docker.io/library/busybox:latest 8", "certain docker.io/library/e:1 14",
			"certain quay.io/a/b:1 11", "certain quay.io/vol/v:3 17",
		}},
		"cron job in a list, in JSON, twice over": {text: `
{"apiVersion":"v1","kind":"List","items":[
 {"apiVersion":"batch/v1","kind":"CronJob","spec":{"jobTemplate":{"spec":{"template":{"spec":{
  "containers":[{"name":"a","image":"a:1"}]}}}}}},
 {"apiVersion":"v1","kind":"Pod","spec":{"containers":[{"image":"b:1"}]}}]}
`, images: []string{"certain docker.io/library/a:1 3", "certain docker.io/library/b:1 4"}},
		"custom resource with a pod template": {text: `
apiVersion: example.com/v1
kind: Thing
spec:
  deep: [{podTemplate: {spec: {containers: [{name: x, image: x/y}]}}}]
`, images: []string{"certain docker.io/x/y:latest 4"}},
		"anchors and merges": {text: `
apiVersion: v1
kind: Pod
x: &c {name: a, image: "a:1"}
spec:
  containers:
  - *c
  - <<: *c
    name: b
`, images: []string{"certain docker.io/library/a:1 3"}},
		"several documents, one of them broken": {text: `
apiVersion: v1
kind: Pod
spec: {containers: [{image: a:1}]}
---
apiVersion: v1
kind: Pod
  spec: [
    image: b:2
    # image: c:3
    image: not an image
---
apiVersion: v1
kind: Pod
spec: {containers: [{image: d:4}]}
`, images: []string{
			"certain docker.io/library/a:1 3", "certain docker.io/library/b:2 8", "certain docker.io/library/d:4 14",
		}, problems: []string{"manifests/x.yaml:7 not valid YAML"}},
		"pods for Windows": {text: `
apiVersion: v1
kind: Pod
spec: {nodeSelector: {kubernetes.io/os: windows}, containers: [{name: a, image: "w:1"}]}
`, images: []string{"suspected docker.io/library/w:1 3"}},
		"an image that is none": {text: `
apiVersion: v1
kind: Pod
spec: {containers: [{name: a, image: "Foo Bar"}, {name: b, image: auto}, {name: c, image: ""}]}
`, problems: []string{
			"warning manifests/x.yaml:3 image: auto", "warning manifests/x.yaml:3 containers of container c: its image is empty",
			"error manifests/x.yaml:3 containers of container a: not an image",
		}},
	})
}

func TestWhatIsNoImageIsNotTaken(t *testing.T) {
	runManifests(t, "manifests/x.yaml", map[string]manifestCase{
		"prose, commands, files, ports, versions": {text: `
# image: commented/out:1
apiVersion: v1
kind: Pod
metadata:
  labels: {image: "label/x:1", app.kubernetes.io/version: "1.2"}
  annotations: {note: "uses image: quay.io/pro/se:1 for x", kubernetes.io/description: a/b:1}
spec:
  tolerations: [{key: node.kubernetes.io/x, effect: NoSchedule}]
  containers:
  - image: real:1
    imagePullPolicy: Always
    command: [docker, run, nginx:1.25, /bin/sh, -c, "pull quay.io/in/script:1"]
    args: ["--listen=0.0.0.0:8080", "--taint=node.kubernetes.io/x:NoSchedule", host:9090, "redis.default.svc:6379", "http://x.io/a:1", "--config=/etc/a.yaml", "--version=v1.2.3", "--url=docker.io/foo/bar"]
    env: [{name: A, value: "localhost:5000"}, {name: B, value: "foo:bar"}, {name: IMAGE_PULL_POLICY, value: Always}, {name: IMAGE_TAG, value: v1.2}, {name: URL, value: "https://quay.io/a/b:1"}, {name: GIT, value: "github.com/a/b:v1"}]
`, images: []string{"certain docker.io/library/real:1 10"}},
		"keys of custom resources that only sound like images": {text: `
apiVersion: example.com/v1
kind: Thing
spec:
  imagePullPolicy: Always
  imagePullSecrets: [{name: x}]
  image: logo.png
  osImage: 22.04
  heroImage: https://example.com/a.png
  imageTag: v1
  imageSize: 10Gi
  description: "image: a/b:1"
  source: {chart: nginx, repoURL: "https://x.io", targetRevision: 1.2}
  git: {repository: org/repo, version: v1}
status: {image: "quay.io/st/atus:1"}
`},
		"the schema of a custom resource": {text: `
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
spec:
  versions:
  - schema:
      openAPIV3Schema:
        properties:
          image: {type: string, description: "image: foo/bar:1", example: quay.io/ex/ample:1}
          sidecarImage:
            type: string
            default: quay.io/def/ault:1
          containers: {type: array, items: {properties: {image: {type: string}}}}
`, images: []string{"suspected quay.io/def/ault:1 11"}},
	})
}

func TestTemplatesKeepTheirLinesAndBranches(t *testing.T) {
	runManifests(t, "manifests/x.yaml.tmpl", map[string]manifestCase{
		"values of the Kubefile's ENV, both branches": {text: `
apiVersion: apps/v1
kind: Deployment
spec:
  template:
    spec:
      containers:
{{- if eq .Env.HA "true" }}
      - name: a
        image: {{ .Env.registry }}/a:{{ .TAG }}
{{- else }}
      - name: b
        image: "{{ .registry }}/b:{{ default "v1" .Env.NONE }}"
{{- end }}
      - name: c
        image: {{ .Env.UNKNOWN | default "quay.io/c/c:3" | quote }}
{{ toYaml .Values.more | indent 6 }}
      - name: d
        image: {{ .Env.NOBODY }}/d:1
`, images: []string{
			"certain quay.io/c/c:3 15", "certain reg.example.com/a:v9 9", "certain reg.example.com/b:v1 12",
		}, problems: []string{`x.yaml.tmpl:18 the image "…/d:1" depends on a value`}},
		"too wild for YAML": {text: `
{{ range $i := until 3 }}{{ $i }}: {{ end }}
 - a: [
   image: quay.io/x/y:1
`, images: []string{"certain quay.io/x/y:1 3"}, problems: []string{"not valid YAML"}},
	})
}

func TestOtherFilesOfManifests(t *testing.T) {
	fsys := contextOf(`
-- manifests/README.md --
image: in/readme:1
-- manifests/run.sh --
apiVersion image: in/script:1
-- manifests/no-extension --
apiVersion: v1
kind: Pod
spec: {containers: [{image: a:1}]}
-- manifests/sub/x.json --
{"apiVersion":"v1","kind":"Pod","spec":{"containers":[{"image":"b:1"}]}}
-- manifests/kustomization.yaml --
apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
images:
- name: x
  newName: quay.io/k/x
  newTag: v1
`)
	fsys["manifests/big.yaml"] = &fstest.MapFile{Data: make([]byte, maxManifest+1)}
	fsys["manifests/binary.yaml"] = &fstest.MapFile{Data: []byte("image: c:1\x00")}
	wants(t, scanFS(t, fsys), []string{
		"certain docker.io/library/a:1 manifests/no-extension:3",
		"certain docker.io/library/b:1 manifests/sub/x.json:1",
		"suspected quay.io/k/x:v1 manifests/kustomization.yaml:4",
	}, []string{"manifests/big.yaml:0 larger than 8 MiB", "manifests/binary.yaml:0 it holds no text"})
}
