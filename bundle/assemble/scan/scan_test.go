package scan

import (
	"context"
	"fmt"
	"io/fs"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/rogpeppe/go-internal/txtar"

	"github.com/sealbuild/sealbuild/kubefile"
)

// contextOf makes a build context of a txtar archive.
func contextOf(archive string) fstest.MapFS {
	fsys := fstest.MapFS{}
	for _, f := range txtar.Parse([]byte(archive)).Files {
		fsys[f.Name] = &fstest.MapFile{Data: f.Data, Mode: 0o644}
	}
	return fsys
}

func scanFS(t *testing.T, fsys fs.FS) *Result {
	t.Helper()
	var k *kubefile.File
	if f, err := fsys.Open("Kubefile"); err == nil {
		defer f.Close()
		if k, err = kubefile.Parse(f, "Kubefile"); err != nil {
			t.Fatal(err)
		}
	}
	r, err := Scan(context.Background(), fsys, k)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// show gives one line an image: CERTAINTY REF FILE:LINE.
func show(r *Result) []string {
	var out []string
	for _, f := range r.Images {
		out = append(out, fmt.Sprintf("%s %s %s:%d", f.Certainty, f.Ref, f.File, f.Line))
	}
	return out
}

// problems gives warnings and errors, one a line.
func problems(r *Result) []string {
	var out []string
	for _, w := range r.Warnings {
		out = append(out, fmt.Sprintf("warning %s:%d %s", w.File, w.Line, w.Message))
	}
	for _, e := range r.Errors {
		out = append(out, fmt.Sprintf("error %s:%d %s", e.File, e.Line, e.Message))
	}
	return out
}

// wants compares images exactly, and problems by the text they must hold.
func wants(t *testing.T, r *Result, images, holds []string) {
	t.Helper()
	if diff := cmp.Diff(images, show(r), cmpopts.EquateEmpty(), cmpopts.SortSlices(strings.Compare)); diff != "" {
		t.Errorf("images (-want +got):\n%s", diff)
	}
	got := problems(r)
	if len(got) != len(holds) {
		t.Errorf("%d problems, want %d:\n%s", len(got), len(holds), strings.Join(got, "\n"))
		return
	}
	for i, part := range holds {
		if !strings.Contains(got[i], part) {
			t.Errorf("problem %q does not hold %q", got[i], part)
		}
	}
}

func TestListsTakeOneReferenceALine(t *testing.T) {
	fsys := contextOf(`
-- images/shim/DefaultImageList --
# a comment

  registry.k8s.io/pause:3.10   # the sandbox
nginx
bitnami/redis:7@sha256:24454f830cdb571e2c4ad15481119c43b3cafd48dd869a9b2945d1036d1dc68d
localhost:5000/x
Not A Reference
-- images/shim/More/other --
quay.io/a/b:1
nginx:latest
`)
	fsys["images/shim/crlf"] = &fstest.MapFile{Data: []byte("\ufeff\"ghcr.io/c/d:2\"\r\n")}
	wants(t, scanFS(t, fsys), []string{
		"certain docker.io/bitnami/redis:7@sha256:24454f830cdb571e2c4ad15481119c43b3cafd48dd869a9b2945d1036d1dc68d images/shim/DefaultImageList:5",
		"certain docker.io/library/nginx:latest images/shim/DefaultImageList:4",
		"certain ghcr.io/c/d:2 images/shim/crlf:1",
		"certain localhost:5000/x:latest images/shim/DefaultImageList:6",
		"certain quay.io/a/b:1 images/shim/More/other:1",
		"certain registry.k8s.io/pause:3.10 images/shim/DefaultImageList:3",
	}, []string{`images/shim/DefaultImageList:7 not an image reference "Not A Reference"`})
}

func TestTwoRegistriesWithOnePathStayApart(t *testing.T) {
	r := scanFS(t, contextOf("-- images/shim/l --\nquay.io/a/b:1\nghcr.io/a/b:1\na/b:1\n"))
	if len(r.Images) != 3 {
		t.Error(show(r))
	}
}

func TestArchivesAreListedWithTheirNames(t *testing.T) {
	fsys := contextOf(`
-- images/skopeo/tar.txt --
# comment
docker-archive:app.tar@repo/app:1
oci-archive:/files/other.tar@quay.io/o/p:2
docker-archive:missing.tar@repo/x:1
dir:x@y:1
docker-archive:app.tar@UPPER
-- images/skopeo/app.tar --
-- files/other.tar --
`)
	r := scanFS(t, fsys)
	want := []Archive{
		{Path: "images/skopeo/app.tar", Transport: "docker-archive", Ref: "docker.io/repo/app:1", Place: Place{tarList, 2}},
		{Path: "files/other.tar", Transport: "oci-archive", Ref: "quay.io/o/p:2", Place: Place{tarList, 3}},
	}
	if diff := cmp.Diff(want, r.Archives); diff != "" {
		t.Error(diff)
	}
	wants(t, r, nil, []string{"tar.txt:4 archive missing.tar", "tar.txt:5 expected docker-archive", "tar.txt:6 not an image reference"})
}

func TestSealignoreLeavesOut(t *testing.T) {
	fsys := contextOf(`
-- .sealignore --
# comment
nginx:1.27
quay.io/a/*
registry.k8s.io/pause:3.1?
typo/typo
-- images/shim/l --
docker.io/library/nginx:1.27
nginx:1.28
quay.io/a/b/c:1
registry.k8s.io/pause:3.10
registry.k8s.io/pause:3.9
`)
	wants(t, scanFS(t, fsys), []string{
		"certain docker.io/library/nginx:1.28 images/shim/l:2",
		"certain registry.k8s.io/pause:3.9 images/shim/l:5",
	}, []string{".sealignore:5 nothing matches typo/typo"})
}

func TestSealignoreLeavesOutFilesAndDirectories(t *testing.T) {
	wants(t, scanFS(t, contextOf(`
-- .sealignore --
charts/off/
manifests/old.yaml
images/shim/*.bak
manifests/none
-- charts/off/templates/p.yaml --
-- charts/off/Chart.yaml --
name: is not enough
-- charts/on/Chart.yaml --
{apiVersion: v2, name: "on", version: 1.0.0}
-- charts/on/templates/p.yaml --
apiVersion: v1
kind: Pod
spec: {containers: [{image: "a:1"}]}
-- manifests/old.yaml --
apiVersion: v1
kind: Pod
spec: {containers: [{image: "b:1"}, {image: "Not One"}]}
-- manifests/old.yaml.new --
image: quay.io/c/c:1
-- images/shim/x.bak --
Not One
`)), []string{"certain docker.io/library/a:1 charts/on/templates/p.yaml:3", "suspected quay.io/c/c:1 manifests/old.yaml.new:1"},
		[]string{".sealignore:4 nothing matches manifests/none"})
}

func TestOtherDirectoriesCountWhereTheKubefileCopiesThem(t *testing.T) {
	wants(t, scanFS(t, contextOf(`
-- Kubefile --
FROM scratch
COPY deploy/*.yaml manifests/
COPY lists images/shim
COPY registry registry
-- deploy/a.yaml --
apiVersion: v1
kind: Pod
spec: {containers: [{name: a, image: "a:1"}]}
-- lists/l --
b:1
-- registry/manifests/x.yaml --
image: c:1
`)), []string{
		"certain docker.io/library/a:1 deploy/a.yaml:3",
		"certain docker.io/library/b:1 lists/l:1",
	}, nil)
}

func TestAnImageInTheKubefilesEnvIsSuspected(t *testing.T) {
	wants(t, scanFS(t, contextOf(`
-- Kubefile --
ARG V=3.10
FROM scratch
ARG V
ENV criData=/var/lib/containerd \
    sandboxImage=registry.k8s.io/pause:$V registryPort=5000 other=pause:3.9
`)), []string{"suspected registry.k8s.io/pause:3.10 Kubefile:4"}, nil)
}

func TestTheSurestPlaceLeadsAndOthersAreKept(t *testing.T) {
	r := scanFS(t, contextOf(`
-- manifests/a.yaml --
apiVersion: v1
kind: ConfigMap
data: {x: "quay.io/a/b:1"}
-- manifests/b.yaml --
apiVersion: v1
kind: Pod
spec: {containers: [{image: "quay.io/a/b:1"}]}
`))
	wants(t, r, []string{"certain quay.io/a/b:1 manifests/b.yaml:3"}, nil)
	if diff := cmp.Diff([]Place{{"manifests/a.yaml", 3}}, r.Images[0].Also); diff != "" {
		t.Error(diff)
	}
}

func TestACancelledScanStops(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := Scan(ctx, contextOf("-- manifests/a.yaml --\na: b\n"), nil); err == nil {
		t.Error("no error")
	}
}

func TestLinksOutOfTheContextAreNotFollowed(t *testing.T) {
	dir, outside := t.TempDir(), t.TempDir()
	write(t, outside+"/l", "a:1\n")
	write(t, dir+"/images/shim/own", "b:1\n")
	link(t, outside+"/l", dir+"/images/shim/stolen")
	link(t, "own", dir+"/images/shim/twin")
	r, err := Dir(context.Background(), dir, nil, Options{})
	if err != nil {
		t.Fatal(err)
	}
	wants(t, r, []string{"certain docker.io/library/b:1 images/shim/own:1"}, []string{"images/shim/stolen"})
}
