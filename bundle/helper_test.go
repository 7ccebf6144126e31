package bundle

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

type testBlob struct {
	data     []byte
	compress bool
}

func (b testBlob) digest() digest.Digest { return digest.FromBytes(b.data) }

// noise is n bytes that do not compress, the same for the same seed.
func noise(seed uint64, n int) []byte {
	r := rand.New(rand.NewPCG(seed, 7))
	b := make([]byte, n+8)
	for i := 0; i < n; i += 8 {
		binary.LittleEndian.PutUint64(b[i:], r.Uint64())
	}
	return b[:n:n]
}

// prose is n bytes that compress about as well as a root file system.
func prose(seed uint64, n int) []byte {
	r := rand.New(rand.NewPCG(seed, 9))
	words := strings.Fields("kubelet etcd apiserver /usr/lib/modules root:x:0:0 ELF mount 0755 registry containerd #!/bin/sh echo node master")
	var b bytes.Buffer
	b.Grow(n + 32)
	for b.Len() < n {
		b.WriteString(words[r.IntN(len(words))])
		b.WriteByte(byte(r.IntN(256)))
	}
	return b.Bytes()[:n:n]
}

// manifestBlob is a small image manifest over config and layers, and the
// Image that names it.
func manifestBlob(name string, config testBlob, layers ...testBlob) (testBlob, Image) {
	m := `{"schemaVersion":2,"mediaType":"` + v1.MediaTypeImageManifest + `","config":` +
		descriptor(v1.MediaTypeImageConfig, config) + `,"layers":[`
	size := int64(len(config.data))
	for i, l := range layers {
		if i > 0 {
			m += ","
		}
		m += descriptor(v1.MediaTypeImageLayer, l)
		size += int64(len(l.data))
	}
	b := testBlob{[]byte(m + "]}"), true}
	return b, Image{
		Name: name, Digest: b.digest(), MediaType: v1.MediaTypeImageManifest, ManifestSize: int64(len(b.data)),
		Platforms: []string{"linux/amd64"}, Size: size + int64(len(b.data)), Kind: KindImage,
	}
}

func descriptor(mediaType string, b testBlob) string {
	return `{"mediaType":"` + mediaType + `","digest":"` + b.digest().String() + `","size":` + strconv.Itoa(len(b.data)) + `}`
}

func configBlob(arch string, diffIDs ...digest.Digest) testBlob {
	ids := ""
	for i, d := range diffIDs {
		if i > 0 {
			ids += ","
		}
		ids += `"` + d.String() + `"`
	}
	return testBlob{[]byte(`{"architecture":"` + arch + `","os":"linux","config":{},"rootfs":{"type":"layers","diff_ids":[` + ids + `]}}`), true}
}

func writeBundle(t testing.TB, w io.Writer, o WriterOptions, blobs []testBlob, images []Image) Summary {
	t.Helper()
	bw, err := NewWriter(w, o)
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range blobs {
		if err := bw.AddBlob(context.Background(), b.digest(), int64(len(b.data)), b.compress, bytes.NewReader(b.data)); err != nil {
			t.Fatal(err)
		}
	}
	for _, i := range images {
		if err := bw.AddImage(i); err != nil {
			t.Fatal(err)
		}
	}
	s, err := bw.Close()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func makeBundle(t testing.TB, o WriterOptions, blobs []testBlob, images []Image) ([]byte, Summary) {
	t.Helper()
	var buf bytes.Buffer
	s := writeBundle(t, &buf, o, blobs, images)
	if s.Size != int64(buf.Len()) {
		t.Fatalf("Summary.Size = %d, file has %d bytes", s.Size, buf.Len())
	}
	return buf.Bytes(), s
}

func openBytes(t testing.TB, b []byte) *Reader {
	t.Helper()
	r, err := Open(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// smallBundle has every kind of part: a stub, stored and compressed entries,
// paddings of several lengths, and an image.
func smallBundle(t testing.TB, stub string) ([]byte, Summary) {
	t.Helper()
	layer := testBlob{noise(1, 700), false}
	text := testBlob{prose(2, 1500), true}
	config := configBlob("amd64", layer.digest(), text.digest())
	manifest, image := manifestBlob("registry.example/tool:v1", config, layer, text)
	o := WriterOptions{StubPlatform: "linux/amd64", ModTime: time.Unix(1700000000, 0), Concurrency: 1}
	if stub != "" {
		o.Stub = strings.NewReader(stub)
	}
	return makeBundle(t, o, []testBlob{layer, text, {nil, false}, config, manifest}, []Image{image})
}

func testStub(platform string, data []byte) Stub {
	return Stub{platform, digest.FromBytes(data), int64(len(data)), bytes.NewReader(data)}
}

// richBundle has every part and field that a bundle can have, but no parts.
func richBundle(t testing.TB) ([]byte, Summary) {
	t.Helper()
	signer := testSigner(t, 1)
	layer, elsewhere := testBlob{noise(1, 700), false}, testBlob{noise(2, 900), false}
	manifest, image := manifestBlob("registry.example/tool:v1", layer, elsewhere)
	var buf bytes.Buffer
	w, err := NewWriter(&buf, WriterOptions{
		Stub: strings.NewReader("#!/bin/sh\n"), StubPlatform: "linux/amd64", Stubs: []Stub{testStub("linux/arm64", prose(3, 600))},
		ModTime: time.Unix(1700000000, 0), Concurrency: 1, TrustKeys: []string{signer.PublicKey() + " release"}, Sign: signer.Sign,
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range []testBlob{layer, manifest} {
		if err := w.AddBlob(context.Background(), b.digest(), int64(len(b.data)), b.compress, bytes.NewReader(b.data)); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(w.Expect(elsewhere.digest(), 900), w.AddDocument("lock.json", []byte("{}\n")), w.AddImage(image)); err != nil {
		t.Fatal(err)
	}
	s, err := w.Close()
	if err != nil {
		t.Fatal(err)
	}
	return buf.Bytes(), s
}

func mustVerify(t testing.TB, r *Reader) {
	t.Helper()
	damage, err := r.Verify(context.Background(), nil)
	if err != nil || len(damage) > 0 {
		t.Fatalf("Verify = %v, %v; want no damage", damage, err)
	}
}
