package scan

import (
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/sealbuild/sealbuild/kubefile"
)

func TestWhatNoSiteCanFetchIsAnError(t *testing.T) {
	const remedy = ", which no site can: put the chart into charts/, and install it from there"
	for command, want := range map[string]string{
		"helm install x oci://ghcr.io/o/charts/x --version 1":                    "helm would fetch oci://ghcr.io/o/charts/x" + remedy,
		"helm upgrade -i x --repo https://charts.example x":                      "helm would fetch https://charts.example" + remedy,
		"helm upgrade -i x https://charts.example/x-1.tgz":                       "helm would fetch https://charts.example/x-1.tgz" + remedy,
		"kubectl apply -f https://example.com/x.yaml":                            "kubectl would fetch https://example.com/x.yaml, which no site can: put it into manifests/",
		"KUBECONFIG=x kubectl -n a create --filename=https://example.com/x.yaml": "kubectl would fetch https://example.com/x.yaml, which no site can: put it into manifests/",
		"/usr/bin/kubectl apply -kgithub.com/o/r//deploy":                        "kubectl would fetch github.com/o/r//deploy, which no site can: put it into manifests/",
		"helmfile apply": "the charts of a helmfile are not searched: install each with helm upgrade --install, from charts/",
		"helm install x charts/x && kubectl apply -f - && kubectl get pods -f xx": "",
	} {
		fsys := contextOf("-- Kubefile --\nFROM scratch\nCMD [\"" + command + "\"]\n")
		var want2 []string
		if want != "" {
			want2 = []string{"error Kubefile:2 " + want}
		}
		if diff := cmp.Diff(want2, problems(scanFS(t, fsys))); diff != "" {
			t.Errorf("%s (-want +got):\n%s", command, diff)
		}
		script := contextOf("-- Kubefile --\nFROM scratch\nCMD [\"bash opt/up.sh\"]\n-- opt/up.sh --\n" + command + "\n-- opt/unused.sh --\n")
		if want != "" {
			want2 = []string{"error opt/up.sh:1 " + want}
		}
		if diff := cmp.Diff(want2, problems(scanFS(t, script))); diff != "" {
			t.Errorf("in a script, %s (-want +got):\n%s", command, diff)
		}
	}
}

func TestAPostRendererIsAnErrorWhereAChartIsRendered(t *testing.T) {
	const message = " adds is not searched: list its images in a file below images/shim/, and go on with --ignore-scan-errors"
	for command, want := range map[string][]string{
		"helm upgrade -i x charts/x --post-renderer ./kustomize.sh": {"error Kubefile:2 what the post-renderer ./kustomize.sh" + message},
		"helm install x charts/x --post-renderer=sidecars --post-renderer-args a --wait": {
			"error Kubefile:2 what the post-renderer sidecars" + message,
		},
		"helm template x charts/x --post-renderer sidecars | kubectl apply -f -": {"error Kubefile:2 what the post-renderer sidecars" + message},
		"helm list --post-renderer sidecars":                                     nil,
	} {
		fsys := contextOf("-- Kubefile --\nFROM scratch\nCMD [\"" + command + "\"]\n")
		if diff := cmp.Diff(want, problems(scanFS(t, fsys))); diff != "" {
			t.Errorf("%s (-want +got):\n%s", command, diff)
		}
	}
}

func TestFilesOfKubectlAreSearchedWhereTheyLie(t *testing.T) {
	pod := func(image string) string {
		return "apiVersion: v1\nkind: Pod\nspec: {containers: [{image: " + image + "}]}\n"
	}
	fsys := contextOf("-- Kubefile --\nFROM scratch\nCMD [\"kubectl apply -f deploy/app.yaml,deploy/more -k kustom\", \"bash opt/up.sh\"]\n" +
		"-- deploy/app.yaml --\n" + pod("quay.io/o/app:1") + "-- deploy/more/x/y.yaml --\n" + pod("quay.io/o/more:1") + "-- deploy/other.yaml --\n" + pod("quay.io/o/no:1") +
		"-- kustom/base.yaml --\n" + pod("quay.io/o/kustom:1") + "-- opt/up.sh --\nkubectl create -f beside.yaml\ncd ../went\nkubectl apply -f there.yaml\n" +
		"-- opt/beside.yaml --\n" + pod("quay.io/o/beside:1") + "-- went/there.yaml --\n" + pod("quay.io/o/went:1"))
	want := []string{
		"certain quay.io/o/app:1 deploy/app.yaml:3", "certain quay.io/o/beside:1 opt/beside.yaml:3",
		"certain quay.io/o/kustom:1 kustom/base.yaml:3", "certain quay.io/o/more:1 deploy/more/x/y.yaml:3",
		"certain quay.io/o/went:1 went/there.yaml:3",
	}
	if diff := cmp.Diff(want, show(scanFS(t, fsys))); diff != "" {
		t.Error(diff)
	}
}

func TestWhatAWholeImageDoesNotHoldIsAnError(t *testing.T) {
	missing := func(p string) []string {
		return []string{"error Kubefile:2 " + p + " is not in the image, and so not searched: copy it into the image, or name it as it lies there"}
	}
	for command, want := range map[string][]string{
		"helm install x charts/missing":                                    missing("charts/missing"),
		"cp -a opt/helm /usr/bin/ && helm install x ./missing-1.tgz":       missing("./missing-1.tgz"),
		"kubectl apply -f deploy/missing.yaml":                             missing("deploy/missing.yaml"),
		"kubectl apply -f deploy/there.yaml -f deploy/*.yaml":              nil,
		"kubectl apply -f deploy/rendered.yaml":                            nil,
		"tar xf all.tar && kubectl apply -f out/made.yaml":                 nil,
		"cp -r opt/out out && kubectl apply -f out/made.yaml":              nil,
		"cd deploy && kubectl apply -f there.yaml":                         nil,
		"sh -c 'cd deploy; kubectl apply -f missing.yaml'":                 missing("missing.yaml"),
		"cd $(dirname x) && kubectl apply -f missing.yaml":                 nil,
		"cp -r opt/helm charts/made && helm upgrade -i x charts/made":      nil,
		"bash opt/make.sh && helm upgrade -i x charts/made":                nil,
		"helm upgrade -i x repository/chart --set a=b && kubectl get pods": missing("repository/chart"),
	} {
		fsys := contextOf("-- Kubefile --\nFROM scratch\nCMD [\"" + command + "\"]\n-- deploy/there.yaml --\n-- deploy/rendered.yaml.tmpl --\n")
		k, err := kubefile.Parse(mustOpen(t, fsys, "Kubefile"), "Kubefile")
		if err != nil {
			t.Fatal(err)
		}
		r, err := scan(t.Context(), fsys, k, Options{Whole: true})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, problems(r)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", command, diff)
		}
		// Of a context nobody knows where its files will lie.
		if got := problems(scanFS(t, fsys)); got != nil {
			t.Errorf("%s, in a context: %v", command, got)
		}
	}
}

func TestAShellThatNamesItselfEnds(t *testing.T) {
	fsys := contextOf("-- Kubefile --\nFROM scratch\nCMD [\"bash opt/up.sh\"]\n-- opt/up.sh --\nV='sh -c \"$V\"; kubectl apply -f https://e.example/x'\nsh -c \"$V\"\n")
	if got := problems(scanFS(t, fsys)); len(got) != 1 {
		t.Errorf("%q", got)
	}
}

func mustOpen(t *testing.T, fsys fstest.MapFS, name string) interface{ Read([]byte) (int, error) } {
	t.Helper()
	f, err := fsys.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}
