package assemble

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/containers/image/v5/pkg/compression"
	"github.com/google/go-cmp/cmp"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/sealbuild/sealbuild/bundle/assemble/search"
	"github.com/sealbuild/sealbuild/bundle/assemble/store"
	"github.com/sealbuild/sealbuild/bundle/assemble/store/storetest"
	"github.com/sealbuild/sealbuild/test/detector"
	"github.com/sealbuild/sealbuild/test/upstreamtest"
)

// filled is a registry with an image of two platforms under each name.
func filled(t *testing.T, names ...string) *upstreamtest.Upstream {
	t.Helper()
	u := upstreamtest.New(t)
	for _, name := range names {
		var children []v1.Descriptor
		for _, p := range []v1.Platform{amd64, arm64} {
			children = append(children, u.PushImage(t, name, "", p, upstreamtest.Layer(name+p.Architecture, 1000)))
		}
		u.PushIndex(t, name, "v1", children...)
	}
	return u
}

// platformsOfImages shows which images are there for whom.
func platformsOfImages(u *upstreamtest.Upstream, images []store.Pinned) map[string][]string {
	m := map[string][]string{}
	for _, p := range images {
		m[strings.TrimPrefix(p.Ref, u.Host+"/")] = p.Platforms
	}
	return m
}

func TestEveryPlatformsKubefileIsSearched(t *testing.T) {
	u := filled(t, "both", "amd", "arm", "env/amd64", "env/arm64")
	b, _ := connected(t, u)
	rec := mustBuild(t, b, BuildRequest{
		Name: "multi:1", Platforms: []v1.Platform{amd64, arm64},
		Context: storetest.Files(t, map[string][]byte{
			"Kubefile": []byte("FROM scratch\nARG TARGETARCH\nENV EXTRA_IMAGE=" + u.Ref("env/") + "${TARGETARCH}:v1\n" +
				"COPY lists/$TARGETARCH images/shim/\n"),
			"lists/amd64/list": []byte(u.Ref("both:v1") + "\n" + u.Ref("amd:v1") + "\n"),
			"lists/arm64/list": []byte(u.Ref("both:v1") + "\n" + u.Ref("arm:v1") + "\n"),
		}),
	})
	amd, arm := []string{"linux/amd64"}, []string{"linux/arm64"}
	want := map[string][]string{"both:v1": {"linux/amd64", "linux/arm64"}, "amd:v1": amd, "arm:v1": arm, "env/amd64:v1": amd, "env/arm64:v1": arm}
	if diff := cmp.Diff(want, platformsOfImages(u, rec.Images)); diff != "" {
		t.Errorf("images and their platforms (-want +got):\n%s", diff)
	}
	bundleForBoth(t, b, rec.Name)
}

func TestWhatTheContextDoesNotShowIsSearchedInTheImage(t *testing.T) {
	detector.Whole(t)
	u := filled(t, "shown", "staged", "written", "copied", "ignored", "amd64", "arm64")
	sealosImage(t, u, "tools", map[string]string{"deploy/pod.yaml": podOf(u.Ref("copied:v1"))}, nil)
	b, _ := connected(t, u)
	request := BuildRequest{
		Name: "hidden:1", Platforms: []v1.Platform{amd64, arm64},
		Context: storetest.Files(t, map[string][]byte{
			"Kubefile": []byte("FROM scratch AS stage\nARG TARGETARCH\nCOPY staged.yaml /out/staged.yaml\nCOPY per/$TARGETARCH /out/per.yaml\n" +
				"FROM scratch\nCOPY images images\nCOPY --from=stage /out manifests\nCOPY --from=" + u.Ref("tools:v1") + " /deploy manifests/tools\n" +
				"COPY <<list images/shim/written\n" + u.Ref("written:v1") + "\n" + u.Ref("ignored:v1") + "\nlist\n"),
			"images/shim/list": []byte(u.Ref("shown:v1") + "\n"),
			"staged.yaml":      []byte(podOf(u.Ref("staged:v1"))),
			"per/amd64":        []byte(podOf(u.Ref("amd64:v1"))),
			"per/arm64":        []byte(podOf(u.Ref("arm64:v1"))),
			".sealignore":      []byte(u.Ref("ignored:v1") + "\n"),
		}),
	}
	rec := mustBuild(t, b, request)
	both := []string{"linux/amd64", "linux/arm64"}
	want := map[string][]string{
		"shown:v1": both, "staged:v1": both, "written:v1": both, "copied:v1": both, "amd64:v1": both[:1], "arm64:v1": both[1:],
	}
	if diff := cmp.Diff(want, platformsOfImages(u, rec.Images)); diff != "" {
		t.Errorf("images and their platforms (-want +got):\n%s", diff)
	}
	if got := imageNamed(t, rec, u.Ref("staged:v1")); got.File != "hidden:1:manifests/staged.yaml" {
		t.Errorf("%s was found at %q", got.Ref, got.File)
	}
	u.Counts()
	if diff := cmp.Diff(rec.Images, mustBuild(t, b, request).Images); diff != "" || u.Counts()["GET blob"] != 0 {
		t.Errorf("a second build gathers others, or downloads (-first +second):\n%s", diff)
	}
}

