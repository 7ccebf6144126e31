package scan

import "testing"

func TestReferencesInPiecesArePutTogether(t *testing.T) {
	runManifests(t, "manifests/x.yaml", map[string]manifestCase{
		"keys beside each other": {text: `
apiVersion: example.com/v1
kind: Thing
spec:
  workerImage: o/worker
  workerImageTag: v1
  workerRegistry: quay.io
  agent: {image: o/agent, imageTag: "2"}
  db: {imageName: o/db, imageVersion: "3"}
  cache: {repository: o/cache, digest: sha256:24454f830cdb571e2c4ad15481119c43b3cafd48dd869a9b2945d1036d1dc68d, registry: ghcr.io}
`, images: []string{
			"certain docker.io/o/agent:2 7", "certain docker.io/o/db:3 8", "certain quay.io/o/worker:v1 4",
			"certain ghcr.io/o/cache@sha256:24454f830cdb571e2c4ad15481119c43b3cafd48dd869a9b2945d1036d1dc68d 9",
		}},
		"a base, a name below it and a version; operands that are off": {text: `
apiVersion: nvidia.com/v1
kind: ClusterPolicy
spec:
  toolkit: {enabled: true, repository: nvcr.io/nvidia/k8s, image: container-toolkit, version: v1.17}
  driver:
    enabled: false
    repository: nvcr.io/nvidia
    image: driver
    version: "570.1"
    manager: {repository: nvcr.io/nvidia/cloud-native, image: k8s-driver-manager, version: v0.8}
  pmm: {enabled: false, image: "percona/pmm-client:3"}
`, images: []string{
			"certain nvcr.io/nvidia/k8s/container-toolkit:v1.17 4",
			"suspected docker.io/percona/pmm-client:3 11",
			"suspected nvcr.io/nvidia/cloud-native/k8s-driver-manager:v0.8 10", "suspected nvcr.io/nvidia/driver:570.1 8",
		}},
		"the base once at the top": {text: `
apiVersion: example.com/v1
kind: Thing
spec:
  registry: reg.example.com/base
  parts:
    a: {image: {repository: o/a, tag: v1}}
    b: {image: {repository: quay.io/o/b, tag: v2}}
  mesh:
    hub: docker.io/istio
    tag: "1.22"
    proxy: {image: proxyv2}
    pilot: {image: {name: pilot}}
  versioned: {version: "8.0", image: {repository: o/c}}
`, images: []string{
			"certain quay.io/o/b:v2 7",
			"suspected docker.io/istio/pilot:1.22 12", "suspected docker.io/istio/proxyv2:1.22 11",
			"suspected reg.example.com/base/o/a:v1 6", "suspected reg.example.com/base/o/c:8.0 13",
		}},
		"flat dotted keys, in a ConfigMap": {text: `
apiVersion: v1
kind: ConfigMap
data:
  trivy.repository: mirror.gcr.io/aquasec/trivy
  trivy.tag: "0.72.0"
  trivy.dbRepository: mirror.gcr.io/aquasec/trivy-db
  trivy.severity: UNKNOWN
`, images: []string{"suspected mirror.gcr.io/aquasec/trivy-db:latest 6", "suspected mirror.gcr.io/aquasec/trivy:0.72.0 4"}},
		"env variables beside each other": {text: `
apiVersion: v1
kind: Pod
spec:
  containers:
  - name: a
    env:
    - {name: WORKER_IMAGE, value: o/worker}
    - {name: WORKER_TAG, value: v1}
    - {name: DB_IMAGE_REPOSITORY, value: quay.io/o/db}
    - {name: DB_IMAGE_TAG, value: "2"}
    - {name: MONGODB_IMAGE, value: mongodb-community-server}
    - {name: MONGODB_REPO_URL, value: quay.io/mongodb}
    - {name: RELATED_IMAGE_X, value: "quay.io/o/x:1"}
    - {name: PROXY_IMAGE, value: envoy}
    - {name: IMAGE_PULL_POLICY, value: Always}
    - {name: DB_REPOSITORY, value: "ghcr.io/o/rules,ghcr.io/o/more"}
    - name: KAFKA_IMAGES
      value: |
        3.9.0=quay.io/strimzi/kafka:0.45-3.9.0
        4.0.0=strimzi/kafka:0.45-4.0.0
    - {name: APP_VERSION, value: "1.2"}
    - {name: ACME_ENGINE_IMAGE, value: quay.io/acme/engine}
    - {name: ENGINE_VERSION, value: "1.33"}
`, images: []string{
			"certain quay.io/o/x:1 13", "suspected docker.io/library/envoy:latest 14", "suspected docker.io/o/worker:v1 7",
			"suspected docker.io/strimzi/kafka:0.45-4.0.0 20", "suspected ghcr.io/o/more:latest 16", "suspected ghcr.io/o/rules:latest 16",
			"suspected quay.io/mongodb/mongodb-community-server:latest 11", "suspected quay.io/o/db:2 9", "suspected quay.io/acme/engine:1.33 22",
			"suspected quay.io/strimzi/kafka:0.45-3.9.0 19",
		}},
		"a map of images": {text: `
apiVersion: apps.kubeblocks.io/v1
kind: ComponentVersion
spec:
  releases:
  - name: 1.0
    images: {mysql: "mysql:8.0.45", init: docker.io/o/init:1, pullPolicy: Always}
  extraImages: ["quay.io/e/x:1"]
  relatedImages:
  - {name: driver-image, image: "quay.io/r/driver:1"}
  - {repository: quay.io/r/agent, tag: "2"}
`, images: []string{
			"certain docker.io/library/mysql:8.0.45 6", "certain docker.io/o/init:1 6", "certain quay.io/e/x:1 7",
			"certain quay.io/r/agent:2 10", "certain quay.io/r/driver:1 9",
		}},
		"arguments in both forms": {text: `
apiVersion: v1
kind: Pod
spec:
  containers:
  - name: a
    args:
    - --backup-image=o/backup:1
    - -sync-image
    - quay.io/o/sync:2
    - --reloader=quay.io/o/reloader:3
    - --image-pull-policy=Always
    - --listen=0.0.0.0:8080
    command: [sh, -c, "docker run quay.io/no/no:1"]
`, images: []string{
			"certain docker.io/o/backup:1 7", "certain quay.io/o/sync:2 9", "suspected quay.io/o/reloader:3 10",
		}},
		"kubeadm's configuration": {text: `
apiVersion: kubeadm.k8s.io/v1beta4
kind: ClusterConfiguration
kubernetesVersion: v1.33.1
imageRepository: reg.example.com/k8s
dns: {imageTag: v1.12.0}
etcd: {local: {imageRepository: quay.io/coreos, imageTag: 3.5.21}}
`, images: []string{
			"suspected reg.example.com/k8s/kube-apiserver:v1.33.1 3", "suspected reg.example.com/k8s/kube-controller-manager:v1.33.1 3",
			"suspected reg.example.com/k8s/kube-scheduler:v1.33.1 3", "suspected reg.example.com/k8s/kube-proxy:v1.33.1 3",
			"suspected reg.example.com/k8s/coredns/coredns:v1.12.0 5", "suspected quay.io/coreos/etcd:3.5.21 6",
		}},
		"tags that a controller adds": {
			text: `
apiVersion: dataprotection.kubeblocks.io/v1alpha1
kind: ActionSet
spec:
  backup: {image: "docker.io/apecloud/xtrabackup:$(IMAGE_TAG)"}
  restore: {image: quay.io/o/restore}
`, images: []string{"suspected docker.io/apecloud/xtrabackup:latest 4", "suspected quay.io/o/restore:latest 5"},
			problems: []string{"warning manifests/x.yaml:5 the repository quay.io/o/restore", `error manifests/x.yaml:4 the image "docker.io/apecloud/xtrabackup:…" depends on a value`},
		},
		"what only looks like pieces": {text: `
apiVersion: example.com/v1
kind: Thing
spec:
  imageFormat: "2"
  imageFeatures: layering
  osImage: ubuntu
  version: "1.2"
  name: thing
  plugins: ["kubernetes:1.31", "git:5.2"]
  installPlugins: "kubernetes:1.31\ngit:5.2\n"
  imagePullPolicy: IfNotPresent
  image: {pullPolicy: Always, tag: v1}
  chartRef: {chart: app, repository: https://charts.example.com, version: 1.0.0}
  tag: v0.1@sha256:24454f830cdb571e2c4ad15481119c43b3cafd48dd869a9b2945d1036d1dc68d
`},
	})
}

