package assemble

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"
	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/sealbuild/sealbuild/bundle/assemble/store"
	"github.com/sealbuild/sealbuild/bundle/assemble/store/storetest"
	"github.com/sealbuild/sealbuild/test/detector"
	"github.com/sealbuild/sealbuild/test/upstreamtest"
)

// file is an entry of a layer. A text that begins with "=" makes it a hard link to what follows, a name that ends in "/" a
// directory.
type file struct{ name, text string }

func tarOf(t *testing.T, files ...file) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, f := range files {
		h := &tar.Header{Typeflag: tar.TypeReg, Name: f.name, Mode: 0o644, Size: int64(len(f.text))}
		target, link := strings.CutPrefix(f.text, "=")
		switch {
		case link:
			h.Typeflag, h.Linkname, h.Size = tar.TypeLink, target, 0
		case strings.HasSuffix(f.name, "/"):
			h.Typeflag, h.Mode = tar.TypeDir, 0o755
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if h.Size > 0 {
			if _, err := io.WriteString(w, f.text); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// zstdOf compresses with a window of so many bytes, in a frame that does not say how long its content is, as a stream has it.
func zstdOf(t *testing.T, data []byte, window int) []byte {
	t.Helper()
	var b bytes.Buffer
	z, err := zstd.NewWriter(&b, zstd.WithWindowSize(window), zstd.WithEncoderConcurrency(1))
	if err != nil {
		t.Fatal(err)
	}
	half := len(data) / 2
	_, first := z.Write(data[:half])
	flush := z.Flush()
	_, second := z.Write(data[half:])
	for _, err := range []error{first, flush, second, z.Close()} {
		if err != nil {
			t.Fatal(err)
		}
	}
	return b.Bytes()
}

// lowers are the layers of every base below: a file, a hard link to it in a layer of its own, a file taken away, a directory
// whose earlier content is hidden.
func lowers(t *testing.T) [][]byte {
	return [][]byte{
		tarOf(t, file{"d/", ""}, file{"d/one", "one"}, file{"gone", "x"}, file{"o/", ""}, file{"o/old", "old"}, file{"tool", "t"}),
		tarOf(t, file{"d/", ""}, file{"d/two", "=d/one"}, file{".wh.gone", ""}, file{"three", "=tool"}),
		tarOf(t, file{"o/", ""}, file{"o/.wh..wh..opq", ""}, file{"o/new", "new"}),
	}
}

// What lists take, FROM and COPY --from take: whatever a layer is compressed by, whatever it is called, and whatever its entries
// mean for the layers below.
func TestBasesAreTakenWithLayersOfEveryKind(t *testing.T) {
	detector.Whole(t)
	zst := func(t *testing.T, b []byte) []byte { return zstdOf(t, b, 1<<20) }
	long := func(t *testing.T, b []byte) []byte { return zstdOf(t, b, 128<<20) }
	for _, tc := range []struct {
		name, manifest, layer string
		compress              func(t *testing.T, b []byte) []byte
		index                 bool
	}{
		{"OCI, zstd with a long window", v1.MediaTypeImageManifest, v1.MediaTypeImageLayerZstd, long, false},
		{"Docker, zstd, in an index", upstreamtest.DockerManifest, upstreamtest.DockerLayerZstd, zst, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			u := upstreamtest.New(t)
			b, _ := connected(t, u)
			var layers []upstreamtest.TypedLayer
			for _, l := range lowers(t) {
				layers = append(layers, upstreamtest.TypedLayer{MediaType: tc.layer, Data: tc.compress(t, l), DiffID: digest.FromBytes(l)})
			}
			base := u.PushTyped(t, "base", "v1", tc.manifest, upstreamtest.Config{Image: v1.Image{Platform: here()}}, layers...)
			manifest, root := base.Digest, base.Digest
			if tc.index {
				root = u.PushIndex(t, "base", "v1", base)
			}
			for name, text := range map[string]string{
				"FROM":        "FROM " + u.Ref("base:v1") + "\nCOPY own /\nCOPY sh /bin/sh\nRUN /made /d/two\n",
				"COPY --from": "FROM scratch\nCOPY --from=" + u.Ref("base:v1") + " / /\nCOPY own sh /bin/\n",
			} {
				rec := mustBuild(t, b, BuildRequest{
					Name: "app:v1", Context: storetest.Files(t, map[string][]byte{"Kubefile": []byte(text), "own": nil, "sh": tool(t)}),
				})
				got, want := filesOf(t, b.Store, rec), []string{"bin/own", "bin/sh", "d/one", "d/two", "o/new", "three", "tool"}
				if name == "FROM" {
					want = []string{"bin/sh", "d/one", "d/two", "made", "o/new", "own", "three", "tool"}
				}
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("%s: files (-want +got):\n%s", name, diff)
				}
				if diff := cmp.Diff(store.Input{Kind: "base", Name: u.Ref("base:v1"), Value: root.String()}, rec.Inputs[len(rec.Inputs)-1]); diff != "" {
					t.Errorf("%s: recorded base (-want +got):\n%s", name, diff)
				}
				if noted := annotation(t, b.Store, rec, v1.AnnotationBaseImageDigest); name == "FROM" && noted != manifest.String() {
					t.Errorf("the image says it is built on %s, want %s", noted, manifest)
				}
			}
		})
	}
}

func TestALayerThatCannotBeUnpackedIsNamedWithTheReason(t *testing.T) {
	u := upstreamtest.New(t)
	b, _ := connected(t, u)
	plain := tarOf(t, file{"f", "x"})
	for name, tc := range map[string]struct {
		layer upstreamtest.TypedLayer
		want  string
	}{
		"too long a window": {
			upstreamtest.TypedLayer{MediaType: v1.MediaTypeImageLayerZstd, Data: longer(zstdOf(t, plain, 1<<20))},
			"is compressed by zstd with a window of 1.0 GiB, and at most 128 MiB are taken: ",
		},
		"encrypted": {
			upstreamtest.TypedLayer{MediaType: v1.MediaTypeImageLayerGzip + "+encrypted", Data: plain},
			`the media type "` + v1.MediaTypeImageLayerGzip + `+encrypted", which cannot be unpacked: name an image whose layers are tar, gzip or zstd`,
		},
		"of OCI in Docker's": {
			upstreamtest.TypedLayer{MediaType: v1.MediaTypeImageLayer, Data: plain}, "which a manifest of Docker's may not name: push the image again",
		},
		"a link to nothing": {
			upstreamtest.TypedLayer{MediaType: v1.MediaTypeImageLayer, Data: tarOf(t, file{"a", "=nowhere/b"})},
			"a is a hard link to nowhere/b, which its layer does not hold",
		},
		"no archive": {
			upstreamtest.TypedLayer{MediaType: v1.MediaTypeImageLayer, Data: []byte(strings.Repeat("no archive", 100))}, "cannot be unpacked: ",
		},
	} {
		t.Run(name, func(t *testing.T) {
			tc.layer.DiffID = digest.FromBytes(plain)
			if tc.layer.MediaType == v1.MediaTypeImageLayer {
				tc.layer.DiffID = digest.FromBytes(tc.layer.Data)
			}
			manifest := v1.MediaTypeImageManifest
			if name == "of OCI in Docker's" {
				manifest = upstreamtest.DockerManifest
			}
			u.PushTyped(t, "odd", "v1", manifest, upstreamtest.Config{Image: v1.Image{Platform: here()}}, tc.layer)
			_, err := b.Build(t.Context(), BuildRequest{
				Name: "app:v1", IgnoreScanErrors: true,
				Context: storetest.Files(t, map[string][]byte{"Kubefile": []byte("FROM scratch\nCOPY --from=" + u.Ref("odd:v1") + " / /\n")}),
			})
			want := "base image " + u.Ref("odd:v1") + ": layer " + digest.FromBytes(tc.layer.Data).String()
			if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error is %v\nwant %s … %s", err, want, tc.want)
			}
		})
	}
}

