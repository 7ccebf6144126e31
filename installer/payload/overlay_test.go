package payload

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/templates"
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
	i.Files = files
	got, err := i.Overlay(nil, map[string]string{"criData": "/data", "registryUsername": "admin", "registryPassword": "s3cr3t-value"})
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
	_, err := (&Image{Name: i.Name, Files: map[string]File{"etc/x.tmpl": {Content: []byte("a\n{{ .criDta }}\n")}}}).Overlay(nil, map[string]string{})
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
	i.Files = files
	got, err := i.Overlay([]installer.Config{
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
		"etc/m.yml": "a: 1\nb: {c: 2, d: 3}\n", "etc/list": "first\nmiddle\nlast",
		"etc/t.conf.tmpl": "new {{ .K }}", "etc/t.conf": "new v", "etc/made": "made",
	}
	if d := cmp.Diff(want, text); d != "" {
		t.Error(d)
	}
}

func TestTemplateFunctionsOfSealosAreThere(t *testing.T) {
	out, err := templates.Render("etc/f.tmpl", []byte(`{{ ipAt "10.96.0.0/22" 10 }} {{ ipNet "10.96.0.1" "10.96.0.0/22" }} {{ toYaml (fromYaml "a: 1") }} {{ upper "x" }}`), nil)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff("10.96.0.10 true a: 1 X", string(out)); d != "" {
		t.Error(d)
	}
	for _, bad := range []string{`{{ ipAt "10.0.0.0/30" 4 }}`, `{{ env "HOME" }}`, `{{ ipNet "x" "10.0.0.0/8" }}`} {
		if _, err := templates.Render("etc/f.tmpl", []byte(bad), nil); err == nil {
			t.Errorf("%s is not refused", bad)
		}
	}
}

func TestMergeKeepsTheFileAndNullRemoves(t *testing.T) {
	for _, tc := range []struct{ name, old, over, want string }{
		{"order, comments and spelling stay", "# head\nmode: 0644\nversion: 1.10 # of the site\nz: [1]\na:\n  # inner\n  b: yes\n", "a: {c: new}\nz: [2, 3]\n", "# head\nmode: 0644\nversion: 1.10 # of the site\nz: [2, 3]\na:\n  # inner\n  b: yes\n  c: new\n"},
		{"null removes", "a: 1\nb: {c: 2, d: 3}\n", "a: null\nb: {c: null, e: null}\n", "b: {d: 3}\n"},
		{"nothing there yet", "", "a: 1\n", "a: 1\n"},
		{"JSON stays JSON", `{"n": 12345678901234567890, "l": [1], "m": {"a": 1}}`, "l: [2]\nm: {b: true, a: null}\n", "{\n  \"l\": [\n    2\n  ],\n  \"m\": {\n    \"b\": true\n  },\n  \"n\": 12345678901234567890\n}\n"},
		{"aliases are written out", "a: &x {k: 1}\nb: *x\n", "a: 2\n", "a: 2\nb:\n  k: 1\n"},
	} {
		got, err := apply(installer.Config{Strategy: "merge", Data: tc.over}, []byte(tc.old))
		if err != nil {
			t.Errorf("%s: %v", tc.name, err)
		}
		if d := cmp.Diff(tc.want, string(got)); d != "" {
			t.Errorf("%s:\n%s", tc.name, d)
		}
	}
	for old, want := range map[string]string{"a: 1\n---\nb: 2\n": "several documents", "- 1\n": "no map", "a: {{ .x }}\n": "", "a: 1\na: 2\n": "already defined", "a: &a [*a]\n": "contains itself"} {
		if _, err := apply(installer.Config{Strategy: "merge", Data: "c: 1"}, []byte(old)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: error %v, want one with %q", old, err, want)
		}
	}
}

func TestConfigOfARenderedFileActsAfterRendering(t *testing.T) {
	i := &Image{Name: "docker.io/site/kubernetes:v1"}
	files := map[string]File{"etc/registry.yml.tmpl": {Mode: 0o644, Content: []byte("port: {{ .registryPort }}\n")}}
	configs := []installer.Config{{Name: "r", Match: "kubernetes:v1", Path: "etc/registry.yml", Strategy: "merge", Data: "debug: true"}}
	i.Files = files
	got, err := i.Overlay(configs, map[string]string{"registryPort": "5000"})
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff("port: 5000\ndebug: true\n", string(got["etc/registry.yml"].Content)); d != "" {
		t.Error(d)
	}
}

