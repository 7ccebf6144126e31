package scan

import "testing"

func TestManifestsOfEveryKindOfFileAreRead(t *testing.T) {
	wants(t, scanFS(t, contextOf(`
-- Kubefile --
FROM scratch
ENV REGISTRY=reg.example.com
-- manifests/pod --
apiVersion: v1
kind: Pod
spec: {containers: [{image: "none:1"}]}
-- manifests/a.json --
{"apiVersion": "v1", "kind": "Pod", "spec": {"containers": [{"image": "json:1"}]}}
-- manifests/b.yaml.tmpl --
apiVersion: v1
kind: Pod
spec:
  containers:
  {{- if .Env.X }}
  - image: {{ .Env.REGISTRY }}/tmpl:1
  {{- end }}
-- manifests/vars.yaml --
apiVersion: v1
kind: Pod
spec:
  containers:
  - image: ${REGISTRY}/vars:1
  - image: ${OTHER:-quay.io/de/fault:2}
  - image: $UNKNOWN/gone:1
-- manifests/install.sh --
#!/bin/bash
# kubectl run c --image=commented:1
TAG=v5
docker pull host/only:1
crictl pull host/two:1
kubectl run x --image=quay.io/k/run:$TAG
kubectl apply -f - <<EOF
apiVersion: v1
kind: Pod
spec:
  containers:
  - image: here/doc:1
EOF
cat > /etc/x.conf <<'END'
image: no/manifest:1
END
-- manifests/README.md --
Run image: quay.io/pro/se:1, then:
    image: quay.io/pro/se:2
-- manifests/app.conf --
# worker.image=no/no:1
[agent]
image = "conf/agent:1"
port = 8080
-- manifests/props --
sidecar.image=props/side:1
url=https://quay.io/not/this:1
-- manifests/binary --
`+"\x00\x01"+` apiVersion
`)), []string{
		"certain docker.io/here/doc:1 manifests/install.sh:12",
		"certain docker.io/library/json:1 manifests/a.json:1",
		"certain docker.io/library/none:1 manifests/pod:3",
		"certain quay.io/de/fault:2 manifests/vars.yaml:6",
		"certain reg.example.com/tmpl:1 manifests/b.yaml.tmpl:6",
		"certain reg.example.com/vars:1 manifests/vars.yaml:5",
		"suspected docker.io/conf/agent:1 manifests/app.conf:3",
		"suspected docker.io/props/side:1 manifests/props:1",
		"suspected quay.io/k/run:v5 manifests/install.sh:6",
	}, []string{`manifests/vars.yaml:7 the image "…/gone:1" depends on a value`})
}

func TestChartsLieAnywhere(t *testing.T) {
	const chart = "/Chart.yaml --\n{apiVersion: v2, name: NAME, version: 1.0.0}\n"
	pod := func(dir, image string) string {
		return "-- " + dir + chart + "-- " + dir + "/templates/p.yaml --\napiVersion: v1\nkind: Pod\nspec: {containers: [{image: \"" + image + "\"}]}\n"
	}
	wants(t, scanFS(t, contextOf(pod("deploy/helm/app", "a:1")+pod("chart", "b:1")+pod("manifests/charts/c", "c:1")+pod("registry/x", "no:1")+`
-- values/app.values.yaml --
unused: 1
-- app/notes.yaml --
image: not/looked-at:1
`)), []string{
		"certain docker.io/library/a:1 deploy/helm/app/templates/p.yaml:3",
		"certain docker.io/library/b:1 chart/templates/p.yaml:3",
		"certain docker.io/library/c:1 manifests/charts/c/templates/p.yaml:3",
	}, nil)
}

