package scan

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

// packChart makes a packed chart of the files below dir.
func packChart(t *testing.T, fsys fstest.MapFS, dir string) []byte {
	t.Helper()
	var buf bytes.Buffer
	z := gzip.NewWriter(&buf)
	w := tar.NewWriter(z)
	for _, name := range slices.Sorted(maps.Keys(fsys)) {
		rel, ok := strings.CutPrefix(name, dir+"/")
		if !ok {
			continue
		}
		data := fsys[name].Data
		if err := w.WriteHeader(&tar.Header{Name: "app/" + rel, Mode: 0o644, Size: int64(len(data))}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(data); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

const appChart = `
-- charts/app/Chart.yaml --
apiVersion: v2
name: app
version: 1.2.3
appVersion: "9.9"
-- charts/app/values.yaml --
image: {registry: quay.io, repository: o/app, tag: ""}
sidecar: busybox:1
extra: []
-- charts/app/templates/_helpers.tpl --
{{- define "app.image" -}}
{{ .Values.image.registry }}/{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}
-- charts/app/templates/deploy.yaml --
apiVersion: apps/v1
kind: Deployment
spec:
  template:
    spec:
      containers:
        {{- if .Values.debug }}
        - name: debug
          image: debug:1
        {{- end }}
        - name: app
          image: {{ include "app.image" . | quote }}
        - name: side
          image: {{ .Values.sidecar }}
        {{- with .Values.extra }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
-- charts/app/templates/NOTES.txt --
image: in/notes:1
-- charts/app/templates/tests/test.yaml --
apiVersion: v1
kind: Pod
metadata: {annotations: {"helm.sh/hook": test}}
spec: {containers: [{image: "wget:1"}]}
`

func TestChartsAreRenderedWithTheirValues(t *testing.T) {
	wants(t, scanFS(t, contextOf(appChart)), []string{
		"certain docker.io/library/busybox:1 charts/app/templates/deploy.yaml:14",
		"certain quay.io/o/app:9.9 charts/app/templates/deploy.yaml:12",
		"suspected docker.io/library/debug:1 charts/app/templates/deploy.yaml:9",
		"suspected docker.io/library/wget:1 charts/app/templates/tests/test.yaml:4",
	}, nil)

	wants(t, scanFS(t, contextOf(appChart+`
-- charts/app.values.yaml --
image: {tag: v2}
sidecar: quay.io/side/car:2
-- charts/app.prod.values.yaml --
extra: [{name: x, image: "ex/tra:3"}]
-- charts/app-values-debug.yml --
debug: true
sidecar: other:4
-- charts/other.values.yaml.tmpl --
unused: {{ .Env.X }}
`)), []string{
		"certain docker.io/ex/tra:3 charts/app/templates/deploy.yaml:0",
		"certain docker.io/library/debug:1 charts/app/templates/deploy.yaml:9",
		"certain docker.io/library/other:4 charts/app/templates/deploy.yaml:14",
		"certain quay.io/o/app:v2 charts/app/templates/deploy.yaml:12",
		"certain quay.io/side/car:2 charts/app/templates/deploy.yaml:14",
		"suspected docker.io/library/wget:1 charts/app/templates/tests/test.yaml:4",
	}, nil)
}

func TestPackedChartsAndChartsAtTheRootCount(t *testing.T) {
	fsys := contextOf(appChart)
	packed := packChart(t, fsys, "charts/app")
	wants(t, scanFS(t, fstest.MapFS{
		"charts/app-1.2.3.tgz":     {Data: packed},
		"charts/app.values.yaml":   {Data: []byte("sidecar: s:1\n")},
		"root.tgz":                 {Data: packed},
		"tool.tar.gz":              {Data: []byte("not even gzip")},
		"mychart/Chart.yaml":       {Data: []byte("apiVersion: v2\nname: m\nversion: 1.0.0\n")},
		"mychart/templates/p.yaml": {Data: []byte("apiVersion: v1\nkind: Pod\nspec: {containers: [{image: m:1}]}\n")},
	}), []string{
		"certain docker.io/library/s:1 charts/app-1.2.3.tgz/templates/deploy.yaml:14",
		"certain docker.io/library/busybox:1 root.tgz/templates/deploy.yaml:14",
		"certain docker.io/library/m:1 mychart/templates/p.yaml:3",
		"certain quay.io/o/app:9.9 charts/app-1.2.3.tgz/templates/deploy.yaml:12",
		"suspected docker.io/library/debug:1 charts/app-1.2.3.tgz/templates/deploy.yaml:9",
		"suspected docker.io/library/wget:1 charts/app-1.2.3.tgz/templates/tests/test.yaml:4",
	}, nil)
}

func TestSubchartsFollowTheirConditions(t *testing.T) {
	const sub = `
-- charts/app/Chart.yaml --
apiVersion: v2
name: app
version: 1.0.0
dependencies:
- {name: db, version: 1.0.0, condition: db.enabled}
- {name: cache, version: 1.0.0, condition: cache.enabled}
- {name: gone, version: 1.0.0}
-- charts/app/values.yaml --
db: {enabled: true, image: from/parent:1}
cache: {enabled: false}
-- charts/app/charts/db/Chart.yaml --
{apiVersion: v2, name: db, version: 1.0.0}
-- charts/app/charts/db/values.yaml --
image: from/sub:1
-- charts/app/charts/db/templates/p.yaml --
apiVersion: v1
kind: Pod
spec:
  containers:
  - image: {{ .Values.image }}
-- charts/app/charts/cache/Chart.yaml --
{apiVersion: v2, name: cache, version: 1.0.0}
-- charts/app/charts/cache/templates/p.yaml --
apiVersion: v1
kind: Pod
spec: {containers: [{image: "off:1"}]}
-- charts/app/crds/crd.yaml --
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
spec: {versions: [{schema: {openAPIV3Schema: {properties: {image: {type: string, default: "quay.io/crd/d:1"}}}}}]}
-- charts/lib/Chart.yaml --
{apiVersion: v2, name: lib, version: 1.0.0, type: library}
`
	wants(t, scanFS(t, contextOf(sub)), []string{
		"certain docker.io/from/parent:1 charts/app/charts/db/templates/p.yaml:5",
		"suspected docker.io/library/off:1 charts/app/charts/cache/templates/p.yaml:3",
		"suspected quay.io/crd/d:1 charts/app/crds/crd.yaml:3",
	}, []string{"error charts/app/Chart.yaml:0 chart app: its charts/ directory lacks the dependencies gone"})
	on := contextOf(sub + "-- charts/app.values.yaml --\ncache: {enabled: true}\n")
	if got := show(scanFS(t, on)); !slices.Contains(got, "certain docker.io/library/off:1 charts/app/charts/cache/templates/p.yaml:3") {
		t.Error(got)
	}
}

func TestCapabilitiesAreTheTargets(t *testing.T) {
	const text = `
-- charts/app/Chart.yaml --
{apiVersion: v2, name: app, version: 1.0.0, kubeVersion: ">=1.25.0-0"}
-- charts/app/templates/p.yaml --
apiVersion: v1
kind: Pod
spec:
  containers:
  - image: "k8s:{{ .Capabilities.KubeVersion.Minor }}"
  {{- if .Capabilities.APIVersions.Has "policy/v1beta1/PodDisruptionBudget" }}
  - image: old:1
  {{- end }}
  {{- if .Capabilities.APIVersions.Has "apps/v1/Deployment" }}
  - image: new:1
  {{- end }}
`
	labelled := func(version string) fs.FS {
		return contextOf(text + "-- Kubefile --\nFROM scratch\nLABEL version=" + version + "\n")
	}
	wants(t, scanFS(t, labelled("v1.31.4")), []string{
		"certain docker.io/library/k8s:31 charts/app/templates/p.yaml:5",
		"certain docker.io/library/new:1 charts/app/templates/p.yaml:10",
	}, nil)
	wants(t, scanFS(t, labelled("v1.24.0")), []string{
		"certain docker.io/library/k8s:24 charts/app/templates/p.yaml:5",
		"certain docker.io/library/new:1 charts/app/templates/p.yaml:10",
		"certain docker.io/library/old:1 charts/app/templates/p.yaml:7",
	}, []string{"warning charts/app/Chart.yaml:0 chart app wants Kubernetes >=1.25.0-0, the target is v1.24.0"})
	wants(t, scanFS(t, contextOf(text)), []string{
		"certain docker.io/library/k8s:36 charts/app/templates/p.yaml:5",
		"certain docker.io/library/new:1 charts/app/templates/p.yaml:10",
	}, nil)
	wants(t, scanFS(t, labelled("v1.30.99999999999999999999")), []string{
		"certain docker.io/library/k8s:36 charts/app/templates/p.yaml:5",
		"certain docker.io/library/new:1 charts/app/templates/p.yaml:10",
	}, []string{"warning charts/app:0 kubernetes version"})
}

func TestAChartThatDoesNotRenderNamesTheValueAndStopsNothing(t *testing.T) {
	wants(t, scanFS(t, contextOf(`
-- charts/bad/Chart.yaml --
{apiVersion: v2, name: bad, version: 1.0.0}
-- charts/bad/templates/a.yaml --
apiVersion: v1
kind: Pod
metadata:
  name: {{ required "a password is needed" .Values.auth.password }}
spec: {containers: [{image: "a:1"}]}
-- charts/bad/templates/b.yaml --
apiVersion: v1
kind: Pod
metadata: {name: {{ required "give a host" .Values.host }}}
spec: {containers: [{image: "b:1"}]}
-- charts/bad/templates/c.yaml --
apiVersion: v1
kind: Pod
spec: {containers: [{image: "c:1"}]}
-- charts/broken/Chart.yaml --
{apiVersion: v2, name: broken, version: 1.0.0}
-- charts/broken/templates/a.yaml --
{{ if }}
-- charts/broken/templates/b.yaml --
apiVersion: v1
kind: Pod
spec: {containers: [{image: "d:1"}]}
-- charts/junk.tgz --
junk
-- charts/good/Chart.yaml --
{apiVersion: v2, name: good, version: 1.0.0}
-- charts/good/templates/a.yaml --
apiVersion: v1
kind: Pod
spec: {containers: [{image: "e:1"}]}
`)), []string{
		"certain docker.io/library/b:1 charts/bad/templates/b.yaml:4",
		"certain docker.io/library/c:1 charts/bad/templates/c.yaml:3",
		"certain docker.io/library/d:1 charts/broken/templates/b.yaml:3",
		"certain docker.io/library/e:1 charts/good/templates/a.yaml:3",
		"suspected docker.io/library/a:1 charts/bad/templates/a.yaml:5",
	}, []string{
		"error charts/bad/templates/a.yaml:4 chart bad does not render: ",
		"error charts/bad/templates/b.yaml:3 chart bad does not render: give a host: missing value .Values.host, give it in charts/bad.values.yaml",
		"error charts/broken/templates/a.yaml:1 chart broken does not render",
		"error charts/junk.tgz:0 chart not read: not a packed chart",
	})
}

func TestAValueThatAnotherFileGivesIsNoError(t *testing.T) {
	const text = `
-- charts/app/Chart.yaml --
{apiVersion: v2, name: app, version: 1.0.0}
-- charts/app/templates/a.yaml --
apiVersion: v1
kind: Pod
spec:
  containers:
  - image: {{ required "give .image" .Values.image }}
-- charts/app.site.values.yaml --
image: site:1
`
	wants(t, scanFS(t, contextOf(text)), []string{
		"certain docker.io/library/site:1 charts/app/templates/a.yaml:5",
	}, []string{"warning charts/app/templates/a.yaml:5 with some of the values beside the chart only: chart app does not render: give .image"})
	wants(t, scanFS(t, contextOf(text+"-- charts/app.values.yaml --\na: [\n")), []string{
		"certain docker.io/library/site:1 charts/app/templates/a.yaml:5",
	}, []string{"error charts/app.values.yaml", "error charts/app/templates/a.yaml:5"})
}
