package scan

import (
	"slices"
	"testing"
)

const partsChart = `
-- charts/app/Chart.yaml --
apiVersion: v2
name: app
version: 1.2.3
appVersion: "9.9"
annotations:
  artifacthub.io/images: |
    - name: listed
      image: quay.io/o/listed:1
    - name: known
      image: quay.io/o/metrics:m1
  images: |
    - image: quay.io/o/older:2
dependencies:
- {name: db, version: 1.0.0, condition: db.enabled}
-- charts/app/values.yaml --
global: {registry: reg.example.com}
metrics: {enabled: false, image: {repository: o/metrics, tag: m1}}
webhook:
  image: {repository: o/app-webhook, tag: ""}
kubectl: {image: {repository: bitnami/kubectl, tag: ""}}
operand:
  image:
    registry: ghcr.io
    repository: o/operand
    tag: "3"
mode: plain
db: {enabled: false}
-- charts/app/charts/db/Chart.yaml --
{apiVersion: v2, name: db, version: 1.0.0}
-- charts/app/charts/db/values.yaml --
image: {repository: o/db, tag: "7"}
unused: {image: {repository: o/db-tool, tag: "8"}}
-- charts/app/charts/db/templates/p.yaml --
apiVersion: v1
kind: Pod
spec:
  containers:
  - image: "{{ .Values.global.registry }}/{{ .Values.image.repository }}:{{ .Values.image.tag }}"
-- charts/app/templates/metrics.yaml --
{{- if .Values.metrics.enabled }}
apiVersion: v1
kind: Pod
spec:
  containers:
  - image: "{{ .Values.global.registry }}/{{ .Values.metrics.image.repository }}:{{ .Values.metrics.image.tag }}"
{{- end }}
-- charts/app/templates/mode.yaml --
{{- if eq .Values.mode "plain" }}
apiVersion: v1
kind: Pod
spec: {containers: [{image: "plain:1"}]}
{{- else }}
apiVersion: v1
kind: Pod
spec:
  containers:
  - image: other:{{ .Chart.AppVersion }}
{{- end }}
-- charts/app/templates/monitor.yaml --
{{- if .Capabilities.APIVersions.Has "monitoring.coreos.com/v1" }}
apiVersion: monitoring.coreos.com/v1
kind: Prometheus
spec: {image: "quay.io/p/p:1"}
{{- end }}
-- charts/app/templates/broken.yaml --
{{- if .Values.broken }}
kind: Pod
spec: {containers: [{image: "{{ .Values.a.b.c }}"}]}
{{- end }}
`

func TestPartsThatAreOffAreSuspected(t *testing.T) {
	wants(t, scanFS(t, contextOf(partsChart)), []string{
		"certain docker.io/library/plain:1 charts/app/templates/mode.yaml:4",
		"suspected docker.io/library/other:9.9 charts/app/templates/mode.yaml:10",
		"suspected reg.example.com/o/app-webhook:9.9 charts/app/values.yaml:4",
		"suspected docker.io/o/db-tool:8 charts/app/charts/db/values.yaml:2",
		"suspected ghcr.io/o/operand:3 charts/app/values.yaml:9",
		"suspected quay.io/o/listed:1 charts/app/Chart.yaml:8",
		"suspected quay.io/o/older:2 charts/app/Chart.yaml:12",
		"suspected quay.io/p/p:1 charts/app/templates/monitor.yaml:4",
		"suspected reg.example.com/o/db:7 charts/app/charts/db/templates/p.yaml:5",
		"suspected reg.example.com/o/metrics:m1 charts/app/templates/metrics.yaml:6",
	}, nil)
}

func TestWhatIsSwitchedOffBesideTheChartStaysOff(t *testing.T) {
	got := show(scanFS(t, contextOf(partsChart+`
-- charts/app.values.yaml --
metrics: {enabled: false}
db: {enabled: false}
`)))
	for _, ref := range []string{
		"suspected reg.example.com/o/db:7 charts/app/charts/db/templates/p.yaml:5",
		"suspected reg.example.com/o/metrics:m1 charts/app/templates/metrics.yaml:6",
	} {
		if slices.Contains(got, ref) {
			t.Errorf("%s is taken", ref)
		}
	}
}

func TestAnAuthorsOtherValuesAreSuspectedOnly(t *testing.T) {
	wants(t, scanFS(t, contextOf(appChart+"-- charts/app/values-ha.yaml --\nsidecar: ha:1\n")), []string{
		"certain docker.io/library/busybox:1 charts/app/templates/deploy.yaml:14",
		"certain quay.io/o/app:9.9 charts/app/templates/deploy.yaml:12",
		"suspected docker.io/library/debug:1 charts/app/templates/deploy.yaml:9",
		"suspected docker.io/library/ha:1 charts/app/templates/deploy.yaml:14",
		"suspected docker.io/library/wget:1 charts/app/templates/tests/test.yaml:4",
	}, nil)
}

func TestASchemaThatValuesBreakIsAnError(t *testing.T) {
	wants(t, scanFS(t, contextOf(appChart+`
-- charts/app/values.schema.json --
{"$schema": "http://json-schema.org/draft-07/schema#", "required": ["password"]}
`)), []string{
		"certain docker.io/library/busybox:1 charts/app/templates/deploy.yaml:14",
		"certain quay.io/o/app:9.9 charts/app/templates/deploy.yaml:12",
		"suspected docker.io/library/debug:1 charts/app/templates/deploy.yaml:9",
		"suspected docker.io/library/wget:1 charts/app/templates/tests/test.yaml:4",
	}, []string{"charts/app/values.schema.json:0 values don't meet"})
}
