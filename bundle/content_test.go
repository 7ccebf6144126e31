package bundle

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestStubsOfSeveralPlatforms(t *testing.T) {
	front, arm := noise(1, 5000), prose(2, 9<<20)
	o := WriterOptions{Stub: bytes.NewReader(front), StubPlatform: "linux/amd64", Stubs: []Stub{testStub("linux/arm64", arm)}}
	file, _ := makeBundle(t, o, []testBlob{{noise(3, 100), false}}, nil)
	r := openBytes(t, file)
	mustVerify(t, r)
	if diff := cmp.Diff([]string{"linux/amd64", "linux/arm64"}, r.Platforms()); diff != "" {
		t.Error(diff)
	}
	for platform, want := range map[string][]byte{"linux/amd64": front, "linux/arm64": arm} {
		stub, err := r.OpenStub(platform)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(stub); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: %d bytes, %v", platform, len(got), err)
		}
	}
	if _, err := r.OpenStub("linux/riscv64"); !errors.Is(err, ErrNoStub) || !strings.Contains(err.Error(), "linux/amd64, linux/arm64") {
		t.Errorf("a platform without a stub: %v", err)
	}
	file[100] ^= 1
	if _, err := openBytes(t, file).OpenStub("linux/amd64"); !errors.As(err, new(*CorruptError)) {
		t.Errorf("a damaged stub: %v", err)
	}
}

func TestDocumentsLieInTheArchiveUnderTheirNames(t *testing.T) {
	w, out := newTestWriter(t)
	lock := []byte(`{"version":1}`)
	if err := w.AddDocument("lock.json", lock); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"", "lock.json", "index.json", "oci-layout", "blobs", "a/b.json", "..json", "../x.json", "Lock.json", "lock.txt", strings.Repeat("a", 60) + ".json"} {
		if err := w.AddDocument(name, nil); err == nil {
			t.Errorf("AddDocument(%q) succeeded", name)
		}
	}
	if _, err := w.Close(); err != nil {
		t.Fatal(err)
	}
	r := openBytes(t, out.Bytes())
	mustVerify(t, r)
	if got, err := r.Document("lock.json"); err != nil || !bytes.Equal(got, lock) {
		t.Errorf("Document = %q, %v", got, err)
	}
	if _, err := r.Document("index.json"); !errors.Is(err, ErrNoDocument) {
		t.Errorf("index.json as a document: %v", err)
	}
	if len(r.Blobs()) > 0 {
		t.Errorf("documents are among the blobs: %v", r.Blobs())
	}
	tool(t, "zstd")
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "FILE"), out.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	if got := run(t, dir, "zstd -dcq < FILE | tar xO lock.json"); got != string(lock) {
		t.Errorf("tar finds %q", got)
	}
}

