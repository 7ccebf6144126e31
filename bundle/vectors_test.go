package bundle

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/opencontainers/go-digest"
	"golang.org/x/crypto/ssh"
)

var update = flag.Bool("update", false, "write testdata/vectors anew")

const vectorDir = "testdata/vectors"

// observed is what the package says of a file, and what a vector's .json
// holds. Numbers are bytes from the start of the file.
type observed struct {
	About string `json:"about"`
	// Open is ok, not-bundle, truncated, version or corrupt.
	Open     string `json:"open"`
	Entry    string `json:"entry,omitempty"`
	Start    int64  `json:"start,omitempty"`
	End      int64  `json:"end,omitempty"`
	Version  int    `json:"version,omitempty"`
	Features uint32 `json:"features,omitempty"`

	PayloadOffset int64         `json:"payloadOffset,omitempty"`
	StubPlatform  string        `json:"stubPlatform,omitempty"`
	IndexDigest   digest.Digest `json:"indexDigest,omitempty"`
	Blobs         []vectorBlob  `json:"blobs,omitempty"`
	Images        []Image       `json:"images,omitempty"`
	Platforms     []string      `json:"platforms,omitempty"` // that there is a stub for
	TrustKeys     []string      `json:"trustKeys,omitempty"`
	Documents     []string      `json:"documents,omitempty"`
	Expected      []Expected    `json:"expected,omitempty"`
	SignedBy      string        `json:"signedBy,omitempty"` // fingerprint of the key
	Damage        []vectorRange `json:"damage,omitempty"`
}

type vectorBlob struct {
	Digest     digest.Digest `json:"digest"`
	Size       int64         `json:"size"`
	Offset     int64         `json:"offset"`
	StoredSize int64         `json:"storedSize"`
	Stored     bool          `json:"stored"`
}

type vectorRange struct {
	Entry string `json:"entry"`
	Start int64  `json:"start"`
	End   int64  `json:"end"`
}

