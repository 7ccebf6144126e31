package installer

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestTemplatesAreRenderedWithTheHostsEnv(t *testing.T) {
	i := &Image{Name: "kubernetes:v1"}
	files := map[string]File{
		"etc/a.toml.tmpl":       {Mode: 0o644, Content: []byte(`root = "{{ .criData }}" # {{ .Env.criData }}` + "\n")},
		"etc/secret.yml.tmpl":   {Mode: 0o644, Content: []byte(`p: {{ .registryPassword }}`)},
		"etc/auth.toml.tmpl":    {Mode: 0o644, Content: []byte(`a = "{{ printf "%s:%s" .registryUsername .registryPassword | b64enc }}"`)},
		"opt/not-rendered.tmpl": {Mode: 0o644, Content: []byte(`{{ .nothing }}`)},
		"etc/plain":             {Mode: 0o644, Content: []byte(`{{ stays }}`)},
	}
	got, err := i.Overlay(files, nil, map[string]string{"criData": "/data", "registryUsername": "admin", "registryPassword": "s3cr3t-value"})
	if err != nil {
		t.Fatal(err)
	}
	want := Overlay{
		"etc/a.toml":     {Mode: 0o644, Content: []byte("root = \"/data\" # /data\n")},
		"etc/secret.yml": {Mode: 0o600, Content: []byte("p: s3cr3t-value")},
		"etc/auth.toml":  {Mode: 0o600, Content: []byte(`a = "YWRtaW46czNjcjN0LXZhbHVl"`)},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestUnknownTemplateKeyNamesFileLineAndKey(t *testing.T) {
	i := &Image{Name: "kubernetes:v1"}
	_, err := i.Overlay(map[string]File{"etc/x.tmpl": {Content: []byte("a\n{{ .criDta }}\n")}}, nil, map[string]string{})
	for _, want := range []string{"etc/x.tmpl:2", "criDta", "kubernetes:v1"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v lacks %q", err, want)
		}
	}
}

func TestConfigStrategiesChangeFilesBeforeTemplates(t *testing.T) {
	i := &Image{Name: "app"}
	files := map[string]File{
		"etc/m.yml":       {Mode: 0o644, Content: []byte("a: 1\nb: {c: 2}\n")},
		"etc/list":        {Mode: 0o644, Content: []byte("middle")},
		"etc/t.conf.tmpl": {Mode: 0o644, Content: []byte("old")},
	}
	got, err := i.Overlay(files, []Config{
		{Path: "etc/m.yml", Strategy: "merge", Data: "b: {d: 3}"},
		{Path: "etc/list", Strategy: "insert", Data: "first\n"},
		{Path: "/etc/list", Strategy: "append", Data: "last"},
		{Path: "etc/t.conf.tmpl", Data: "new {{ .K }}"},
		{Path: "etc/elsewhere", Data: "for another image"},
		{Path: "etc/made", Match: "app", Data: "made"},
		{Path: "etc/m.yml", Match: "other", Data: "not for us"},
	}, map[string]string{"K": "v"})
	if err != nil {
		t.Fatal(err)
	}
	text := map[string]string{}
	for n, f := range got {
		text[n] = string(f.Content)
	}
	want := map[string]string{
		"etc/m.yml": "a: 1\nb:\n    c: 2\n    d: 3\n", "etc/list": "first\nmiddle\nlast",
		"etc/t.conf.tmpl": "new {{ .K }}", "etc/t.conf": "new v", "etc/made": "made",
	}
	if d := cmp.Diff(want, text); d != "" {
		t.Error(d)
	}
}

func TestTemplateFunctionsOfSealosAreThere(t *testing.T) {
	out, err := RenderTemplate("etc/f.tmpl", []byte(`{{ ipAt "10.96.0.0/22" 10 }} {{ ipNet "10.96.0.1" "10.96.0.0/22" }} {{ toYaml (fromYaml "a: 1") }} {{ upper "x" }}`), nil)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff("10.96.0.10 true a: 1 X", string(out)); d != "" {
		t.Error(d)
	}
	for _, bad := range []string{`{{ ipAt "10.0.0.0/30" 4 }}`, `{{ env "HOME" }}`, `{{ ipNet "x" "10.0.0.0/8" }}`} {
		if _, err := RenderTemplate("etc/f.tmpl", []byte(bad), nil); err == nil {
			t.Errorf("%s is not refused", bad)
		}
	}
}