func newTestWriter(t *testing.T) (*Writer, *bytes.Buffer) {
	t.Helper()
	out := new(bytes.Buffer)
	w, err := NewWriter(out, WriterOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return w, out
}

func TestExpectedBlobsAreNamedAndNotHeld(t *testing.T) {
	w, out := newTestWriter(t)
	here, there := testBlob{noise(1, 100), false}, testBlob{noise(2, 200), false}
	manifest, image := manifestBlob("registry.example/tool:v1", here, there)
	ctx := context.Background()
	for _, b := range []testBlob{here, manifest} {
		if err := w.AddBlob(ctx, b.digest(), int64(len(b.data)), b.compress, bytes.NewReader(b.data)); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		if err := w.Expect(there.digest(), 200); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Expect(here.digest(), 100); err == nil {
		t.Error("a blob of the bundle was expected")
	}
	if err := w.AddBlob(ctx, there.digest(), 200, false, bytes.NewReader(there.data)); err == nil {
		t.Error("an expected blob was added")
	}
	if err := w.AddImage(image); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Close(); err != nil {
		t.Fatal(err)
	}
	r := openBytes(t, out.Bytes())
	mustVerify(t, r)
	if diff := cmp.Diff([]Expected{{there.digest(), 200}}, r.Expected()); diff != "" {
		t.Error(diff)
	}
	if size, ok := r.Expects(there.digest()); !ok || size != 200 {
		t.Errorf("Expects = %d, %v", size, ok)
	}
	if _, ok := r.Stat(there.digest()); ok {
		t.Error("Stat finds an expected blob")
	}
	dir := filepath.Join(t.TempDir(), "layout")
	lacks := new(MissingError)
	if err := r.ExtractLayout(ctx, dir, nil, nil); !errors.As(err, &lacks) || len(lacks.Blobs) != 1 || !strings.Contains(err.Error(), there.digest().String()) {
		t.Errorf("ExtractLayout = %v", err)
	}
	if _, err := os.Stat(dir); err == nil {
		t.Error("something was written")
	}
}

func TestInventoriesMeetInWhatBothHave(t *testing.T) {
	a, b, c := testBlob{[]byte("a"), false}.digest(), testBlob{[]byte("b"), false}.digest(), testBlob{[]byte("c"), false}.digest()
	got := Inventory{a: 1, b: 2, c: 3}.And(Inventory{a: 1, b: 3})
	if diff := cmp.Diff(Inventory{a: 1}, got); diff != "" {
		t.Error(diff)
	}
	for _, text := range []string{"", "sha256:00 1\n", inventoryHeader + "\nsha256:00 1\n", inventoryHeader + "\n" + a.String() + " -1\n", inventoryHeader + "\n" + a.String() + "\n"} {
		if _, err := ReadInventory("file", strings.NewReader(text)); err == nil || !strings.Contains(err.Error(), "file") {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestDescriptionSaysWhereTheBytesGo(t *testing.T) {
	shared, own := testBlob{noise(1, 1000), false}, testBlob{noise(2, 3000), false}
	ma, a := manifestBlob("a/a:1", shared)
	mb, b := manifestBlob("b/b:1", shared, own)
	s := testSigner(t, 1)
	file, sum := makeBundle(t, WriterOptions{Stub: strings.NewReader("stub"), Sign: s.Sign}, []testBlob{shared, own, ma, mb}, []Image{a, b})
	r := openBytes(t, file)
	d, err := r.Describe()
	if err != nil {
		t.Fatal(err)
	}
	if d.PayloadOffset != 4 || d.Size != int64(len(file)) || d.IndexDigest != sum.IndexDigest || d.Signature.Fingerprint != s.Fingerprint() {
		t.Errorf("%+v", d)
	}
	held := func(b testBlob) int64 { i, _ := r.Stat(b.digest()); return i.StoredSize }
	want := []Usage{
		{"b/b:1", held(shared) + held(own) + held(mb), held(own) + held(mb)},
		{"a/a:1", held(shared) + held(ma), held(ma)},
	}
	if diff := cmp.Diff(want, d.Usage); diff != "" {
		t.Error(diff)
	}
	if d.Blobs.SharedSize != held(shared) || d.Blobs.Count != 4 || d.Blobs.AsIs != 2 {
		t.Errorf("%+v", d.Blobs)
	}
}

func TestDiffTellsImagesAndBytes(t *testing.T) {
	l1, l2, l3 := testBlob{noise(1, 1000), false}, testBlob{noise(2, 1000), false}, testBlob{noise(3, 1000), false}
	keep, keepI := manifestBlob("keep:1", l1)
	old, oldI := manifestBlob("change:1", l1, l2)
	changed, changedI := manifestBlob("change:1", l1, l3)
	gone, goneI := manifestBlob("gone:1", l2)
	added, addedI := manifestBlob("added:1", l3)
	before, _ := makeBundle(t, WriterOptions{}, []testBlob{l1, l2, keep, old, gone}, []Image{keepI, oldI, goneI})
	after, _ := makeBundle(t, WriterOptions{}, []testBlob{l1, l3, keep, changed, added}, []Image{keepI, changedI, addedI})
	a, b := openBytes(t, before), openBytes(t, after)
	held := func(r *Reader, blobs ...testBlob) (c BlobCount) {
		for _, b := range blobs {
			i, _ := r.Stat(b.digest())
			c.add(i)
		}
		return c
	}
	want := Difference{
		Added: []Image{addedI}, Removed: []Image{goneI}, Changed: []ChangeImage{{"change:1", oldI.Digest, changedI.Digest}},
		Same: 1, Shared: held(b, l1, keep), New: held(b, l3, changed, added), Gone: held(a, l2, old, gone),
	}
	if diff := cmp.Diff(want, Diff(a, b)); diff != "" {
		t.Error(diff)
	}
}

func TestPartsJoinedAreTheBundle(t *testing.T) {
	blobs := []testBlob{{noise(1, 20<<20), false}, {noise(2, 30<<20), false}, {prose(3, 5<<20), true}}
	whole, _ := makeBundle(t, WriterOptions{PartSize: MinPartSize}, blobs, nil)
	name := filepath.Join(t.TempDir(), "site")
	w, err := CreateParts(name, MinPartSize)
	if err != nil {
		t.Fatal(err)
	}
	writeBundle(t, w, WriterOptions{PartSize: MinPartSize}, blobs, nil)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	f, err := OpenFile(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	mustVerify(t, f.Reader)
	var joined []byte
	for n, part := range f.Parts() {
		b, err := os.ReadFile(part)
		if err != nil {
			t.Fatal(err)
		}
		if n < len(f.Parts())-1 && len(b) != MinPartSize {
			t.Errorf("%s has %d bytes", part, len(b))
		}
		joined = append(joined, b...)
	}
	if !bytes.Equal(joined, whole) {
		t.Error("the parts are not the bytes of the whole")
	}
	mustVerify(t, openBytes(t, joined))
	for _, b := range blobs {
		if got, err := f.ReadBlob(b.digest(), 1<<30); err != nil || !bytes.Equal(got, b.data) {
			t.Errorf("a blob across parts: %d bytes, %v", len(got), err)
		}
	}
	if got, want := f.Holding(MinPartSize-1, 2), f.Parts()[:2]; !cmp.Equal(got, want) {
		t.Errorf("Holding = %v", got)
	}
	if _, err := CreateParts(filepath.Join(t.TempDir(), "x"), MinPartSize-1); err == nil {
		t.Error("parts that are too small were accepted")
	}
	if _, err := NewWriter(io.Discard, WriterOptions{Stub: bytes.NewReader(noise(1, 5000)), PartSize: 4999}); err == nil {
		t.Error("a part without room for the stub was accepted")
	}
}
