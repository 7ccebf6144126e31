package store

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

func open(t *testing.T, root string) *Store {
	t.Helper()
	s, err := Open(root)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// addImage stores an image of the given layers.
func addImage(t *testing.T, s *Store, layers ...string) v1.Descriptor {
	t.Helper()
	put := func(mediaType string, data []byte) v1.Descriptor {
		d, err := s.PutBytes(data)
		if err != nil {
			t.Fatal(err)
		}
		return v1.Descriptor{MediaType: mediaType, Digest: d, Size: int64(len(data))}
	}
	m := v1.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: v1.MediaTypeImageManifest}
	m.Config = put(v1.MediaTypeImageConfig, []byte(`{"architecture":"amd64","os":"linux","x":"`+strings.Join(layers, ",")+`"}`))
	for _, l := range layers {
		m.Layers = append(m.Layers, put(v1.MediaTypeImageLayer, []byte(l)))
	}
	raw, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return put(m.MediaType, raw)
}

func TestWrongContentNeverBecomesABlob(t *testing.T) {
	s := open(t, t.TempDir())
	good := []byte("content")
	d := digest.FromBytes(good)
	var digestErr *DigestError
	if err := s.Put(t.Context(), d, -1, strings.NewReader("other")); !errors.As(err, &digestErr) {
		t.Errorf("wrong bytes: error is %v, want *DigestError", err)
	}
	var sizeErr *SizeError
	for _, text := range []string{"cont", "content and more"} {
		if err := s.Put(t.Context(), d, int64(len(good)), strings.NewReader(text)); !errors.As(err, &sizeErr) {
			t.Errorf("%q: error is %v, want *SizeError", text, err)
		}
	}
	broken := io.MultiReader(strings.NewReader("cont"), &failing{})
	if err := s.Put(t.Context(), d, -1, broken); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("broken transfer: error is %v", err)
	}
	if _, ok := s.Has(d); ok {
		t.Error("a failed Put left a blob")
	}
	if err := s.Put(t.Context(), d, int64(len(good)), bytes.NewReader(good)); err != nil {
		t.Fatal(err)
	}
	if err := s.Put(t.Context(), d, int64(len(good)), &failing{}); err != nil {
		t.Errorf("second Put read its source: %v", err)
	}
	left, err := filepath.Glob(filepath.Join(s.run.dir, "blob-*"))
	if err != nil || len(left) > 0 {
		t.Errorf("temporary files left: %v %v", left, err)
	}
}

type failing struct{}

func (*failing) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

func TestDigestsThatCannotBeFileNames(t *testing.T) {
	s := open(t, t.TempDir())
	for _, d := range []digest.Digest{"", "sha256:../../x", "sha256:00", digest.Digest("sha512:" + strings.Repeat("0", 128)), "md5:x"} {
		if _, ok := s.Has(d); ok {
			t.Errorf("Has(%q)", d)
		}
		if err := s.Put(t.Context(), d, -1, strings.NewReader("")); err == nil {
			t.Errorf("Put(%q) succeeded", d)
		}
	}
}

func TestKilledSessionIsSwept(t *testing.T) {
	root := t.TempDir()
	alive := open(t, root)
	dir, err := alive.TempDir("work")
	if err != nil {
		t.Fatal(err)
	}
	dead := filepath.Join(root, "tmp", "run-dead", "build")
	if err := os.MkdirAll(dead, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(root, "tmp", "run-dead", "alive"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	second := open(t, root)
	if _, err := os.Stat(dead); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("files of a dead session are still there: %v", err)
	}
	if _, err := os.Stat(dir); err != nil {
		t.Errorf("files of a running session are gone: %v", err)
	}
	if err := second.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(second.run.dir); !errors.Is(err, fs.ErrNotExist) {
		t.Error("Close left the session's files")
	}
}

func TestNamesOfOneImage(t *testing.T) {
	s := open(t, t.TempDir())
	m := addImage(t, s, "layer")
	if err := s.Save(Record{Name: "kubernetes", Manifest: m}); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"kubernetes", "kubernetes:latest", "docker.io/library/kubernetes:latest"} {
		r, err := s.Load(name)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		} else if r.Name != "kubernetes:latest" {
			t.Errorf("%s: name is %q, want it as it was given, with its tag", name, r.Name)
		}
	}
	for _, name := range []string{"other", "example.com/kubernetes", "kubernetes:v1"} {
		if _, err := s.Load(name); !errors.Is(err, ErrUnknownImage) {
			t.Errorf("%s: error is %v, want ErrUnknownImage", name, err)
		}
	}
	for _, bad := range []string{"", "UPPER", "a b", "../x", "x@sha256:" + strings.Repeat("0", 64)} {
		if _, err := Name(bad); err == nil {
			t.Errorf("name %q was accepted", bad)
		}
	}
}