// TestWhatLiesElsewhereInTheImageIsFound has a form of COPY for each image, with nothing in it that the context could not show.
func TestWhatLiesElsewhereInTheImageIsFound(t *testing.T) {
	detector.Whole(t)
	names := []string{"slash", "dot", "listed", "json", "argument", "workdir", "below", "renamed", "applied"}
	u := filled(t, names...)
	b, _ := connected(t, u)
	files := map[string][]byte{
		"Kubefile": []byte("FROM scratch\nARG WHERE=k8s\nCOPY deploy/ /\nCOPY app .\nCOPY lists images\nCOPY [\"of json\", \"/manifests/json/\"]\n" +
			"COPY --chmod=0644 $WHERE/argument.yaml other/manifests/../../manifests/argument.yaml\nCOPY k8s/renamed.txt manifests/renamed.yaml\n" +
			"COPY k8s/applied.yaml /other/app.yaml\nCMD [\"kubectl apply -f other/app.yaml\"]\nWORKDIR /manifests\nCOPY k8s/workdir.yaml .\nWORKDIR sub\nCOPY k8s/below.yaml ./\n"),
		"lists/shim/list": []byte(u.Ref("listed:v1") + "\n"),
	}
	for file, name := range map[string]string{
		"deploy/manifests/a.yaml": "slash", "app/manifests/b.yaml": "dot", "of json/c.yaml": "json", "k8s/argument.yaml": "argument",
		"k8s/renamed.txt": "renamed", "k8s/workdir.yaml": "workdir", "k8s/below.yaml": "below", "k8s/applied.yaml": "applied",
	} {
		files[file] = []byte(podOf(u.Ref(name + ":v1")))
	}
	request := BuildRequest{Name: "elsewhere:1", Context: storetest.Files(t, files)}
	rec := mustBuild(t, b, request)
	var want []string
	for _, name := range slices.Sorted(slices.Values(names)) {
		want = append(want, u.Ref(name+":v1"))
	}
	if diff := cmp.Diff(want, refs(rec.Images)); diff != "" {
		t.Errorf("images (-want +got):\n%s", diff)
	}
	u.Counts()
	if diff := cmp.Diff(rec.Images, mustBuild(t, b, request).Images); diff != "" || u.Counts()["GET blob"] != 0 {
		t.Errorf("a second build gathers others, or downloads (-first +second):\n%s", diff)
	}
}