func observe(t *testing.T, file []byte) observed {
	t.Helper()
	r, err := Open(bytes.NewReader(file), int64(len(file)))
	var (
		cut     *TruncatedError
		version *VersionError
		damaged *CorruptError
	)
	switch {
	case errors.Is(err, ErrNotBundle):
		return observed{Open: "not-bundle"}
	case errors.As(err, &cut):
		return observed{Open: "truncated", Entry: cut.Entry, Start: cut.Start, End: cut.End}
	case errors.As(err, &version):
		return observed{Open: "version", Version: version.Version, Features: version.Features}
	case errors.As(err, &damaged):
		return observed{Open: "corrupt", Entry: damaged.Entry, Start: damaged.Offset, End: damaged.Offset + damaged.Length}
	case err != nil:
		t.Fatalf("Open: an error of no kind: %v", err)
	}
	_, platform := r.StubInfo()
	o := observed{Open: "ok", PayloadOffset: r.PayloadOffset(), StubPlatform: platform, IndexDigest: r.IndexDigest(), Images: r.Images()}
	o.Platforms, o.TrustKeys, o.Documents, o.Expected = r.Platforms(), r.TrustKeys(), r.Documents(), r.Expected()
	if key, err := r.SignedBy(); err == nil {
		o.SignedBy = ssh.FingerprintSHA256(key)
	}
	for _, b := range r.Blobs() {
		o.Blobs = append(o.Blobs, b.vector())
	}
	damage, err := r.Verify(context.Background(), nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range damage {
		o.Damage = append(o.Damage, vectorRange{d.Entry, d.Offset, d.Offset + d.Length})
	}
	if len(damage) == 0 {
		for _, b := range r.Blobs() {
			if _, err := r.ReadBlob(b.Digest, b.Size); err != nil {
				t.Errorf("blob %s: %v", b.Digest, err)
			}
		}
	}
	return o
}

func (b BlobInfo) vector() vectorBlob {
	return vectorBlob{b.Digest, b.Size, b.Offset, b.StoredSize, b.Stored}
}

type vector struct {
	name, about string
	file        []byte
	open, entry string // by hand, so that -update cannot make a wrong result right
}

func vectors(t *testing.T) []vector {
	const stub = "#!/bin/sh\necho this is where the installer stands\n"
	plain, _ := smallBundle(t, "")
	full, s := smallBundle(t, stub)
	r := openBytes(t, full)
	stored, packed := r.Blobs()[0], r.Blobs()[1]
	empty, _ := makeBundle(t, WriterOptions{}, nil, nil)
	rich, _ := richBundle(t)
	signature, _ := openBytes(t, rich).SignatureRange()
	unsigned := bytes.Clone(rich)
	unsigned[signature.Offset+100] ^= 1
	states, _ := makeBundle(t, WriterOptions{}, []testBlob{{make([]byte, unitSize+1), false}}, nil)
	size := int64(len(full))
	indexAt := s.PayloadOffset + r.trailer.indexStart

	cut := func(at int64) []byte { return full[:at] }
	flip := func(at int64) []byte {
		b := bytes.Clone(full)
		b[at] ^= 0x20
		return b
	}
	future := func(version, features uint32) []byte {
		b := bytes.Clone(full)
		tail := b[len(b)-tailSize:]
		binary.LittleEndian.PutUint32(tail, features)
		binary.LittleEndian.PutUint32(tail[4:], version)
		binary.LittleEndian.PutUint32(tail[12:], checksum(b[len(b)-trailerSize:len(b)-20]))
		return b
	}
	storedPath, packedPath := blobPath(stored.Digest), blobPath(packed.Digest)
	return []vector{
		{"whole", "a payload with stored and compressed entries and an empty blob, without a stub", plain, "ok", ""},
		{"whole-stub", "the same behind a stub", full, "ok", ""},
		{"whole-empty", "no blobs and no images", empty, "ok", ""},
		{"whole-rich", "signed, with a second stub, a baked key, a document and an expected blob", rich, "ok", ""},
		{"whole-states", "a stored blob of two units, 4 MiB and one byte of zeros", states, "ok", ""},
		{"cut-signature", "ends within the signature", rich[:signature.Offset+50], "truncated", PartSignature},
		{"flip-signature", "one bit of the signature is wrong", unsigned, "ok", ""},
		{"cut-head", "ends within the head", cut(s.PayloadOffset + 60), "truncated", PartHead},
		{"cut-header", "ends within the tar header of the first blob", cut(stored.Offset - 100), "truncated", headerOf("the entry behind oci-layout")},
		{"cut-stored", "ends within a stored blob", cut(stored.Offset + 300), "truncated", storedPath},
		{"cut-boundary", "ends where a stored blob ends", cut(stored.Offset + stored.StoredSize), "truncated", headerOf("the entry behind " + storedPath)},
		{"cut-compressed", "ends within a compressed blob", cut(packed.Offset + 300), "truncated", packedPath},
		{"cut-index", "ends within the index", cut(indexAt + 40), "truncated", PartIndex},
		{"cut-trailer", "ends where the trailer should begin", cut(size - trailerSize), "truncated", PartTrailer},
		{"cut-last-byte", "lacks the last byte", cut(size - 1), "truncated", PartTrailer},
		{"flip-stub", "one bit of the stub is wrong", flip(3), "ok", ""},
		{"flip-head", "one bit of the head is wrong", flip(s.PayloadOffset + 30), "corrupt", PartHead},
		{"flip-header", "one bit of a tar header is wrong", flip(stored.Offset - 100), "ok", ""},
		{"flip-stored", "one bit of a stored blob is wrong", flip(stored.Offset + 300), "ok", ""},
		{"flip-compressed", "one bit of a compressed blob is wrong", flip(packed.Offset + 300), "ok", ""},
		{"flip-index", "one bit of the index is wrong", flip(indexAt + 40), "corrupt", PartIndex},
		{"flip-trailer", "one bit of the trailer is wrong", flip(size - 70), "corrupt", PartTrailer},
		{"flip-magic", "one bit of the magic at the end is wrong", flip(size - 1), "corrupt", PartTrailer},
		{"trailing", "something lies behind the trailer", append(bytes.Clone(full), "\nnot ours\n"...), "corrupt", PartBehind},
		{"foreign", "a shell script", []byte("#!/bin/sh\nexit 0\n" + strings.Repeat("# "+magic+"\n", 9)), "not-bundle", ""},
		{"foreign-empty", "no bytes at all", nil, "not-bundle", ""},
		{"future-version", "format version 2", future(2, 0), "version", ""},
		{"future-feature", "format version 1 with a feature bit nobody has defined", future(1, 1<<31), "version", ""},
	}
}

func TestVectors(t *testing.T) {
	made := vectors(t)
	if *update {
		if err := os.MkdirAll(vectorDir, 0o755); err != nil {
			t.Fatal(err)
		}
		for _, v := range made {
			o := observe(t, v.file)
			o.About = v.about
			b, err := json.MarshalIndent(o, "", "  ")
			if err != nil {
				t.Fatal(err)
			}
			base := filepath.Join(vectorDir, v.name)
			if err := errors.Join(os.WriteFile(base+".bundle", v.file, 0o644), os.WriteFile(base+".json", append(b, '\n'), 0o644)); err != nil {
				t.Fatal(err)
			}
		}
	}
	names, err := filepath.Glob(filepath.Join(vectorDir, "*.bundle"))
	if err != nil || len(names) == 0 {
		t.Fatalf("there are no vectors in %s: %v", vectorDir, err)
	}
	hand := map[string]vector{}
	for _, v := range made {
		hand[v.name] = v
	}
	for _, path := range names {
		name := strings.TrimSuffix(filepath.Base(path), ".bundle")
		t.Run(name, func(t *testing.T) {
			file, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			raw, err := os.ReadFile(strings.TrimSuffix(path, "bundle") + "json")
			if err != nil {
				t.Fatal(err)
			}
			var want observed
			if err := json.Unmarshal(raw, &want); err != nil {
				t.Fatal(err)
			}
			got := observe(t, file)
			got.About = want.About
			if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("(-expected +observed):\n%s", diff)
			}
			v, ok := hand[name]
			if !ok {
				return // a vector of an earlier version, kept
			}
			if got.Open != v.open || got.Entry != v.entry {
				t.Errorf("Open = %s %q, must be %s %q", got.Open, got.Entry, v.open, v.entry)
			}
			if strings.HasPrefix(name, "flip-") && got.Open == "ok" && len(got.Damage) != 1 {
				t.Errorf("Verify finds %d damages, not 1", len(got.Damage))
			}
			if strings.HasPrefix(name, "whole") && len(got.Damage) > 0 {
				t.Errorf("Verify finds %v", got.Damage)
			}
			if !bytes.Equal(file, v.file) {
				t.Error("the writer makes other bytes now: the same inputs would give another bundle than before (-update if that is meant)")
			}
		})
	}
	if len(names) < len(made) {
		t.Errorf("%d vectors on disk, %d are made", len(names), len(made))
	}
}