func TestStoreReadsAsAnOCILayout(t *testing.T) {
	root := t.TempDir()
	s := open(t, root)
	m := addImage(t, s, "layer")
	if err := s.Save(Record{Name: "example.com:5000/a/b:v1", Manifest: m}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Tag("example.com:5000/a/b:v1", "short:v2"); err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(filepath.Join(root, "index.json"))
	if err != nil {
		t.Fatal(err)
	}
	var index v1.Index
	if err := json.Unmarshal(raw, &index); err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, d := range index.Manifests {
		if d.Digest != m.Digest || d.Size != m.Size || d.MediaType != m.MediaType {
			t.Errorf("descriptor %v, want %v", d, m)
		}
		names = append(names, d.Annotations[v1.AnnotationRefName])
	}
	if diff := cmp.Diff([]string{"example.com:5000/a/b:v1", "short:v2"}, names); diff != "" {
		t.Errorf("names (-want +got):\n%s", diff)
	}
}

func TestRemoveKeepsWhatOthersNeed(t *testing.T) {
	s := open(t, t.TempDir())
	needed := addImage(t, s, "needed layer")
	one := Record{Name: "one:v1", Manifest: addImage(t, s, "shared", "only one"), Images: []Pinned{{Digest: needed.Digest}}}
	two := Record{Name: "two:v1", Manifest: addImage(t, s, "shared", "only two")}
	for _, r := range []Record{one, two} {
		if err := s.Save(r); err != nil {
			t.Fatal(err)
		}
	}
	cached := digest.FromString("of a failed build")
	if _, err := s.PutBytes([]byte("of a failed build")); err != nil {
		t.Fatal(err)
	}
	done, err := s.Remove("one:v1")
	if err != nil {
		t.Fatal(err)
	}
	if done.Freed == 0 || done.Later {
		t.Errorf("freed %+v, want some bytes, and now", done)
	}
	for text, want := range map[string]bool{"shared": true, "only one": false, "only two": true, "needed layer": false, "of a failed build": true} {
		if _, ok := s.Has(digest.FromString(text)); ok != want {
			t.Errorf("blob %q there: %v, want %v", text, ok, want)
		}
	}
	if _, err := s.Walk(two.Manifest); err != nil {
		t.Errorf("the other image is damaged: %v", err)
	}
	if _, err := s.Prune(); err != nil {
		t.Fatal(err)
	}
	if _, ok := s.Has(cached); ok {
		t.Error("Prune left a blob that no image reaches")
	}
	if _, err := s.Walk(two.Manifest); err != nil {
		t.Errorf("Prune damaged an image: %v", err)
	}
}

// Another sealbuild may be reading what is removed: the name goes, and the blobs stay until it has ended.
func TestRemovalBesideAnotherLeavesTheBlobs(t *testing.T) {
	root := t.TempDir()
	s, other := open(t, root), open(t, root)
	image := addImage(t, s, "x")
	if err := s.Save(Record{Name: "a:v1", Manifest: image}); err != nil {
		t.Fatal(err)
	}
	done, err := s.Remove("a:v1")
	if err != nil || !done.Later {
		t.Errorf("%+v, %v: want the blobs to go later", done, err)
	}
	if _, err := s.Load("a:v1"); !errors.Is(err, ErrUnknownImage) {
		t.Errorf("the image is still there: %v", err)
	}
	if _, err := other.Walk(image); err != nil {
		t.Errorf("another sealbuild misses what it reads: %v", err)
	}
	if _, err := s.Prune(); !errors.Is(err, ErrBusy) {
		t.Errorf("error is %v, want ErrBusy while another process has the store open", err)
	}
	if err := other.Close(); err != nil {
		t.Fatal(err)
	}
	if freed, err := s.Prune(); err != nil || freed == 0 {
		t.Errorf("freed %d bytes: %v", freed, err)
	}
}

func TestWalkNamesWhatIsMissing(t *testing.T) {
	s := open(t, t.TempDir())
	m := addImage(t, s, "one", "two")
	blobs, err := s.Walk(m)
	if err != nil {
		t.Fatal(err)
	}
	if len(blobs) != 4 || blobs[3].Digest != m.Digest || !blobs[3].Manifest {
		t.Errorf("blobs %v, want config, two layers and the manifest last", blobs)
	}
	if _, err := s.removeBlob(digest.FromString("two")); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Walk(m); !errors.Is(err, ErrIncomplete) {
		t.Errorf("error is %v, want ErrIncomplete", err)
	}
}
