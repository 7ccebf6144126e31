package assemble

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/sealbuild/sealbuild/bundle/assemble/search"
	"github.com/sealbuild/sealbuild/bundle/assemble/store/storetest"
	"github.com/sealbuild/sealbuild/test/upstreamtest"
)

var arm64 = v1.Platform{OS: "linux", Architecture: "arm64"}

// Images made by sealos hold the images of one platform each, under the same names.
func TestEachPlatformsRegistryDirectoryIsItsNodes(t *testing.T) {
	u := upstreamtest.New(t)
	var children []v1.Descriptor
	for _, p := range []v1.Platform{amd64, arm64} {
		layer := sealosLayer(t, p, map[string]string{"images/shim/list": "registry.k8s.io/pause:3.9\n", "bin/kubeadm": p.Architecture},
			map[string]string{"pause:3.9": "pause of " + p.Architecture, "only/" + p.Architecture + ":v1": "its own"})
		children = append(children, u.PushImage(t, "labring/kubernetes", "", p, layer))
	}
	u.PushIndex(t, "labring/kubernetes", "v1", children...)
	b, _ := connected(t, u)
	rec, err := b.Pull(t.Context(), PullRequest{Ref: u.Ref("labring/kubernetes:v1"), Platforms: []v1.Platform{amd64, arm64}})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"docker.io/only/amd64:v1", "docker.io/only/arm64:v1", "registry.k8s.io/pause:3.9"}
	if diff := cmp.Diff(want, refs(rec.Images)); diff != "" {
		t.Fatalf("images (-want +got):\n%s", diff)
	}
	pause := rec.Images[2]
	if diff := cmp.Diff([]string{"linux/amd64", "linux/arm64"}, pause.Platforms); diff != "" {
		t.Errorf("platforms of pause (-want +got):\n%s", diff)
	}
	for _, p := range []v1.Platform{amd64, arm64} {
		one, err := b.Store.OfPlatform(v1.Descriptor{Digest: pause.Digest, MediaType: pause.MediaType}, p)
		if err != nil {
			t.Fatal(err)
		}
		blobs, err := b.Store.Walk(one)
		if err != nil {
			t.Fatal(err)
		}
		found := false
		for _, blob := range blobs {
			raw, err := b.Store.ReadBlob(blob.Digest, 1<<20)
			if err != nil {
				t.Fatal(err)
			}
			found = found || bytes.Equal(raw, []byte("pause of "+p.Architecture))
		}
		if !found {
			t.Errorf("a node of %s does not get the image of its own platform", p.Architecture)
		}
	}
	again, err := b.Pull(t.Context(), PullRequest{Ref: u.Ref("labring/kubernetes:v1"), Platforms: []v1.Platform{amd64, arm64}})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(rec.Images, again.Images); diff != "" {
		t.Errorf("images of a second pull (-first +second):\n%s", diff)
	}
}

func TestImagesOfEveryPlatformsReadingAreGathered(t *testing.T) {
	u := upstreamtest.New(t)
	for _, p := range []v1.Platform{amd64, arm64} {
		u.PushImage(t, "agent-"+p.Architecture, "v1", p, upstreamtest.Layer(p.Architecture, 100))
		u.PushImage(t, "tool-"+p.Architecture, "v1", p, upstreamtest.Layer("tool "+p.Architecture, 100))
	}
	b, _ := connected(t, u)
	rec := mustBuild(t, b, BuildRequest{Name: "two:1", Platforms: []v1.Platform{amd64, arm64}, Context: storetest.Files(t, map[string][]byte{
		"Kubefile": []byte("FROM scratch\nARG TARGETARCH\nENV AGENT_IMAGE=" + u.Ref("agent-$TARGETARCH:v1") + "\nENV TOOL_IMAGE=" + u.Ref("tool-${TARGETARCH}:v1") + "\nCOPY f /\n"),
		"f":        []byte("f"),
	})})
	want := []string{u.Ref("agent-amd64:v1"), u.Ref("agent-arm64:v1"), u.Ref("tool-amd64:v1"), u.Ref("tool-arm64:v1")}
	if diff := cmp.Diff(want, refs(rec.Images)); diff != "" {
		t.Errorf("images (-want +got):\n%s", diff)
	}
}

// A chart that fails may hide images; who gathered the images of a registry directory had them all the same.
func TestUnreadableChartOfAPulledImageIsFatalUnlessItsImagesLieInIt(t *testing.T) {
	chart := map[string]string{
		"charts/x/Chart.yaml":         "apiVersion: v2\nname: x\nversion: 1.0.0\n",
		"charts/x/templates/pod.yaml": "image: {{ required \"must be set\" .Values.must }}\n",
	}
	u := upstreamtest.New(t)
	sealosImage(t, u, "own", chart, map[string]string{"pause:3.9": "pause"})
	sealosImage(t, u, "none", chart, nil)
	b, _ := connected(t, u)
	if _, err := b.Pull(t.Context(), PullRequest{Ref: u.Ref("own:v1")}); err != nil {
		t.Errorf("an image that holds its images: %v", err)
	}
	for range 2 { // what is remembered about an image says the same
		_, err := b.Pull(t.Context(), PullRequest{Ref: u.Ref("none:v1")})
		var scan *search.Error
		if !errors.As(err, &scan) || !strings.Contains(err.Error(), "must be set") || !strings.Contains(err.Error(), "--ignore-scan-errors") {
			t.Errorf("the error is %v, want one that names the chart and the way on", err)
		}
	}
	from := BuildRequest{Name: "on:1", Context: storetest.Files(t, map[string][]byte{"Kubefile": []byte("FROM " + u.Ref("none:v1") + "\nCOPY f /\n"), "f": nil})}
	if _, err := b.Build(t.Context(), from); err == nil {
		t.Error("an image was built on one that may lack images")
	}
	if _, err := b.Pull(t.Context(), PullRequest{Ref: u.Ref("none:v1"), IgnoreScanErrors: true}); err != nil {
		t.Errorf("errors that are to be ignored: %v", err)
	}
}

func TestListsOfEachPlatformAreFoundThroughCopy(t *testing.T) {
	u := upstreamtest.New(t)
	for _, p := range []v1.Platform{amd64, arm64} {
		u.PushImage(t, "listed-"+p.Architecture, "v1", p, upstreamtest.Layer(p.Architecture, 100))
	}
	u.PushIndex(t, "earlier", "v1",
		u.PushImage(t, "earlier", "", amd64, upstreamtest.Layer("earlier", 100)), u.PushImage(t, "earlier", "", arm64, upstreamtest.Layer("earlier too", 100)))
	b, _ := connected(t, u)
	rec := mustBuild(t, b, BuildRequest{Name: "lists:1", Platforms: []v1.Platform{amd64, arm64}, Context: storetest.Files(t, map[string][]byte{
		"Kubefile":        []byte("FROM scratch AS base\nCOPY common/ images/shim/\nFROM base\nARG TARGETARCH\nCOPY lists/$TARGETARCH images/shim/\n"),
		"common/first":    []byte(u.Ref("earlier:v1") + "\n"),
		"lists/amd64/all": []byte(u.Ref("listed-amd64:v1") + "\n"),
		"lists/arm64/all": []byte(u.Ref("listed-arm64:v1") + "\n"),
	})})
	want := []string{u.Ref("earlier:v1"), u.Ref("listed-amd64:v1"), u.Ref("listed-arm64:v1")}
	if diff := cmp.Diff(want, refs(rec.Images)); diff != "" {
		t.Errorf("images (-want +got):\n%s", diff)
	}
}
