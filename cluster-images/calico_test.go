package clusterimages_test

import (
	"crypto/sha256"
	"fmt"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/containers/image/v5/types"
	"github.com/google/go-cmp/cmp"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/sealbuild/sealbuild/bundle/assemble"
	"github.com/sealbuild/sealbuild/bundle/assemble/build"
	"github.com/sealbuild/sealbuild/bundle/assemble/store"
	"github.com/sealbuild/sealbuild/test/upstreamtest"
)

// Building makes the test program run itself inside the container first.
func TestMain(m *testing.M) {
	if build.Reexec() {
		return
	}
	os.Exit(m.Run())
}

// operatorChart has the shape of the operator's chart: a Deployment whose image
// is put together of three values, and a custom resource that names none.
var operatorChart = map[string]string{
	"tigera-operator/Chart.yaml":  "apiVersion: v2\nname: tigera-operator\nversion: v3.32.1\n",
	"tigera-operator/values.yaml": "installation:\n  enabled: true\ntigeraOperator:\n  registry: quay.io\n  image: tigera/operator\n  version: v1.42.3\n",
	"tigera-operator/templates/_helpers.tpl": `{{- define "operator.image" -}}{{ .registry | trimSuffix "/" }}/{{ .image }}:{{ .version }}{{- end -}}
`,
	"tigera-operator/templates/operator.yaml": `apiVersion: apps/v1
kind: Deployment
metadata:
  name: tigera-operator
spec:
  selector: {matchLabels: {name: tigera-operator}}
  template:
    metadata: {labels: {name: tigera-operator}}
    spec:
      containers:
        - name: tigera-operator
          image: {{ template "operator.image" .Values.tigeraOperator }}
          env:
            - {name: TIGERA_OPERATOR_INIT_IMAGE_VERSION, value: {{ .Values.tigeraOperator.version }}}
`,
	"tigera-operator/templates/installation.yaml": `{{ if .Values.installation.enabled }}
apiVersion: operator.tigera.io/v1
kind: Installation
metadata: {name: default}
spec:
{{ omit .Values.installation "enabled" | toYaml | indent 2 }}
{{ end }}
`,
}

var crdChart = map[string]string{
	"crd.projectcalico.org.v1/Chart.yaml": "apiVersion: v2\nname: crd.projectcalico.org.v1\nversion: v3.32.1\n",
	"crd.projectcalico.org.v1/templates/installations.yaml": `apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: installations.operator.tigera.io}
spec:
  group: operator.tigera.io
  names: {kind: Installation, plural: installations}
  scope: Cluster
  versions: [{name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object, description: "image: quay.io/x/y:1"}}}]
`,
}

func TestCalicoIsFetchedAndBuilt(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("building needs root")
	}
	dir := t.TempDir()
	for _, name := range []string{"fetch-lib.sh", "calico/fetch.sh", "calico/Kubefile", "calico/charts/tigera-operator.values.yaml"} {
		content, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(dir, name), string(content))
	}
	u := &upstream{files: map[string][]byte{"/tigera-operator": archive(t, operatorChart), "/crd.projectcalico.org.v1": archive(t, crdChart)}}
	server := httptest.NewServer(u)
	t.Cleanup(server.Close)
	var sums strings.Builder
	for path, content := range u.files {
		fmt.Fprintf(&sums, "%s v3.32.1 any %x %s%s\n", path[1:], sha256.Sum256(content), server.URL, path)
	}
	write(t, filepath.Join(dir, "checksums.txt"), sums.String())
	run := func(args ...string) string {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), "bash", append([]string{filepath.Join(dir, "calico", "fetch.sh")}, args...)...)
		cmd.Env = append(os.Environ(), "SEALBUILD_FETCH_CACHE="+filepath.Join(dir, "cache"), "no_proxy=127.0.0.1")
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return string(out)
	}
	run()
	want := []string{"calico/charts/crd.projectcalico.org.v1.tgz", "calico/charts/tigera-operator.tgz", "calico/charts/tigera-operator.values.yaml", "calico/images/shim/CalicoImageList"}
	got := tree(t, filepath.Join(dir, "calico"))
	for _, name := range want {
		if !slices.Contains(got, strings.TrimPrefix(name, "calico/")) {
			t.Errorf("%s was not made; there are %v", name, got)
		}
	}
	asked := len(u.requests())
	if run(); len(u.requests()) != asked {
		t.Error("a second run downloaded again")
	}
	checkCalicoImage(t, filepath.Join(dir, "calico"))
}

// checkCalicoImage builds the image against a registry on loopback that stands
// for quay.io.
func checkCalicoImage(t *testing.T, dir string) {
	t.Helper()
	list, err := os.ReadFile(filepath.Join(dir, "images", "shim", "CalicoImageList"))
	if err != nil {
		t.Fatal(err)
	}
	quay := upstreamtest.New(t)
	want := []string{"quay.io/tigera/operator:v1.42.3"}
	want = append(want, strings.Fields(string(list))...)
	slices.Sort(want)
	for _, ref := range want {
		repository, tag, _ := strings.Cut(strings.TrimPrefix(ref, "quay.io/"), ":")
		quay.PushImage(t, repository, tag, v1.Platform{OS: "linux", Architecture: runtime.GOARCH}, upstreamtest.Layer(ref, 1000))
	}
	conf := filepath.Join(t.TempDir(), "registries.conf")
	write(t, conf, fmt.Sprintf("[[registry]]\nlocation = \"quay.io\"\nblocked = false\n[[registry.mirror]]\nlocation = %q\ninsecure = true\n", quay.Host))
	s, err := store.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	b := &assemble.Builder{Store: s, System: &types.SystemContext{
		SystemRegistriesConfPath: conf, SystemRegistriesConfDirPath: "/nonexistent", AuthFilePath: "/nonexistent",
	}}
	rec, err := b.Build(t.Context(), assemble.BuildRequest{Name: "calico:latest", Context: dir})
	if err != nil {
		t.Fatal(err)
	}
	var have []string
	for _, p := range rec.Images {
		have = append(have, p.Ref)
		if p.Certainty != "certain" {
			t.Errorf("%s is %s", p.Ref, p.Certainty)
		}
	}
	if diff := cmp.Diff(want, have); diff != "" {
		t.Errorf("images (-want +got)\n%s", diff)
	}
	if len(rec.Unresolved) > 0 {
		t.Errorf("not to be had: %v", rec.Unresolved)
	}
}
