package scan

import "testing"

func TestCustomResourcesNameImagesByKey(t *testing.T) {
	runManifests(t, "manifests/x.yaml", map[string]manifestCase{
		"keys": {text: `
apiVersion: postgresql.cnpg.io/v1
kind: Cluster
spec:
  imageName: ghcr.io/cnpg/postgresql:17
  monitoring: {exporter_image: quay.io/e/x:1, sidecarImage: s/c:2}
  image: bare
  images: ["quay.io/l/one:1", two:2]
  other: quay.io/loose/string:1
  prose: see quay.io/in/prose:1 for more
`, images: []string{
			"certain docker.io/library/two:2 7", "certain docker.io/s/c:2 5", "certain ghcr.io/cnpg/postgresql:17 4",
			"certain quay.io/e/x:1 5", "certain quay.io/l/one:1 7",
			"suspected docker.io/library/bare:latest 6", "suspected quay.io/loose/string:1 8",
		}},
		"split maps": {text: `
apiVersion: example.com/v1
kind: Thing
spec:
  image: {registry: quay.io, repository: a/b, tag: 1.10}
  proxy:
    image:
      repository: ghcr.io/c/d
      tag: v2
      digest: sha256:24454f830cdb571e2c4ad15481119c43b3cafd48dd869a9b2945d1036d1dc68d
  hub: {registry: docker.io, image: e/f, tag: "3"}
  untagged: {image: {repository: quay.io/no/tag}}
  baseImage: quay.io/prom/prometheus
  tag: v2.5
`, images: []string{
			"certain docker.io/e/f:3 10",
			"certain ghcr.io/c/d:v2@sha256:24454f830cdb571e2c4ad15481119c43b3cafd48dd869a9b2945d1036d1dc68d 7",
			"certain quay.io/a/b:1.10 4", "certain quay.io/prom/prometheus:v2.5 12", "suspected quay.io/no/tag:latest 11",
		}, problems: []string{"x.yaml:11 the repository quay.io/no/tag has no tag"}},
		"plain values": {text: `
image: {repository: quay.io/v/a, tag: 1}
sidecar: {image: quay.io/v/b:2}
global: {hub: docker.io/istio, proxy: {image: proxyv2}}
`, images: []string{"suspected quay.io/v/a:1 1", "suspected quay.io/v/b:2 2", "suspected docker.io/istio/proxyv2:latest 3"}},
	})
}

func TestEnvAndArgumentsAreCertainWhereTheirNameSaysImage(t *testing.T) {
	runManifests(t, "manifests/x.yaml", map[string]manifestCase{
		"pod": {text: `
apiVersion: v1
kind: Pod
metadata:
  annotations: {sidecar.example.com/proxyImage: "ghcr.io/an/no:1"}
spec:
  containers:
  - name: a
    env:
    - name: RELATED_IMAGE_A
      value: bitnami/a:1
    - {name: OTHER, value: quay.io/o/b:2}
    - {name: MANY_IMAGES, value: "c:3,d=e:4"}
    - {name: CONFIG, value: '{"image": "f:5"}'}
    command: [/manager, --default-image=quay.io/cmd/g:6]
    args:
    - --prometheus-config-reloader=quay.io/p/h:7
    - --helper-image
    - i:8
    - quay.io/bare/j:9
    - --set=image=k:10
`, images: []string{
			"certain docker.io/bitnami/a:1 10", "suspected docker.io/library/c:3 12", "suspected docker.io/library/e:4 12",
			"suspected docker.io/library/f:5 13", "suspected docker.io/library/i:8 18", "suspected docker.io/library/k:10 20",
			"suspected ghcr.io/an/no:1 4", "suspected quay.io/bare/j:9 19", "certain quay.io/cmd/g:6 14",
			"suspected quay.io/o/b:2 11", "suspected quay.io/p/h:7 16",
		}},
	})
}

func TestConfigMapsAreReadAsWhatTheyHold(t *testing.T) {
	runManifests(t, "manifests/x.yaml", map[string]manifestCase{
		"yaml, json, toml, lines, templates, scripts": {text: `
apiVersion: v1
kind: ConfigMap
data:
  image: plain:1
  values.yaml: |
    # image: not/this:1
    proxy:
      image: quay.io/y/a:1
    pod: {spec: {containers: [{image: in-pod:1}]}}
  conf.json: |
    {
      "helper_image": "j/b:2"
    }
  config.toml: |
    [plugins."io.containerd.grpc.v1.cri"]
      sandbox_image = "registry.k8s.io/pause:3.9"
    [[runners]]
      image = "ubuntu:16.04"
  app.properties: |
    # image=no/no:1
    worker.image=w/c:3
    name=quay.io/q/d:4
    port=8080
  rows.sql: |
    VALUES (1,'quay.io/s/ql:1',NULL), (2,'no/registry:1')
  template: |
    spec:
      containers:
      - name: x
        {{- if .Values.x }}
        image: quay.io/t/e:5
        {{- end }}
        tag: {{ .Values.tag }}
  run.sh: |
    image: sh/no:1
    docker run quay.io/no/no:1
`, images: []string{
			"certain docker.io/library/in-pod:1 9", "certain quay.io/t/e:5 31", "suspected quay.io/s/ql:1 25",
			"suspected docker.io/j/b:2 12", "suspected docker.io/library/plain:1 4", "suspected docker.io/library/ubuntu:16.04 18",
			"suspected docker.io/w/c:3 21", "suspected quay.io/q/d:4 22", "suspected quay.io/y/a:1 8",
			"suspected registry.k8s.io/pause:3.9 16",
		}},
		"secret": {text: `
apiVersion: v1
kind: Secret
stringData: {c.yaml: "image: quay.io/s/a:1\nb: c"}
data:
  d.yaml: aW1hZ2U6IHF1YXkuaW8vcy9iOjIKYzogZAo=
`, images: []string{"suspected quay.io/s/a:1 3", "suspected quay.io/s/b:2 5"}},
		"values inside a custom resource": {text: `
apiVersion: helm.cattle.io/v1
kind: HelmChart
spec:
  valuesContent: |-
    image:
      repository: quay.io/h/a
      tag: v1
`, images: []string{"suspected quay.io/h/a:v1 6"}},
	})
}
