package assemble

import (
	"debug/elf"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sealbuild/sealbuild/bundle"
	"github.com/sealbuild/sealbuild/bundle/assemble/store"
	"github.com/sealbuild/sealbuild/bundle/assemble/store/storetest"
	"github.com/sealbuild/sealbuild/test/detector"
	"github.com/sealbuild/sealbuild/test/upstreamtest"
)

// Charts are rendered for the Kubernetes that the site will have, whichever is known first: the image or the rootfs beside it.
func TestChartsAreRenderedForTheKubernetesOfTheSite(t *testing.T) {
	detector.Whole(t)
	u := upstreamtest.New(t)
	for _, name := range []string{"new", "old", "same"} {
		u.PushImage(t, "app/"+name, "v1", here(), upstreamtest.Layer(name, 1000))
	}
	chart := func(image string) map[string][]byte {
		return map[string][]byte{
			"charts/app/Chart.yaml":         []byte("apiVersion: v2\nname: app\nversion: 1.0.0\n"),
			"charts/app/templates/pod.yaml": []byte("apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec:\n  containers:\n  - name: a\n    image: " + image + "\n"),
		}
	}
	asks := chart(`{{ if semverCompare ">=1.35-0" .Capabilities.KubeVersion.Version }}` + u.Ref("app/new:v1") + `{{ else }}` + u.Ref("app/old:v1") + `{{ end }}`)
	for name, tc := range map[string]struct {
		files    map[string][]byte
		kubefile string
		kube     string   // known when it is built
		built    []string // what it needs then
		bundled  []string // what the bundle with Kubernetes 1.30 holds for it
	}{
		"known when it is bundled": {asks, "FROM scratch", "", []string{"new"}, []string{"new", "old"}},
		"known when it is built":   {asks, "FROM scratch", "v1.30.0", []string{"old"}, []string{"old"}},
		"known by its label":       {asks, "FROM scratch\nLABEL version=v1.30.0", "", []string{"old"}, []string{"old"}},
		"known by a base":          {asks, "FROM base:1", "", []string{"new"}, []string{"new", "old"}},
		"of no account":            {chart(u.Ref("app/same:v1")), "FROM scratch", "", []string{"same"}, []string{"same"}},
	} {
		t.Run(name, func(t *testing.T) {
			b, _ := connected(t, u)
			mustBuild(t, b, BuildRequest{Name: "kubernetes:v1.30.0", Context: storetest.Files(t, map[string][]byte{
				"Kubefile": []byte("FROM scratch\nLABEL sealos.io.type=rootfs version=v1.30.0\nCOPY f /\n"), "f": []byte("f"),
			})})
			files := map[string][]byte{"Kubefile": []byte(tc.kubefile + "\nLABEL sealos.io.type=application\nCOPY . .\n")}
			for name, content := range tc.files {
				files[name] = content
			}
			if strings.Contains(tc.kubefile, "base:1") { // the charts lie in the base
				mustBuild(t, b, BuildRequest{Name: "base:1", Context: storetest.Files(t, withKubefile(files, "FROM scratch\nCOPY . .\n"))})
				files = map[string][]byte{"Kubefile": files["Kubefile"], "g": []byte("g")}
			}
			rec := mustBuild(t, b, BuildRequest{Name: "app:1", Context: storetest.Files(t, files), Kube: tc.kube})
			named := func(names []string) []string {
				var all []string
				for _, name := range names {
					all = append(all, u.Ref("app/"+name+":v1"))
				}
				return all
			}
			if diff := cmp.Diff(named(tc.built), refs(rec.Images)); diff != "" {
				t.Errorf("built (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(named(tc.bundled), bundled(t, b, "kubernetes:v1.30.0", "app:1")); diff != "" {
				t.Errorf("bundled (-want +got):\n%s", diff)
			}
		})
	}
}

// withKubefile is a context with another Kubefile.
func withKubefile(files map[string][]byte, kubefile string) map[string][]byte {
	all := map[string][]byte{}
	for name, content := range files {
		all[name] = content
	}
	all["Kubefile"] = []byte(kubefile)
	return all
}

// bundled are the container images of a bundle, beside the one of care.
func bundled(t *testing.T, b *Builder, images ...string) []string {
	t.Helper()
	w, err := b.Bundle(t.Context(), bundleRequest(t, images...))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, i := range w.Images {
		if i.Kind == bundle.KindImage && !strings.HasPrefix(i.Name, "sealbuild.io/care") {
			names = append(names, i.Name)
		}
	}
	slices.Sort(names)
	return names
}

func bundleRequest(t *testing.T, images ...string) BundleRequest {
	t.Helper()
	dir := storetest.Files(t, map[string][]byte{"stub": storetest.Executable(elf.EM_X86_64)})
	return BundleRequest{Images: images, Output: filepath.Join(dir, "out"), Stub: filepath.Join(dir, "stub")}
}

func TestAnImageThatTheSitesKubernetesWantsAndNobodyHasIsAnError(t *testing.T) {
	u := upstreamtest.New(t)
	u.PushImage(t, "app/new", "v1", here(), upstreamtest.Layer("new", 1000))
	b, _ := connected(t, u)
	mustBuild(t, b, BuildRequest{Name: "kubernetes:v1.30.0", Context: storetest.Files(t, map[string][]byte{
		"Kubefile": []byte("FROM scratch\nLABEL sealos.io.type=rootfs version=v1.30.0\nCOPY f /\n"), "f": []byte("f"),
	})})
	image := `{{ if semverCompare ">=1.35-0" .Capabilities.KubeVersion.Version }}` + u.Ref("app/new:v1") + `{{ else }}` + u.Ref("app/gone:v1") + `{{ end }}`
	mustBuild(t, b, BuildRequest{Name: "app:1", Context: storetest.Files(t, map[string][]byte{
		"Kubefile":                      []byte("FROM scratch\nLABEL sealos.io.type=application\nCOPY . .\n"),
		"charts/app/Chart.yaml":         []byte("apiVersion: v2\nname: app\nversion: 1.0.0\n"),
		"charts/app/templates/pod.yaml": []byte("apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec:\n  containers:\n  - name: a\n    image: " + image + "\n"),
	})})
	_, err := b.Bundle(t.Context(), bundleRequest(t, "kubernetes:v1.30.0", "app:1"))
	if err == nil || !strings.Contains(err.Error(), "rendered for Kubernetes v1.36.0") || !strings.Contains(err.Error(), "app/gone:v1") {
		t.Errorf("error is %v", err)
	}
	rec, err := b.Store.Load("app:1")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(&store.Charts{KubeVersion: "v1.36.0", Depends: true}, rec.Charts); diff != "" {
		t.Errorf("charts of the record (-want +got):\n%s", diff)
	}
}
