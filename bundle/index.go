package bundle

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// index is the JSON behind the archive. It names every byte of the file that
// does not follow from it and the fixed rules of the format.
type index struct {
	ModTime  int64           `json:"modTime"`            // of every tar header, seconds since 1970
	PartSize int64           `json:"partSize,omitempty"` // as in the head
	Stub     indexStub       `json:"stub"`
	Stubs    []indexPlatform `json:"stubs,omitempty"` // for other platforms; blobs
	Trust    []string        `json:"trust,omitempty"` // lines as in allowed_signers
	Entries  []entry         `json:"entries"`
	Images   []Image         `json:"images"`
	Expected []Expected      `json:"expected,omitempty"`
}

type indexStub struct {
	Size     int64         `json:"size"`
	Digest   digest.Digest `json:"digest"`
	Platform string        `json:"platform,omitempty"`
}

type indexPlatform struct {
	Platform string        `json:"platform"`
	Digest   digest.Digest `json:"digest"`
}

// Expected is a blob that images of the bundle need and that is not in it: the site has it already.
type Expected struct {
	Digest digest.Digest `json:"digest"`
	Size   int64         `json:"size"` // bytes
}

// entry is one file of the archive, in archive order.
type entry struct {
	Path   string        `json:"path"`
	Digest digest.Digest `json:"digest"` // of the decoded content
	Size   int64         `json:"size"`   // decoded
	Offset int64         `json:"offset"` // of its first content frame, from the head
	// States of the digest's hash between the units of a stored entry.
	States []hashSum `json:"states,omitempty"`
	// Frames are the lengths in the file of the compressed frames, one for each unit. Empty: the entry is stored.
	Frames []int64 `json:"frames,omitempty"`
	// FrameSums are of those frames as they lie in the file: two different
	// frames can decode to the same bytes, and only one of them was written.
	FrameSums []hashSum `json:"frameSums,omitempty"`
}

func (e *entry) stored() bool { return len(e.Frames) == 0 }

// units is how many pieces of unitSize the content has; at least one.
func (e *entry) units() int64 { return max(1, (e.Size+unitSize-1)/unitSize) }

// unitContent is the decoded size of unit i.
func (e *entry) unitContent(i int64) int64 { return min(unitSize, e.Size-i*unitSize) }

// length in the file of the content frames.
func (e *entry) length() int64 {
	if e.stored() {
		return rawFrameSize(e.Size)
	}
	var n int64
	for _, f := range e.Frames {
		n += f
	}
	return n
}

func encodeIndex(ix *index) ([]byte, error) {
	b, err := json.Marshal(ix)
	if err != nil {
		return nil, fmt.Errorf("encode the index: %w", err)
	}
	if len(b) > maxIndexJSON {
		return nil, fmt.Errorf("an index of %d bytes: too many blobs for one bundle", len(b))
	}
	return b, nil
}

// decodeIndex reads the JSON and checks that its entries lie behind each other without a gap or an overlap, from the head to end.
func decodeIndex(data []byte, end int64) (*index, error) {
	ix := new(index)
	if err := json.Unmarshal(data, ix); err != nil {
		return nil, fmt.Errorf("decode the index: %w", err)
	}
	if ix.ModTime < 0 || ix.ModTime > ustarMax {
		return nil, fmt.Errorf("a time of %d", ix.ModTime)
	}
	if ix.Stub.Size < 0 || ix.Stub.Size > MaxStubSize {
		return nil, fmt.Errorf("a stub of %d bytes", ix.Stub.Size)
	}
	if err := checkDigest(ix.Stub.Digest); err != nil {
		return nil, fmt.Errorf("stub: %w", err)
	}
	if err := ix.checkEntries(end); err != nil {
		return nil, err
	}
	return ix, ix.checkNames()
}

func (ix *index) checkEntries(end int64) error {
	last := len(ix.Entries) - 1
	if last < 1 {
		return errors.New("an archive without oci-layout and index.json")
	}
	pos, prev := int64(headSize), int64(0)
	for i := range ix.Entries {
		e := &ix.Entries[i]
		if err := e.check(i == 0, i == last, end); err != nil {
			return fmt.Errorf("entry %d: %w", i, err)
		}
		pos += rawFrameSize(gapSize(prev, e.Size))
		if e.Offset != pos {
			return fmt.Errorf("entry %d: it lies at %d, not at %d", i, e.Offset, pos)
		}
		pos += e.length()
		if pos > end {
			return fmt.Errorf("entry %d: it ends at %d, behind the archive's end at %d", i, pos, end)
		}
		prev = e.Size
	}
	if pos += rawFrameSize(int64(len(endGap(prev)))); pos != end {
		return fmt.Errorf("the archive ends at %d, not at %d", pos, end)
	}
	return nil
}

