package storesync

import (
	"encoding/binary"
	"encoding/hex"

	"github.com/opencontainers/go-digest"

	"github.com/sealbuild/sealbuild/registry/catalog"
)

// helloFlags is what the sender asks of the session.
type helloFlags uint64

const (
	flagAll    helloFlags = 1 << iota // send every blob, whatever is there
	flagVerify                        // hash what is there instead of looking at sizes
	flagDryRun                        // only say what is missing
	flagRelay                         // be ready to hand on what is there and what comes
	flagsKnown = flagAll | flagVerify | flagDryRun | flagRelay
)

type hello struct {
	flags helloFlags
	blobs int
}

func (h hello) encode() []byte {
	b := binary.AppendUvarint([]byte(wireMagic), WireVersion)
	b = binary.AppendUvarint(b, uint64(h.flags))
	return binary.AppendUvarint(b, uint64(h.blobs))
}

func decodeHello(payload []byte) (hello, error) {
	d := decoder{data: payload}
	if string(d.bytes(uint64(len(wireMagic)))) != wireMagic {
		return hello{}, protocolError("it does not start with %q", wireMagic)
	}
	if v := d.uvarint(1 << 32); d.err == nil && v != WireVersion {
		return hello{}, protocolError("version %d, this program speaks %d: use the same sealinstall on both sides", v, WireVersion)
	}
	h := hello{flags: helloFlags(d.uvarint(uint64(flagsKnown)))}
	h.blobs = int(d.uvarint(maxBlobs))
	return h, d.end()
}

// key is a sha256 digest in binary.
type key [32]byte

func (k key) digest() digest.Digest {
	return digest.NewDigestFromEncoded(digest.SHA256, hex.EncodeToString(k[:]))
}

func keyOf(d digest.Digest) (k key) {
	_, _ = hex.Decode(k[:], []byte(d.Encoded())) // digests are validated before they come here
	return k
}

// entry is a blob in the table both ends share; they speak of it by its index.
type entry struct {
	key  key
	size int64
}

func (e entry) blob() catalog.Blob { return catalog.Blob{Digest: e.key.digest(), Size: e.size} }

const entriesPerFrame = 1024

func encodeEntries(entries []entry) []byte {
	b := make([]byte, 0, len(entries)*(len(key{})+5))
	for _, e := range entries {
		b = append(b, e.key[:]...)
		b = binary.AppendUvarint(b, uint64(e.size))
	}
	return b
}

func decodeEntries(table []entry, payload []byte, limit int) ([]entry, error) {
	d := decoder{data: payload}
	for d.more() {
		var e entry
		copy(e.key[:], d.bytes(uint64(len(e.key))))
		e.size = int64(d.uvarint(catalog.MaxBlobSize))
		if len(table) >= limit {
			return nil, protocolError("more blobs than announced")
		}
		table = append(table, e)
	}
	return table, d.end()
}

// span is a run of missing blobs, or one of which offset bytes are there already.
type span struct {
	first, count int
	offset       int64
}

// A span is coded as the gap since the span before and its length; length 0 stands for one blob with an offset behind it.
func encodeSpans(next int, spans []span) (frames [][]byte) {
	var b []byte
	for _, s := range spans {
		b = binary.AppendUvarint(b, uint64(s.first-next))
		if s.offset > 0 {
			b = append(b, 0)
			b = binary.AppendUvarint(b, uint64(s.offset))
		} else {
			b = binary.AppendUvarint(b, uint64(s.count))
		}
		next = s.first + s.count
		if len(b) > maxControl-64 {
			frames, b = append(frames, b), nil
		}
	}
	if len(b) > 0 {
		frames = append(frames, b)
	}
	return frames
}

// decodeSpans appends the spans of a frame; next is the index after the last span before.
func decodeSpans(spans []span, next int, payload []byte, table []entry) ([]span, int, error) {
	d := decoder{data: payload}
	for d.more() {
		s := span{first: next + int(d.uvarint(uint64(len(table)))), count: 1}
		n := int(d.uvarint(uint64(len(table))))
		if n > 0 {
			s.count = n
		}
		if d.err == nil && s.first+s.count > len(table) {
			return nil, 0, protocolError("blob %d of %d", s.first+s.count-1, len(table))
		}
		if d.err == nil && n == 0 {
			s.offset = int64(d.uvarint(uint64(table[s.first].size)))
		}
		spans = append(spans, s)
		next = s.first + s.count
	}
	return spans, next, d.end()
}

// spansOf gathers the wanted indexes of a table into spans.
func spansOf(n int, wanted func(i int) (missing bool, offset int64)) []span {
	var spans []span
	for i := range n {
		missing, offset := wanted(i)
		if !missing {
			continue
		}
		last := len(spans) - 1
		if offset == 0 && last >= 0 && spans[last].offset == 0 && spans[last].first+spans[last].count == i {
			spans[last].count++
			continue
		}
		spans = append(spans, span{first: i, count: 1, offset: offset})
	}
	return spans
}
