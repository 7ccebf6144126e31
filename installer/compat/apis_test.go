package compat

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"testing"

	"github.com/Masterminds/semver/v3"
	"github.com/google/go-cmp/cmp"

	"github.com/sealbuild/sealbuild/installer/agent"
	"github.com/sealbuild/sealbuild/installer/compat/apis"
	"github.com/sealbuild/sealbuild/installer/kube/kubetest"
	"github.com/sealbuild/sealbuild/installer/payload"
)

var v36 = semver.MustParse("v1.36.3")

func TestWhatIsStoredByVersionsThatAreGoneIsToldByWhatItBreaks(t *testing.T) {
	budget := apis.Kind{Version: "policy/v1beta1", Name: "PodDisruptionBudget"}
	found := apis.Found{
		Applied:  []apis.Uses{{Kind: budget, Names: []string{"shop/web"}, All: 1}},
		Written:  []apis.Uses{{Kind: budget, By: "old-operator", Names: []string{"shop/a", "shop/b"}, All: 50}},
		Releases: []apis.Uses{{Kind: budget, Names: []string{"shop/db"}, All: 1}},
		Unread:   []string{"/apis/x: status 403"},
	}
	want := []string{
		" api-versions problem: v1.36.3 does not serve policy/v1beta1 PodDisruptionBudget, and kubectl apply was given it for shop/web: the same file will be refused" +
			" | give the files of these objects a version that is served, and apply them; --ignore-check api-versions goes on without",
		" api-versions problem: v1.36.3 does not serve policy/v1beta1 PodDisruptionBudget, which is in the release of Helm shop/db: Helm will not be able to change it" +
			" | upgrade the release with a chart that has versions of now, before Kubernetes; or have the plugin mapkubeapis of Helm rewrite it",
		" api-versions warning: v1.36.3 does not serve policy/v1beta1 PodDisruptionBudget, by which old-operator has written shop/a, shop/b (50 in all)" +
			" | bring what writes them to a version of now, if it still runs",
		" api-versions warning: not looked at: /apis/x: status 403 | mend what it names, then run the same command again",
	}
	if diff := cmp.Diff(want, lines(storedProblems(found, v36))); diff != "" {
		t.Errorf("stored (-want +got):\n%s", diff)
	}
	want = []string{
		"10.0.0.1 api-versions warning: somebody has asked for cronjobs of batch/v1beta1 since the API server started, which v1.36.3 does not serve" +
			" | find out who asks: the audit log of the masters has it with the annotation k8s.io/removed-release",
	}
	if diff := cmp.Diff(want, lines(requestProblems("10.0.0.1", []apis.Request{{Version: "batch/v1beta1", Resource: "cronjobs", Removed: "1.25"}}, v36))); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}
}

func TestFilesOfTheBundleWithVersionsThatAreGoneAreNamedWithTheirLine(t *testing.T) {
	const old = "kind: CronJob\napiVersion: batch/v1beta1\n"
	const perhaps = "{{ if .x }}\n" + old + "{{ end }}\n"
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	w := tar.NewWriter(z)
	for name, text := range map[string]string{"c/templates/job.yaml": old, "c/README.md": old} {
		if err := w.WriteHeader(&tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o644, Size: int64(len(text))}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	files := map[string]payload.File{}
	for name, text := range map[string]string{
		"manifests/job.yaml": "\n" + old, "charts/a/templates/job.yaml": perhaps, "charts/c-1.0.tgz": packed.String(), "charts/broken.tgz": "x", "scripts/job.sh": old, "manifests/new.yaml": "apiVersion: batch/v1\nkind: CronJob\n",
	} {
		files[name] = payload.File{Content: []byte(text)}
	}
	table, _ := apis.Removed()
	const build = " | build the image with a version of its application that fits; --ignore-check api-versions goes on where the file is not used"
	want := []string{
		" api-versions warning: image app:v2: charts/a/templates/job.yaml:3 may make batch/v1beta1 CronJob, which v1.36.3 does not serve | see that the values do not ask for it",
		" api-versions problem: image app:v2: charts/c-1.0.tgz!c/templates/job.yaml:2 has batch/v1beta1 CronJob, which v1.36.3 does not serve" + build,
		" api-versions problem: image app:v2: manifests/job.yaml:3 has batch/v1beta1 CronJob, which v1.36.3 does not serve" + build,
	}
	if diff := cmp.Diff(want, lines(fileProblems([]*payload.Image{{Name: "app:v2", Files: files}}, table.In(36), v36))); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
}

func TestTheStubOnAMasterAsksTheAPIServerBesideIt(t *testing.T) {
	var argv []string
	answer := agent.ExecResult{Stdout: []byte(`{"applied":[{"version":"policy/v1beta1","name":"PodDisruptionBudget","names":["shop/web"],"all":1}]}`)}
	c := asking(&kubetest.Cluster{Other: func(words []string) (agent.ExecResult, error) { argv = words; return answer, nil }})
	t0 := c.Targets[0]
	t0.Stub = "/stub"
	found, err := askAPI(t.Context(), t0, c.Timeout, "stored", 36)
	if err != nil || len(found.Applied) != 1 || found.Applied[0].Kind.String() != "policy/v1beta1 PodDisruptionBudget" {
		t.Errorf("%+v, %v", found, err)
	}
	if diff := cmp.Diff([]string{"/stub", "apis", "stored", "--server", "https://10.0.0.1:6443", "--minor", "36"}, argv); diff != "" {
		t.Errorf("asked (-want +got):\n%s", diff)
	}
	answer = agent.ExecResult{Code: 1, Stderr: []byte("error: connection refused\n")}
	if _, err := askAPI(t.Context(), t0, c.Timeout, "stored", 36); err == nil {
		t.Error("an API server that does not answer is no error")
	}
}
