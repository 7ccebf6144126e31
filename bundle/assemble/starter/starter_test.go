package starter

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const chart = "apiVersion: v2\nname: NAME\nversion: 0.1.0\n"

// said is what a Kubefile says, without comments and empty lines.
func said(text string) []string {
	return slices.DeleteFunc(strings.Split(text, "\n"), func(line string) bool { return line == "" || line[0] == '#' })
}

func fill(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		at := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(at, []byte(strings.ReplaceAll(text, "NAME", filepath.Base(filepath.Dir(at)))), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestAFirstKubefileSaysWhatTheDirectoryNeedsAndNothingElse(t *testing.T) {
	for name, c := range map[string]struct {
		files map[string]string
		chart string
		want  []string
	}{
		"nothing":          {nil, "", []string{"FROM scratch"}},
		"lists alone":      {map[string]string{"images/shim/list": ""}, "", []string{"FROM scratch", "COPY images images"}},
		"manifests":        {map[string]string{"manifests/a.yaml": ""}, "", []string{"FROM scratch", "COPY manifests manifests", `CMD ["kubectl apply -f manifests"]`}},
		"templates":        {map[string]string{"manifests/a.yaml.tmpl": ""}, "", []string{"FROM scratch", "COPY manifests manifests", `CMD ["kubectl apply -f manifests"]`}},
		"nothing to apply": {map[string]string{"manifests/README": ""}, "", []string{"FROM scratch", "COPY manifests manifests"}},
		"manifests deep":   {map[string]string{"manifests/a/b.yml": ""}, "", []string{"FROM scratch", "COPY manifests manifests", `CMD ["kubectl apply --recursive -f manifests"]`}},
		"a kustomization":  {map[string]string{"manifests/kustomization.yaml": "", "manifests/base/b.yml": ""}, "", []string{"FROM scratch", "COPY manifests manifests", `CMD ["kubectl apply -k manifests"]`}},
		"charts in turn":   {map[string]string{"charts/b/Chart.yaml": chart, "charts/a/Chart.yaml": chart, "charts/notes/README": ""}, "", []string{"FROM scratch", "COPY charts charts", `CMD ["helm upgrade --install a charts/a --namespace a --create-namespace", "helm upgrade --install b charts/b --namespace b --create-namespace"]`}},
		"a chart anywhere": {map[string]string{"deploy/A_b.c/Chart.yaml": chart, "deploy/A_b.c.values.yaml": "", "manifests/a.yaml": ""}, "deploy/A_b.c", []string{"FROM scratch", "COPY deploy/A_b.c charts/A_b.c", "COPY deploy/A_b.c.values.yaml charts/A_b.c.values.yaml", `CMD ["helm upgrade --install a-b-c charts/A_b.c --namespace a-b-c --create-namespace --values charts/A_b.c.values.yaml"]`}},
		"a detour":         {map[string]string{"charts/x/Chart.yaml": chart}, "charts/../charts/x", []string{"FROM scratch", "COPY charts/x charts/x", `CMD ["helm upgrade --install x charts/x --namespace x --create-namespace"]`}},
	} {
		dir := fill(t, c.files)
		given := ""
		if c.chart != "" {
			given = filepath.Join(dir, c.chart)
		}
		text, err := Kubefile(dir, given)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if diff := cmp.Diff(c.want, said(text)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestAChartThatCannotBeInstalledIsRefused(t *testing.T) {
	dir := fill(t, map[string]string{
		"charts/" + strings.Repeat("x", 54) + "/Chart.yaml": chart, "a b/Chart.yaml": chart, "none/README": "", "charts.tgz": "no archive",
	})
	for given, want := range map[string]string{
		"..":                                "lies outside of the directory that is built",
		"a b":                               "holds more than letters, digits, dots, slashes, _ and -: rename it",
		"none":                              "a chart is a directory with Chart.yaml",
		"absent":                            "a chart is a directory with Chart.yaml",
		"charts/" + strings.Repeat("x", 54): "names no release",
		"charts.tgz":                        "a chart is a directory with Chart.yaml",
	} {
		if text, err := Kubefile(dir, filepath.Join(dir, given)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, %q", given, err, text)
		}
	}
	if text, err := Kubefile(dir, ""); err == nil {
		t.Errorf("all that is in charts/: %q", text)
	}
}