func FuzzHelmCommands(f *testing.F) {
	f.Add("helm upgrade -i app charts/app --set a=b,c={d,e} -f x.yaml && echo $(date)", "V")
	f.Add(`helm install "$NAME" ./c --set-json='x={"a": 1}' --set y=${Y:-z}`, "Y")
	f.Fuzz(func(t *testing.T, line, value string) {
		s := runLine(line, map[string]string{"NAME": value, "Y": value, "V": "$V"})
		for _, use := range s.uses {
			for _, set := range use.sets {
				_ = set.into(map[string]any{})
			}
		}
	})
}

func FuzzForcedTemplates(f *testing.F) {
	f.Add([]byte("{{- if .Values.a }}\nkind: Pod\n{{- else if .b }}\nkind: X\n{{- end }}\n"))
	f.Add([]byte("{{ range .x }}{{ if . }}\n- image: {{ . }}\n{{ end }}{{ end }}"))
	f.Add([]byte("{{ define \"a\" }}{{ if .x }}\nkind: Pod\n{{ include \"a\" . }}{{ end }}{{ end }}{{ if .y }}{{ template \"a\" . }}{{ end }}\nimage: "))
	f.Fuzz(func(t *testing.T, source []byte) {
		out := forced("x", source, [][]string{{"a"}})
		if out != nil && forced("x", out, nil) != nil && len(out) > 10*len(source)+1000 {
			t.Errorf("%d bytes became %d", len(source), len(out))
		}
	})
}