// TestRegistryOfTheContextIsTaken as it is out of an image, whether something names its images or not. No registry is asked.
func TestRegistryOfTheContextIsTaken(t *testing.T) {
	for copied, want := range map[string][]string{
		"COPY . .":                               {"docker.io/library/named:v1", "docker.io/library/unnamed:v1"},
		"COPY registry registry":                 {"docker.io/library/named:v1", "docker.io/library/unnamed:v1"},
		"COPY reg* /\nCOPY manifests /manifests": {"docker.io/library/named:v1", "docker.io/library/unnamed:v1"},
	} {
		u := upstreamtest.New(t)
		b, _ := connected(t, u)
		tree := sealosLayer(t, here(), nil, map[string]string{"named:v1": "named", "unnamed:v1": "unnamed"})
		dir := storetest.Files(t, map[string][]byte{
			"Kubefile": []byte("FROM scratch\n" + copied + "\n"), "manifests/pod.yaml": []byte(podOf("named:v1")),
		})
		unpackLayer(t, tree, dir)
		rec := mustBuild(t, b, BuildRequest{Name: "own:1", Context: dir})
		if diff := cmp.Diff(want, refs(rec.Images)); diff != "" {
			t.Errorf("%s: images (-want +got):\n%s", copied, diff)
		}
		if got := imageNamed(t, rec, want[0]); copied == "COPY . ." && got.File != "manifests/pod.yaml" {
			t.Errorf("%s was found at %q", got.Ref, got.File)
		}
		if n := u.Counts(); len(n) > 0 {
			t.Errorf("%s: a registry was asked: %v", copied, n)
		}
	}
}

// unpackLayer writes the files of a layer.
func unpackLayer(t *testing.T, layer []byte, dir string) {
	t.Helper()
	plain, _, err := compression.AutoDecompress(bytes.NewReader(layer))
	if err != nil {
		t.Fatal(err)
	}
	defer plain.Close()
	tr := tar.NewReader(plain)
	for {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		name := filepath.Join(dir, h.Name)
		if h.Typeflag != tar.TypeReg {
			continue
		}
		data, err := io.ReadAll(tr)
		if err := errors.Join(err, os.MkdirAll(filepath.Dir(name), 0o755), os.WriteFile(name, data, 0o644)); err != nil {
			t.Fatal(err)
		}
	}
}

// TestAnArchiveInTheSamePlaceIsAnother: the context's own lies where that of the image will lie.
func TestAnArchiveInTheSamePlaceIsAnother(t *testing.T) {
	b, _ := connected(t, nil)
	archive := func(name string) []byte {
		return dockerArchive(t, "example.com/"+name+":v1", "amd64", string(layerTar(t, name)))
	}
	request := BuildRequest{Name: "archives:1", Platforms: []v1.Platform{amd64}, Context: storetest.Files(t, map[string][]byte{
		"Kubefile": []byte("FROM scratch\nCOPY app/ /\n"), "images/a.tar": archive("aside"), "app/images/a.tar": archive("inside"),
	})}
	for range 2 {
		rec := mustBuild(t, b, request)
		if got := refs(rec.Images); !slices.Contains(got, "example.com/inside:v1") {
			t.Errorf("images: %v", got)
		}
	}
}

func TestWhatACommandNamesAndTheImageLacksIsFatal(t *testing.T) {
	b, _ := connected(t, nil)
	files := map[string][]byte{
		"Kubefile":               []byte("FROM scratch\nCOPY charts/here charts/here\nCMD [\"helm upgrade -i here charts/here\", \"helm upgrade -i gone charts/gone\"]\n"),
		"charts/here/Chart.yaml": []byte("{apiVersion: v2, name: here, version: 1.2.3}\n"),
		"charts/gone/Chart.yaml": []byte("{apiVersion: v2, name: gone, version: 1.2.3}\n"),
	}
	request := BuildRequest{Name: "lacks:1", Context: storetest.Files(t, files)}
	for range 2 { // the second finds what the first remembers
		hiding := new(search.Error)
		if _, err := b.Build(t.Context(), request); !errors.As(err, &hiding) || len(hiding.Errors) != 1 || !strings.Contains(err.Error(), "charts/gone is not in the image") {
			t.Fatalf("%v", err)
		}
	}
	request.IgnoreScanErrors = true
	mustBuild(t, b, request)
}

func podOf(image string) string {
	return "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec: {containers: [{name: c, image: \"" + image + "\"}]}\n"
}

