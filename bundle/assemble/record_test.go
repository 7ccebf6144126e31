package assemble

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/image-spec/specs-go"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/sealbuild/sealbuild/bundle"
	"github.com/sealbuild/sealbuild/bundle/assemble/store/storetest"
	"github.com/sealbuild/sealbuild/bundle/assemble/write"
	"github.com/sealbuild/sealbuild/test/upstreamtest"
)

// lockOf reads the lock of a bundle.
func lockOf(t *testing.T, path string) (lock write.Lock) {
	t.Helper()
	f, err := bundle.OpenFile(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	text, err := f.Document(write.LockName)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &lock); err != nil {
		t.Fatal(err)
	}
	return lock
}

func TestTheLockNamesEveryPlaceThatAsksForAnImage(t *testing.T) {
	u := upstreamtest.New(t)
	u.PushImage(t, "app/x", "v1", here(), upstreamtest.Layer("x", 1000))
	pod := "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec:\n  containers:\n  - {name: a, image: \"" + u.Ref("app/x:v1") + "\"}\n"
	b, _ := connected(t, u)
	rec := mustBuild(t, b, BuildRequest{Name: "app:1", Context: storetest.Files(t, map[string][]byte{
		"Kubefile":           []byte("FROM scratch\nLABEL sealos.io.type=application\nCOPY . .\n"),
		"manifests/one.yaml": []byte(pod), "manifests/two.yaml": []byte("\n" + pod), "images/shim/list": []byte(u.Ref("app/x:v1") + "\n"),
	})})
	w, err := b.Bundle(t.Context(), bundleRequest(t, rec.Name))
	if err != nil {
		t.Fatal(err)
	}
	lock := lockOf(t, w.Path)
	places := map[string]int{}
	for _, s := range lock.Images[len(lock.Images)-1].Sources {
		places[s.File] = s.Line
	}
	want := map[string]int{"images/shim/list": 1, "manifests/one.yaml": 6, "manifests/two.yaml": 7}
	if diff := cmp.Diff(want, places); diff != "" {
		t.Errorf("places (-want +got):\n%s", diff)
	}
}

// A chart or a signature in a registry is carried like an image, and is none: it is for no platform.
func TestAnArtifactIsForNoPlatform(t *testing.T) {
	u := upstreamtest.New(t)
	config := u.PushBlob(t, "charts/x", []byte(`{"name":"x","version":"1.0.0"}`))
	config.MediaType = "application/vnd.cncf.helm.config.v1+json"
	layer := u.PushBlob(t, "charts/x", []byte("chart"))
	layer.MediaType = "application/vnd.cncf.helm.chart.content.v1.tar+gzip"
	u.PushManifest(t, "charts/x", "v1", v1.MediaTypeImageManifest, v1.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: v1.MediaTypeImageManifest, Config: config, Layers: []v1.Descriptor{layer},
	})
	b, _ := connected(t, u)
	rec := mustBuild(t, b, BuildRequest{Name: "app:1", Context: storetest.Files(t, map[string][]byte{
		"Kubefile": []byte("FROM scratch\nLABEL sealos.io.type=application\nCOPY . .\n"), "images/shim/list": []byte(u.Ref("charts/x:v1") + "\n"),
	})})
	if diff := cmp.Diff([]string{}, rec.Images[0].Platforms); diff != "" {
		t.Errorf("platforms (-want +got):\n%s", diff)
	}
	if _, err := b.Bundle(t.Context(), bundleRequest(t, rec.Name)); err != nil {
		t.Error(err)
	}
	for _, note := range b.Report.(*notes).text {
		if strings.Contains(note, "platform") {
			t.Errorf("it is told: %s", note)
		}
	}
}

func TestARootfsThatTheInstallerWillRefuseIsTold(t *testing.T) {
	for distribution, want := range map[string]bool{"k3s": true, "kubeadm": false} {
		b, _ := connected(t, nil)
		mustBuild(t, b, BuildRequest{Name: "rootfs:1", Context: storetest.Files(t, map[string][]byte{
			"Kubefile": []byte("FROM scratch\nLABEL sealos.io.type=rootfs sealos.io.distribution=" + distribution + "\nCOPY f /\n"), "f": []byte("f"),
		})})
		if got := strings.Contains(strings.Join(b.Report.(*notes).text, "\n"), "will refuse it"); got != want {
			t.Errorf("%s is told: %v, want %v", distribution, got, want)
		}
	}
}
