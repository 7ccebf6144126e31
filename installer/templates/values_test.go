package templates

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/sealbuild/sealbuild/installer"
)

func TestSetReadsPathsListsAndTypes(t *testing.T) {
	v := Values{}
	if err := v.AddFile("site.yaml", []byte("net: {pods: 10.1.0.0/16, mtu: 1400}\nnodes: [a]\ngone: 1\n")); err != nil {
		t.Fatal(err)
	}
	if err := v.AddFile("more.yaml", []byte("net: {mtu: 9000}\ngone: null\n")); err != nil {
		t.Fatal(err)
	}
	for _, s := range []string{`net.vip=10.1.2.3,debug=true`, `nodes[2]=c`, `masters={10.0.0.2,10.0.0.3}`, `text="true"`, `code=007`, `n=7`, `a\.b=x\,y`, `list[0].name=first`, `net.pods=null`} {
		if err := v.Set(s); err != nil {
			t.Fatal(err)
		}
	}
	want := Values{
		"net": map[string]any{"mtu": 9000, "vip": "10.1.2.3"}, "debug": true, "nodes": []any{"a", nil, "c"},
		"masters": []any{"10.0.0.2", "10.0.0.3"}, "text": "true", "code": "007", "n": int64(7), "a.b": "x,y",
		"list": []any{map[string]any{"name": "first"}},
	}
	if d := cmp.Diff(want, v); d != "" {
		t.Error(d)
	}
	for _, bad := range []string{"", "=1", "a", "n.b=1", "nodes.x=1", "n[0]=1", "a[x]=1", "a[-1]=1", "a[99999]=1", "a..b=1", "[0]=1"} {
		if err := v.Set(bad); err == nil {
			t.Errorf("--set %s is not refused", bad)
		}
	}
}

func TestClusterfileIsATemplateOfItsValues(t *testing.T) {
	out, err := RenderClusterfile("Clusterfile", []byte("name: {{ .Values.site | lower }}\n{{ range .Values.nodes }}- {{ . }}\n{{ end }}"), Values{"site": "Oslo", "nodes": []any{"a", "b"}})
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff("name: oslo\n- a\n- b\n", string(out)); d != "" {
		t.Error(d)
	}
	for doc, want := range map[string]string{
		"a: 1\nb: {{ .Values.nothing }}\n":                     "Clusterfile:2:",
		"a: {{ end }}":                                         "Clusterfile:1",
		"{{ range $i := until 3000000 }}xxxxxxxxxxxx{{ end }}": "more than 4194304 bytes",
	} {
		if _, err := RenderClusterfile("Clusterfile", []byte(doc), Values{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: error %v, want one with %q", doc, err, want)
		}
	}
	_, err = installer.ParseClusterfile("Clusterfile", []byte("a: {{ .Values.x }}\n"))
	if err == nil || !strings.Contains(err.Error(), "--values or --set") {
		t.Errorf("a template that was not rendered: %v", err)
	}
}

func FuzzSet(f *testing.F) {
	for _, s := range []string{"a.b=1,c[0]={x,y}", `a\.b="c,d"`, "a[0][1].b=null", "=,{}"} {
		f.Add(s)
	}
	f.Fuzz(func(_ *testing.T, s string) { _ = Values{}.Set(s) })
}