func TestConfigThatChangesNothingIsAnError(t *testing.T) {
	files := map[string]map[string]File{"a:v1": {"etc/x": {}, "etc/y.tmpl": {}}, "b:v1": {}}
	fine := []installer.Config{{Path: "etc/x"}, {Path: "/etc/y"}, {Path: "etc/new", Match: "b:v1"}}
	if err := UnusedConfigs(fine, files); err != nil {
		t.Error(err)
	}
	err := UnusedConfigs([]installer.Config{{Name: "one", Path: "etc/z"}, {Name: "two", Path: "etc/x", Match: "c:v1"}}, files)
	for _, want := range []string{`"one": no cluster image has etc/z`, `"two": spec.match: there is no cluster image c:v1`} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v lacks %q", err, want)
		}
	}
}

func TestTemplatesMayProvideForMissingKeys(t *testing.T) {
	const text = `{{ if .a }}A{{ else }}no a{{ end }} {{ .b | default "B" }} {{ default "C" .Env.c }} {{ if and .d (not .e) }}D{{ end }}{{ with .Values.f }}{{ . }}{{ end }}{{ .x }}`
	out, err := templates.Render("etc/f.tmpl", []byte(text), map[string]string{"x": "X"})
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff("no a B C X", string(out)); d != "" {
		t.Error(d)
	}
	if _, err := templates.Render("etc/f.tmpl", []byte(`{{ if .a }}{{ .b }}{{ end }}`), map[string]string{"a": "1"}); err == nil {
		t.Error("a key that nothing provides for is no error")
	}
}

func TestImagesAreFoundByTheEndOfTheirNames(t *testing.T) {
	have := []string{"docker.io/site/kubernetes:v1", "localhost/app:v1", "quay.io/app:v1", "localhost/tool:latest"}
	got, err := resolveImages([]string{"tool", "kubernetes:v1", "localhost/app:v1", "docker.io/site/kubernetes:v1"}, have)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]string{"localhost/tool:latest", "docker.io/site/kubernetes:v1", "localhost/app:v1"}, got); d != "" {
		t.Error(d)
	}
	_, err = resolveImages([]string{"app:v1", "kubernetes:v2", "netes:v1"}, have)
	for _, want := range []string{"app:v1, which may be any of localhost/app:v1, quay.io/app:v1", "kubernetes:v2, which the bundle does not hold", "netes:v1, which the bundle"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v lacks %q", err, want)
		}
	}
}

func TestAFileIsPrivateHoweverASecretIsRenderedIntoIt(t *testing.T) {
	i := &Image{Name: "x", Secret: func(k, v string) bool { return installer.SecretEnv(k, v) || k == "SITE_WORD" }}
	env := map[string]string{"registryPassword": `p"w`, "registryUsername": "admin", "SITE_WORD": "10", "SITE": "north"}
	files := map[string]File{}
	secret := map[string]string{
		"etc/plain.tmpl": "{{ .registryPassword }}", "etc/json.tmpl": "{{ .registryPassword | toJson }}", "etc/told.tmpl": "{{ .SITE_WORD }}",
		"etc/b64.tmpl": `{{ printf "bob:%s" .registryPassword | b64enc }}`, "etc/hash.tmpl": "{{ .registryPassword | sha256sum }}",
	}
	public := map[string]string{"etc/if.tmpl": "{{ if .registryPassword }}auth{{ end }} 10 {{ .SITE }}", "etc/none.tmpl": "10"}
	for name, text := range secret {
		files[name] = File{Mode: 0o644, Content: []byte(text)}
	}
	for name, text := range public {
		files[name] = File{Mode: 0o644, Content: []byte(text)}
	}
	i.Files = files
	got, err := i.Overlay(nil, env)
	if err != nil {
		t.Fatal(err)
	}
	for name := range secret {
		if f := got[strings.TrimSuffix(name, ".tmpl")]; f.Mode != 0o600 {
			t.Errorf("%s has mode %v", name, f.Mode)
		}
	}
	for name := range public {
		if f := got[strings.TrimSuffix(name, ".tmpl")]; f.Mode != 0o644 {
			t.Errorf("%s has mode %v", name, f.Mode)
		}
	}
}