// longer makes the header of a frame say that its window is of 1 GiB.
func longer(frame []byte) []byte {
	frame[5] = (30 - 10) << 3
	return frame
}

// filesOf lists the files of an image as a runtime shows them.
func filesOf(t *testing.T, s *store.Store, rec store.Record) []string {
	t.Helper()
	blobs, err := s.Walk(rec.Manifest)
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]bool{}
	for _, blob := range blobs {
		f, err := s.OpenBlob(blob.Digest)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		for _, name := range layerNames(t, f) {
			dir, base := "", name
			if i := strings.LastIndexByte(name, '/'); i >= 0 {
				dir, base = name[:i+1], name[i+1:]
			}
			switch hidden, white := strings.CutPrefix(base, ".wh."); {
			case base == ".wh..wh..opq":
				for have := range files {
					if strings.HasPrefix(have, dir) {
						delete(files, have)
					}
				}
			case white:
				delete(files, dir+hidden)
			default:
				files[name] = true
			}
		}
	}
	var all []string
	for name := range files {
		all = append(all, name)
	}
	slices.Sort(all)
	return all
}

// layerNames lists what is no directory in a layer, of whatever compression; what is no layer has none.
func layerNames(t *testing.T, f *os.File) []string {
	t.Helper()
	read := func(r io.Reader) (names []string, ok bool) {
		for entries := tar.NewReader(r); ; {
			h, err := entries.Next()
			if err == io.EOF {
				return names, true
			}
			if err != nil {
				return nil, false
			}
			if h.Typeflag != tar.TypeDir {
				names = append(names, h.Name)
			}
		}
	}
	head := make([]byte, 4)
	_, _ = f.ReadAt(head, 0)
	switch {
	case head[0] == 0x1f && head[1] == 0x8b:
		if z, err := gzip.NewReader(f); err == nil {
			names, _ := read(z)
			return names
		}
	case bytes.Equal(head, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		z, err := zstd.NewReader(f, zstd.WithDecoderMaxWindow(1<<31))
		if err != nil {
			t.Fatal(err)
		}
		defer z.Close()
		names, _ := read(z)
		return names
	}
	names, _ := read(f)
	return names
}

// annotation of a built image's manifest.
func annotation(t *testing.T, s *store.Store, rec store.Record, key string) string {
	t.Helper()
	raw, err := s.ReadBlob(rec.Manifest.Digest, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	var m v1.Manifest
	if err := json.Unmarshal(raw, &m); err != nil {
		t.Fatal(err)
	}
	return m.Annotations[key]
}

// tool is the program that RUN instructions of tests run, as the image's shell.
func tool(t *testing.T) []byte {
	t.Helper()
	file := filepath.Join(t.TempDir(), "tool")
	c := exec.Command("go", "build", "-o", file, "./build/testdata/tool")
	c.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("build the tool: %v\n%s", err, out)
	}
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func marshal(t *testing.T, v any) []byte {
	t.Helper()
	raw, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// toolLayer has the tool as the image's shell.
func toolLayer(t *testing.T) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	data := tool(t)
	if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: "bin/sh", Mode: 0o755, Size: int64(len(data))}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func gzipLayer(t *testing.T, files ...file) []byte {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, _ = z.Write(tarOf(t, files...))
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// textOf is what a file of a built image holds, of the last layer that has it.
func textOf(t *testing.T, s *store.Store, rec store.Record, name string) (text string) {
	t.Helper()
	blobs, err := s.Walk(rec.Manifest)
	if err != nil {
		t.Fatal(err)
	}
	for _, blob := range blobs {
		f, err := s.OpenBlob(blob.Digest)
		if err != nil {
			t.Fatal(err)
		}
		for entries := tar.NewReader(f); ; { // built layers are not compressed
			h, err := entries.Next()
			if err != nil {
				break
			}
			if h.Name == name {
				data, err := io.ReadAll(entries)
				if err != nil {
					t.Fatal(err)
				}
				text = string(data)
			}
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return text
}