func (e *entry) check(first, last bool, end int64) error {
	if err := checkDigest(e.Digest); err != nil {
		return err
	}
	want := blobPath(e.Digest)
	switch {
	case first:
		want = v1.ImageLayoutFile
	case last:
		want = v1.ImageIndexFile
	case isDocument(e.Path):
		want = e.Path
	}
	if e.Path != want {
		return fmt.Errorf("path %q is not %s", e.Path, want)
	}
	if e.Size < 0 || e.Size > maxContent {
		return fmt.Errorf("a size of %d", e.Size)
	}
	if e.stored() {
		if e.Size > end || len(e.FrameSums) > 0 {
			return fmt.Errorf("%d bytes stored in an archive of %d", e.Size, end)
		}
		if int64(len(e.States)) != e.units()-1 {
			return fmt.Errorf("%d states of the hash for %d bytes", len(e.States), e.Size)
		}
		return nil
	}
	if want := e.units(); e.Size == 0 || int64(len(e.Frames)) != want || int64(len(e.FrameSums)) != want || len(e.States) > 0 {
		return fmt.Errorf("%d frames with %d sums for %d bytes", len(e.Frames), len(e.FrameSums), e.Size)
	}
	for _, n := range e.Frames {
		if n <= 0 || n > maxPackedFrame {
			return fmt.Errorf("a frame of %d bytes", n)
		}
	}
	return nil
}

// isDocument tells whether path can be that of a document: a name without a folder that the image layout does not use.
func isDocument(path string) bool {
	if path == v1.ImageIndexFile || path == v1.ImageLayoutFile || path == v1.ImageBlobsDir || len(path) > 64 {
		return false
	}
	letters := strings.Trim(path, "abcdefghijklmnopqrstuvwxyz0123456789.-")
	return letters == "" && strings.HasSuffix(path, ".json") && path[0] != '.' && path[0] != '-'
}

// checkNames checks that what is named beside the entries is there, or, when it is expected elsewhere, is not.
func (ix *index) checkNames() error {
	blobs, err := ix.blobs()
	if err != nil {
		return err
	}
	names := make(map[string]bool, len(ix.Images))
	for _, i := range ix.Images {
		if err := i.check(); err != nil {
			return err
		}
		if names[i.Name] {
			return fmt.Errorf("image %s is named twice", i.Name)
		}
		names[i.Name] = true
		n, ok := blobs[i.Digest]
		if !ok {
			return fmt.Errorf("image %s: %w: %s", i.Name, ErrNoBlob, i.Digest)
		}
		if size := ix.Entries[n].Size; size != i.ManifestSize {
			return fmt.Errorf("image %s: its manifest has %d bytes, not %d", i.Name, size, i.ManifestSize)
		}
		for _, r := range i.Referrers {
			if n, ok := blobs[r.Digest]; !ok || ix.Entries[n].Size != r.Size {
				return fmt.Errorf("image %s: %w: its referrer %s of %d bytes", i.Name, ErrNoBlob, r.Digest, r.Size)
			}
		}
	}
	platforms := map[string]bool{ix.Stub.Platform: true}
	for _, s := range ix.Stubs {
		if _, ok := blobs[s.Digest]; !ok || platforms[s.Platform] {
			return fmt.Errorf("the stub for %q is not there or there twice", s.Platform)
		}
		platforms[s.Platform] = true
	}
	expected := make(map[digest.Digest]bool, len(ix.Expected))
	for _, e := range ix.Expected {
		if err := checkDigest(e.Digest); err != nil {
			return fmt.Errorf("expected blob: %w", err)
		}
		if _, ok := blobs[e.Digest]; ok || expected[e.Digest] || e.Size < 0 || e.Size > maxContent {
			return fmt.Errorf("expected blob %s of %d bytes is in the bundle, or named twice", e.Digest, e.Size)
		}
		expected[e.Digest] = true
	}
	return nil
}

// blobs maps digests to entries; documents and what makes the layout are not among them.
func (ix *index) blobs() (map[digest.Digest]int, error) {
	m := make(map[digest.Digest]int, len(ix.Entries))
	documents := map[string]bool{}
	for i := 1; i < len(ix.Entries)-1; i++ {
		e := &ix.Entries[i]
		if isDocument(e.Path) {
			if documents[e.Path] {
				return nil, fmt.Errorf("%s is there twice", e.Path)
			}
			documents[e.Path] = true
			continue
		}
		if _, ok := m[e.Digest]; ok {
			return nil, fmt.Errorf("blob %s is there twice", e.Digest)
		}
		m[e.Digest] = i
	}
	return m, nil
}

func (ix *index) expected() Inventory {
	v := make(Inventory, len(ix.Expected))
	for _, e := range ix.Expected {
		v[e.Digest] = e.Size
	}
	return v
}

// sameHead tells whether the head and the index speak of the same file.
func (ix *index) sameHead(h head) bool {
	return ix.Stub.Size == h.stubSize && ix.PartSize == h.partSize && ix.Stub.Digest == sumDigest(bytes.Clone(h.stubSum[:]))
}