func TestTheKubernetesVersionIsTheTargets(t *testing.T) {
	const chart = `
-- charts/app/Chart.yaml --
{apiVersion: v2, name: app, version: 1.0.0}
-- charts/app/templates/p.yaml --
apiVersion: v1
kind: Pod
spec: {containers: [{image: "k:{{ .Capabilities.KubeVersion.Major }}.{{ .Capabilities.KubeVersion.Minor }}"}]}
`
	for kubefile, want := range map[string]string{
		"FROM scratch\n":                                     "1.36",
		"FROM scratch\nLABEL version=v1.31.2\n":              "1.31",
		"FROM scratch\nLABEL version=2.4.0\n":                "1.36",
		"FROM labring/kubernetes:v1.27.7\n":                  "1.27",
		"FROM registry.x/kubernetes-docker:v1.28.1-amd64\n":  "1.28",
		"FROM labring/helm:v3.19.0\nLABEL version=v3.19.0\n": "1.36",
	} {
		wants(t, scanFS(t, contextOf(chart+"-- Kubefile --\n"+kubefile)), []string{
			"certain docker.io/library/k:" + want + " charts/app/templates/p.yaml:3",
		}, nil)
	}
}

func TestTemplatesThatDoNotRenderAreReadAsText(t *testing.T) {
	wants(t, scanFS(t, contextOf(`
-- charts/app/Chart.yaml --
{apiVersion: v2, name: app, version: 1.0.0, appVersion: "4"}
-- charts/app/values.yaml --
worker: {image: {repository: quay.io/w/k, tag: v2}}
-- charts/app/templates/p.yaml --
apiVersion: v1
kind: Pod
spec:
  containers:
  - image: "{{ .Values.worker.image.repository }}:{{ .Values.worker.image.tag }}"
  - image: "quay.io/own/app:{{ .Chart.AppVersion }}"
  - image: {{ .Values.missing.deep.image }}
  - image: plain:1
`)), []string{
		"suspected docker.io/library/plain:1 charts/app/templates/p.yaml:8",
		"suspected quay.io/own/app:4 charts/app/templates/p.yaml:6",
		"suspected quay.io/w/k:v2 charts/app/templates/p.yaml:5",
	}, []string{"error charts/app/templates/p.yaml:7 chart app does not render"})
}

func TestImagesOfHelmTestsAreLabelledAndCanBeLeftOut(t *testing.T) {
	const text = `
-- manifests/p.yaml --
apiVersion: v1
kind: Pod
metadata: {annotations: {helm.sh/hook: "test-success, test"}}
spec: {containers: [{image: "t:1"}, {image: "both:1"}]}
---
apiVersion: v1
kind: Pod
metadata: {annotations: {helm.sh/hook: "post-install,test"}}
spec: {containers: [{image: "both:1"}, {image: "hook:1"}]}
`
	r := scanFS(t, contextOf(text))
	wants(t, r, []string{
		"certain docker.io/library/both:1 manifests/p.yaml:9", "certain docker.io/library/hook:1 manifests/p.yaml:9",
		"suspected docker.io/library/t:1 manifests/p.yaml:4",
	}, nil)
	for _, f := range r.Images {
		if f.Test != (f.Ref == "docker.io/library/t:1") {
			t.Errorf("%s: test is %v", f.Ref, f.Test)
		}
	}
	wants(t, scanFS(t, contextOf(text+"-- .sealignore --\n@helm-tests\n")), []string{
		"certain docker.io/library/both:1 manifests/p.yaml:9", "certain docker.io/library/hook:1 manifests/p.yaml:9",
	}, nil)
}

func TestListsTakeWhatPeopleWrite(t *testing.T) {
	wants(t, scanFS(t, contextOf(`
-- images/shim/list --
  quay.io/a/b:1   # why
// nothing
rancher/shell:
name-only
`)), []string{
		"certain docker.io/library/name-only:latest images/shim/list:4", "certain quay.io/a/b:1 images/shim/list:1",
		"suspected docker.io/rancher/shell:latest images/shim/list:3",
	}, []string{"warning images/shim/list:3 the tag of rancher/shell is empty", "error images/shim/list:2 not an image reference"})
}
