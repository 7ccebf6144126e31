package scan

import (
	"archive/tar"
	"bytes"
	"encoding/base64"
	"io"
	"path"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/containers/image/v5/pkg/compression"
	"github.com/google/go-cmp/cmp"
)

// tarOf packs name and content pairs.
func tarOf(t testing.TB, files ...string) []byte {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for pair := range slices.Chunk(files, 2) {
		if err := w.WriteHeader(&tar.Header{Name: pair[0], Typeflag: tar.TypeReg, Size: int64(len(pair[1])), Mode: 0o644}); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, pair[1]); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func compressed(t testing.TB, algorithm compression.Algorithm, content []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w, err := compression.CompressStream(&out, algorithm, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(content); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

const (
	dockerManifest = `[{"Config":"c.json","RepoTags":["quay.io/a/b:1"],"Layers":[]}]`
	ociIndex       = `{"manifests":[{"digest":"sha256:aa","annotations":{"org.opencontainers.image.ref.name":"quay.io/a/b:1"}}]}`
	// bzipped is what bzip2 makes of a tar with the manifest.json above.
	bzipped = `QlpoOTFBWSZTWf/LK8YAAITfgcqAUAXnkAgEHAp7s/4qCAAICCAAdBlNKeU9TJkaaNDENPU0ybUeUGkgDQaaAAAAaDI/xjAEBSwCAIQbocCXnWyAIGAMfHgKSH57USK7f8f0qBqU` +
		`CMEIovpZzsRO2u7f6UQunYJRZybhjCyPtjsrdIPVei8zLiWNjiIfqGpnCIXW4Sk4W6XEkD+LuSKcKEh/5ZXjAA==`
)

// taken gives one line an archive: TRANSPORT PATH.
func taken(r *Result) []string {
	var out []string
	for _, a := range r.Archives {
		out = append(out, a.Transport+" "+a.Path)
	}
	return out
}

func TestArchivesOfImagesAreTakenHoweverTheyArePackedAndWhereverTheyLie(t *testing.T) {
	docker := tarOf(t, "aa/layer.tar", strings.Repeat("x", 5000), "./manifest.json", dockerManifest)
	oci := tarOf(t, "blobs/sha256/aa", "{}", "index.json", ociIndex, "oci-layout", "{}")
	both := tarOf(t, "index.json", `{"manifests":[{"digest":"sha256:aa"}]}`, "oci-layout", "{}", "manifest.json", dockerManifest)
	bz, err := base64.StdEncoding.DecodeString(bzipped)
	if err != nil {
		t.Fatal(err)
	}
	fsys := fstest.MapFS{}
	for name, content := range map[string][]byte{
		"a.tar": docker, "b.tar.gz": compressed(t, compression.Gzip, docker), "c.tgz": compressed(t, compression.Gzip, oci),
		"d.tar.zst": compressed(t, compression.Zstd, docker), "e.tar.xz": compressed(t, compression.Xz, docker), "f.tar.bz2": bz,
		"deep/er/and/even/deep/er/g.tar": oci, "skopeo/h.tar": docker, "both.tar": both, "no-extension": docker,
		"wrong.tar.gz": docker, "odd.img": compressed(t, compression.Zstd, oci),
	} {
		fsys["images/"+name] = &fstest.MapFile{Data: content}
	}
	fsys["images/notes"], fsys["images/README.md"] = &fstest.MapFile{Data: []byte("text")}, &fstest.MapFile{Data: []byte("text")}
	fsys["images/empty"] = &fstest.MapFile{}
	r := scanFS(t, fsys)
	wants(t, r, nil, nil)
	want := []string{
		"docker-archive images/a.tar", "docker-archive images/b.tar.gz", "docker-archive images/both.tar", "oci-archive images/c.tgz",
		"docker-archive images/d.tar.zst", "oci-archive images/deep/er/and/even/deep/er/g.tar", "docker-archive images/e.tar.xz",
		"docker-archive images/f.tar.bz2", "docker-archive images/no-extension", "oci-archive images/odd.img",
		"docker-archive images/skopeo/h.tar", "docker-archive images/wrong.tar.gz",
	}
	if diff := cmp.Diff(want, taken(r)); diff != "" {
		t.Errorf("archives (-want +got):\n%s", diff)
	}
}

func TestAnArchiveThatCannotBeTakenIsAnError(t *testing.T) {
	const nameless = " has no name: save it by its name, or give it one in images/skopeo/tar.txt, as "
	docker := tarOf(t, "manifest.json", dockerManifest)
	for name, tc := range map[string]struct {
		content []byte
		taken   bool
		problem string
	}{
		"of other things.tar":  {content: tarOf(t, "a.txt", "b"), problem: "not taken as an image archive: it holds neither manifest.json nor index.json"},
		"of archives.tar":      {content: tarOf(t, "a.tar", string(docker)), problem: "not taken as an image archive: it holds neither"},
		"broken.tar.gz":        {content: compressed(t, compression.Gzip, docker)[:40], problem: "not taken as an image archive: "},
		"text.tar":             {content: []byte("text"), problem: "not taken as an image archive: read tar"},
		"packed.zip":           {content: []byte("PK\x03\x04"), problem: "not taken as an image archive: "},
		"json.tar":             {content: tarOf(t, "manifest.json", "{"), problem: "not taken as an image archive: its manifest.json: "},
		"by-id.tar":            {content: tarOf(t, "manifest.json", `[{"Config":"cc.json","RepoTags":null}]`), problem: "the image cc in it" + nameless + "docker-archive:images/by-id.tar@REPOSITORY:TAG"},
		"no-annotation.tar":    {content: tarOf(t, "index.json", `{"manifests":[{"digest":"sha256:aa"}]}`), problem: "the image sha256:aa in it" + nameless + "oci-archive:images/no-annotation.tar@REPOSITORY:TAG"},
		"a-tag-is-no-name.tar": {content: tarOf(t, "index.json", strings.Replace(ociIndex, "quay.io/a/b:1", "v1.2", 1)), problem: "the image sha256:aa in it" + nameless},
		"one-of-two.tar": {
			content: tarOf(t, "manifest.json", `[{"Config":"cc.json"},`+dockerManifest[1:]), taken: true, problem: "the image cc in it" + nameless,
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := scanFS(t, fstest.MapFS{"images/" + name: {Data: tc.content}})
			wants(t, r, nil, []string{"error images/" + name + ":0 " + tc.problem})
			if (len(r.Archives) == 1) != tc.taken {
				t.Errorf("archives are %v", taken(r))
			}
			wants(t, scanFS(t, fstest.MapFS{"images/" + name: {Data: tc.content}, ".sealignore": {Data: []byte("images/" + name)}}), nil, nil)
		})
	}
}

func TestAnArchiveThatTheListNamesNeedsNoNameOfItsOwn(t *testing.T) {
	r := scanFS(t, fstest.MapFS{
		"images/skopeo/tar.txt": {Data: []byte("docker-archive:images/by-id.tar@quay.io/a/b:1\n")},
		"images/by-id.tar":      {Data: tarOf(t, "manifest.json", `[{"Config":"cc.json","RepoTags":null}]`)},
	})
	wants(t, r, nil, nil)
	if diff := cmp.Diff([]string{"docker-archive images/by-id.tar"}, taken(r)); diff != "" {
		t.Error(diff)
	}
}

func TestAnUnpackedImageIsOneError(t *testing.T) {
	fsys := fstest.MapFS{}
	for _, name := range []string{
		"oci/oci-layout", "oci/index.json", "oci/blobs/sha256/aa", "docker/aa/layer.tar", "docker/repositories", "dir/version", "dir/aa",
	} {
		fsys["images/"+name] = &fstest.MapFile{Data: []byte("x")}
	}
	fsys["images/docker/manifest.json"] = &fstest.MapFile{Data: []byte(dockerManifest)}
	fsys["images/dir/manifest.json"] = &fstest.MapFile{Data: []byte(`{"schemaVersion": 2, "layers": []}`)}
	const problem = ":0 an image that lies there as single files is not read: put it into an archive, tar -cf images/NAME.tar -C images/"
	wants(t, scanFS(t, fsys), nil, []string{"images/dir" + problem + "dir .", "images/docker" + problem, "images/oci" + problem})
}

func TestChartsAreFoundAtAnyDepthAndPackedOtherwiseAreAnError(t *testing.T) {
	const pod = "apiVersion: v1\nkind: Pod\nspec: {containers: [{image: 'quay.io/a/NAME:1'}]}\n"
	chart := func(name string) []string {
		return []string{name + "/Chart.yaml", "{apiVersion: v2, name: " + name + ", version: 1.0.0}\n", name + "/templates/p.yaml", strings.Replace(pod, "NAME", name, 1)}
	}
	fsys := fstest.MapFS{}
	for dir, name := range map[string]string{"charts/a/b/c/d/e/f": "unpacked", "deploy/a/b/c/d/e/f": "elsewhere"} {
		for pair := range slices.Chunk(chart(name), 2) {
			fsys[dir+"/"+pair[0]] = &fstest.MapFile{Data: []byte(pair[1])}
		}
	}
	for file, name := range map[string]string{
		"charts/a/b/c.tgz": "packed", "charts/a/b/c/d/e/g.tar.gz": "deep", "opt/a/b/c/d/e/h.tgz": "far", "manifests/i.tgz": "beside", "images/j.tgz": "among",
	} {
		fsys[file] = &fstest.MapFile{Data: compressed(t, compression.Gzip, tarOf(t, chart(name)...))}
	}
	for _, file := range []string{"charts/x/a.tar", "charts/b.tar.zst", "charts/c.zip", "manifests/all.tar.gz", "manifests/x/y.yaml.gz", "opt/other.tar"} {
		fsys[file] = &fstest.MapFile{Data: []byte("x")}
	}
	wants(t, scanFS(t, fsys), []string{
		"certain quay.io/a/among:1 images/j.tgz/templates/p.yaml:3", "certain quay.io/a/beside:1 manifests/i.tgz/templates/p.yaml:3",
		"certain quay.io/a/deep:1 charts/a/b/c/d/e/g.tar.gz/templates/p.yaml:3", "certain quay.io/a/far:1 opt/a/b/c/d/e/h.tgz/templates/p.yaml:3",
		"certain quay.io/a/packed:1 charts/a/b/c.tgz/templates/p.yaml:3",
		"certain quay.io/a/elsewhere:1 deploy/a/b/c/d/e/f/elsewhere/templates/p.yaml:3",
		"certain quay.io/a/unpacked:1 charts/a/b/c/d/e/f/unpacked/templates/p.yaml:3",
	}, []string{
		"error charts/b.tar.zst:0 Helm reads packed charts as .tgz only", "error charts/c.zip:0 Helm reads", "error charts/x/a.tar:0 Helm reads",
		"error manifests/all.tar.gz:0 an archive is not searched for images", "error manifests/x/y.yaml.gz:0 an archive is not",
	})
}

func TestAChartThatACommandNamesIsFoundWhereverItLies(t *testing.T) {
	files := []string{"app/Chart.yaml", "{apiVersion: v2, name: app, version: 1.0.0}\n", "app/templates/p.yaml", "apiVersion: v1\nkind: Pod\nspec: {containers: [{image: 'a:1'}]}\n"}
	for command, at := range map[string]string{
		"helm install x .hidden/app":               ".hidden/app",
		"helm upgrade -i x ./opt/app.chart":        "opt/app.chart",
		"cd .hidden && helm upgrade -i x ./a.tar":  ".hidden/a.tar",
		"helm upgrade -i x registry/app-1.0.0.tgz": "registry/app-1.0.0.tgz",
	} {
		fsys := fstest.MapFS{"Kubefile": {Data: []byte("FROM scratch\nCMD [\"" + command + "\"]\n")}}
		if strings.HasSuffix(at, "/app") {
			for pair := range slices.Chunk(files, 2) {
				fsys[path.Dir(at)+"/"+pair[0]] = &fstest.MapFile{Data: []byte(pair[1])}
			}
		} else {
			fsys[at] = &fstest.MapFile{Data: compressed(t, compression.Gzip, tarOf(t, files...))}
		}
		wants(t, scanFS(t, fsys), []string{"certain docker.io/library/a:1 " + at + "/templates/p.yaml:3"}, nil)
	}
}

func TestWhatLiesTooDeepIsAnError(t *testing.T) {
	deep := strings.Repeat("/d", maxDepth+2)
	fsys := fstest.MapFS{
		"manifests" + deep + "/x.yaml": {Data: []byte("a: b")}, "charts" + deep + "/Chart.yaml": {Data: []byte("a: b")},
		"images/shim" + deep + "/l": {Data: []byte("a:1")}, "images" + deep + "/a.tar": {Data: []byte("a:1")},
	}
	told := map[string]bool{}
	for _, e := range scanFS(t, fsys).Errors {
		if e.Message == tooDeep {
			told[strings.TrimRight(e.File, "/d")] = true
		}
	}
	if diff := cmp.Diff(map[string]bool{"charts": true, "images": true, "images/shim": true, "manifests": true}, told); diff != "" {
		t.Errorf("told of (-want +got):\n%s", diff)
	}
}

// FuzzArchive: whatever a file is, or the list in it, it is taken for an archive or told of.
func FuzzArchive(f *testing.F) {
	f.Add(1, []byte(dockerManifest))
	f.Add(2, []byte(ociIndex))
	f.Add(0, []byte("\x1f\x8b\x08\x00\x00\x00\x00\x00"))
	f.Add(0, []byte("\xfd7zXZ\x00"))
	f.Add(0, []byte("BZh9"))
	f.Fuzz(func(t *testing.T, in int, content []byte) {
		if in > 0 && in < 3 {
			content = tarOf(t, []string{"manifest.json", "index.json"}[in-1], string(content))
		}
		s := &scanner{ctx: t.Context(), fsys: fstest.MapFS{"images/a.tar": {Data: content}}, collector: newCollector(&ignoreList{})}
		s.archive("images/a.tar")
		if len(s.archived)+len(s.errors) == 0 {
			t.Fatal("neither taken nor told")
		}
	})
}
