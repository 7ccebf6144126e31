package scan

import (
	"strings"
	"testing"
)

func TestATemplateThatDefinesOthersIsSearchedBehindItsSwitches(t *testing.T) {
	const chart = `
-- charts/app/Chart.yaml --
{apiVersion: v2, name: app, version: 1.0.0}
-- charts/app/values.yaml --
{mode: plain, metrics: {enabled: false}}
-- charts/app/templates/p.yaml --
`
	for name, tc := range map[string]struct {
		template string
		images   []string
	}{
		"before it": {`
{{- define "app.labels" }}
app: x
{{- end }}
{{- if eq .Values.mode "cluster" }}
apiVersion: v1
kind: Pod
metadata: {labels: {{ include "app.labels" . | fromYaml | toJson }}}
spec:
  containers:
  - name: a
    image: quay.io/o/cluster:1
{{- end }}
`, []string{"suspected quay.io/o/cluster:1 11"}},
		"behind it, and only in a comment": {`
{{- /* we define nothing here */}}
{{- if eq .Values.mode "cluster" }}
apiVersion: v1
kind: Pod
spec:
  containers:
  - image: quay.io/o/cluster:1
{{- else }}
apiVersion: v1
kind: Pod
spec:
  containers:
  - image: quay.io/o/plain:1
{{- end }}
{{- define "app.unused" }}x{{ end }}
`, []string{"certain quay.io/o/plain:1 13", "suspected quay.io/o/cluster:1 7"}},
		"in what it defines": {`
{{- define "app.sidecar" }}
- name: always
  image: quay.io/o/always:1
{{- if eq .Values.mode "cluster" }}
- name: sometimes
  image: quay.io/o/sometimes:1
{{- end }}
{{- end }}
apiVersion: v1
kind: Pod
spec:
  containers:
  {{- include "app.sidecar" . | nindent 2 }}
`, []string{"certain quay.io/o/always:1 3", "suspected quay.io/o/sometimes:1 6"}},
		"around what it includes": {`
{{- define "app.pod" }}
apiVersion: v1
kind: Pod
spec: {containers: [{{ include "app.container" . | fromYaml | toJson }}]}
{{- end }}
{{- define "app.container" }}
image: quay.io/o/included:1
{{- end }}
{{- if eq .Values.mode "cluster" }}
---
{{ template "app.pod" . }}
{{- end }}
`, []string{"suspected quay.io/o/included:1 4"}},
		"templates that include each other": {`
{{- define "app.a" }}{{ if eq .Values.mode "cluster" }}{{ include "app.b" . }}{{ end }}{{ end }}
{{- define "app.b" }}{{ if eq .Values.mode "none" }}{{ include "app.a" . }}{{ end }}{{ end }}
{{- if eq .Values.mode "plain" }}{{ include "app.a" . }}{{ end }}
apiVersion: v1
kind: Pod
spec:
  containers:
  - image: quay.io/o/fine:1
`, []string{"certain quay.io/o/fine:1 8"}},
	} {
		t.Run(name, func(t *testing.T) {
			var images []string
			for _, i := range tc.images {
				at := strings.LastIndexByte(i, ' ')
				images = append(images, i[:at]+" charts/app/templates/p.yaml:"+i[at+1:])
			}
			wants(t, scanFS(t, contextOf(chart+strings.TrimPrefix(tc.template, "\n"))), images, nil)
		})
	}
}
