package scan

import (
	"context"
	"fmt"
	"strings"
	"testing"
)

// BenchmarkCharts scans ten charts of forty templates each, one subchart in
// each of them.
func BenchmarkCharts(b *testing.B) {
	var text strings.Builder
	for c := range 10 {
		for _, chart := range []string{fmt.Sprintf("charts/c%d", c), fmt.Sprintf("charts/c%d/charts/sub", c)} {
			fmt.Fprintf(&text, "-- %s/Chart.yaml --\n{apiVersion: v2, name: %s, version: 1.0.0}\n", chart, chart[strings.LastIndexByte(chart, '/')+1:])
			fmt.Fprintf(&text, "-- %s/values.yaml --\nimage: {repository: quay.io/o/a%d, tag: v1}\nextra: {enabled: false}\n", chart, c)
			for t := range 20 {
				fmt.Fprintf(&text, `-- %s/templates/t%d.yaml --
{{- if or .Values.image.tag .Values.extra.enabled }}
apiVersion: apps/v1
kind: Deployment
metadata: {name: t, labels: {{ toJson .Values.image }}}
spec:
  template:
    spec:
      containers:
      - name: a
        image: "{{ .Values.image.repository }}-%d:{{ .Values.image.tag }}"
{{- end }}
`, chart, t, t)
			}
		}
	}
	fsys := contextOf(text.String())
	for b.Loop() {
		r, err := Scan(context.Background(), fsys, nil)
		if err != nil || len(r.Images) != 210 {
			b.Fatal(err, len(r.Images))
		}
	}
}