// TestWhatHidesImagesInsideAnImageIsFatal: as in a context, and told all
// together; but what brings its registry/ was gathered by its maker.
func TestWhatHidesImagesInsideAnImageIsFatal(t *testing.T) {
	u := filled(t, "listed")
	files := map[string]string{
		"images/shim/list": u.Ref("listed:v1") + "\nNO/image at all\n",
		"images/shim/more": "neither ?\n",
	}
	sealosImage(t, u, "bare", files, nil)
	sealosImage(t, u, "whole", files, map[string]string{"pause:3.9": "pause"})
	both := []string{"list:2", "more:1"}
	context := func(from string) string { return storetest.Files(t, map[string][]byte{"Kubefile": []byte(from)}) }
	for name, tc := range map[string]struct {
		run  func(*Builder, bool) (store.Record, error)
		told []string // none: it is done
	}{
		"pull": {func(b *Builder, ignore bool) (store.Record, error) {
			return b.Pull(t.Context(), PullRequest{Ref: u.Ref("bare:v1"), IgnoreScanErrors: ignore})
		}, both},
		"build upon it": {func(b *Builder, ignore bool) (store.Record, error) {
			return b.Build(t.Context(), BuildRequest{Name: "x:1", Context: context("FROM " + u.Ref("bare:v1") + "\nLABEL a=b\n"), IgnoreScanErrors: ignore})
		}, both},
		"copy out of it": {func(b *Builder, ignore bool) (store.Record, error) {
			return b.Build(t.Context(), BuildRequest{Name: "x:1", Context: context("FROM scratch\nCOPY --from=" + u.Ref("bare:v1") + " / /\n"), IgnoreScanErrors: ignore})
		}, both},
		"copy another part": {func(b *Builder, ignore bool) (store.Record, error) {
			return b.Build(t.Context(), BuildRequest{Name: "x:1", Context: context("FROM scratch\nCOPY --from=" + u.Ref("bare:v1") + " /images/shim/list /\n"), IgnoreScanErrors: ignore})
		}, nil},
		"with registry/": {func(b *Builder, ignore bool) (store.Record, error) {
			return b.Pull(t.Context(), PullRequest{Ref: u.Ref("whole:v1"), IgnoreScanErrors: ignore})
		}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			b, _ := connected(t, u)
			n := b.Report.(*notes)
			for range 2 { // the second finds what the first remembers
				rec, err := tc.run(b, false)
				if len(tc.told) == 0 {
					if err != nil {
						t.Fatal(err)
					}
					continue
				}
				hiding := new(search.Error)
				if !errors.As(err, &hiding) {
					t.Fatalf("recorded %v with error %v", refs(rec.Images), err)
				}
				for _, what := range tc.told {
					if !strings.Contains(err.Error(), what) {
						t.Errorf("%s is not told: %v", what, err)
					}
				}
			}
			rec, err := tc.run(b, true)
			if err != nil {
				t.Fatal(err)
			}
			if name != "copy another part" && !slices.Contains(refs(rec.Images), u.Ref("listed:v1")) {
				t.Errorf("images %v lack what could be found", refs(rec.Images))
			}
			if name != "copy another part" && !strings.Contains(strings.Join(n.text, "\n"), "list:2") {
				t.Errorf("what is ignored is not told: %v", n.text)
			}
		})
	}
}

func TestWhatHidesImagesInSeveralBasesIsToldTogether(t *testing.T) {
	u := upstreamtest.New(t)
	for _, p := range []v1.Platform{amd64, arm64} {
		sealosImageFor(t, u, p, "base-"+p.Architecture, "v1", map[string]string{"images/shim/" + p.Architecture: "no image\n"}, nil)
	}
	b, _ := connected(t, u)
	_, err := b.Build(t.Context(), BuildRequest{
		Name: "x:1", Platforms: []v1.Platform{amd64, arm64},
		Context: storetest.Files(t, map[string][]byte{"Kubefile": []byte("ARG TARGETARCH\nFROM " + u.Ref("base-") + "${TARGETARCH}:v1\n")}),
	})
	if err == nil || !strings.Contains(err.Error(), "shim/amd64:1") || !strings.Contains(err.Error(), "shim/arm64:1") {
		t.Errorf("error is %v, want one that names both", err)
	}
}
