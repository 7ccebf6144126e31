package storesync

import (
	"encoding/binary"
	"maps"
	"slices"

	"github.com/klauspost/compress/zstd"

	"github.com/sealbuild/sealbuild/registry/catalog"
)

// links is a part of a repository: blobs by their index in the shared table. A large repository travels in several parts.
type links struct {
	name      string
	layers    []int
	manifests []int
	tags      []tagIndex
}

type tagIndex struct {
	tag      string
	manifest int
}

// Indexes travel as differences, which are mostly one; zstd then makes nearly nothing of them.
func (l links) append(b []byte) []byte {
	b = appendText(b, l.name)
	b = appendIndexes(b, l.layers)
	b = appendIndexes(b, l.manifests)
	b = binary.AppendUvarint(b, uint64(len(l.tags)))
	for _, t := range l.tags {
		b = binary.AppendUvarint(appendText(b, t.tag), uint64(t.manifest))
	}
	return b
}

func appendText(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

func appendIndexes(b []byte, indexes []int) []byte {
	b = binary.AppendUvarint(b, uint64(len(indexes)))
	last := 0
	for _, i := range indexes {
		b = binary.AppendVarint(b, int64(i-last))
		last = i
	}
	return b
}

func decodeLinks(data []byte, blobs int) ([]links, error) {
	d := decoder{data: data}
	var all []links
	for d.more() {
		l := links{name: string(d.bytes(d.uvarint(catalog.MaxNameLength)))}
		l.layers = d.indexes(blobs)
		l.manifests = d.indexes(blobs)
		for range d.count() {
			tag := string(d.bytes(d.uvarint(catalog.MaxTagLength)))
			t := tagIndex{tag, d.index(blobs, 0, false)}
			if d.err != nil {
				break
			}
			if err := catalog.CheckTag(tag); err != nil {
				return nil, protocolError("%v", err)
			}
			l.tags = append(l.tags, t)
		}
		if d.err != nil {
			break
		}
		if err := catalog.CheckRepository(l.name); err != nil {
			return nil, protocolError("%v", err)
		}
		all = append(all, l)
	}
	return all, d.end()
}

// count reads how many items follow; each takes a byte at least.
func (d *decoder) count() int { return int(d.uvarint(uint64(len(d.data)))) }

func (d *decoder) indexes(blobs int) []int {
	n := d.count()
	list := make([]int, 0, n)
	last := 0
	for range n {
		last = d.index(blobs, last, true)
		list = append(list, last)
	}
	return list
}

func (d *decoder) index(blobs, last int, relative bool) int {
	if d.err != nil {
		return 0
	}
	var v int64
	var n int
	if relative {
		v, n = binary.Varint(d.data)
	} else {
		var u uint64
		u, n = binary.Uvarint(d.data)
		v = int64(min(u, maxBlobs))
	}
	if n <= 0 || v > maxBlobs || v < -maxBlobs || int64(last)+v < 0 || int64(last)+v >= int64(blobs) {
		d.err = protocolError("a link to a blob that is not in the table")
		return 0
	}
	d.data = d.data[n:]
	return last + int(v)
}

// A part of 4096 numbers and 128 tags takes less than maxControl bytes, even if nothing compresses.
const (
	linksPerPart = 4096
	tagsPerPart  = 128
	packedLinks  = 24 << 10 // bytes after which a frame is closed
)

// splitLinks cuts a catalog into parts that each fit into a frame.
func splitLinks(c catalog.Catalog, index map[key]int) []links {
	var parts []links
	for _, r := range c.Repositories {
		part := links{name: r.Name}
		cut := func(full bool) {
			if full {
				parts, part = append(parts, part), links{name: r.Name}
			}
		}
		for _, b := range r.Layers {
			cut(len(part.layers) >= linksPerPart)
			part.layers = append(part.layers, index[keyOf(b.Digest)])
		}
		for _, b := range r.Manifests {
			cut(len(part.layers)+len(part.manifests) >= linksPerPart)
			part.manifests = append(part.manifests, index[keyOf(b.Digest)])
		}
		for _, tag := range slices.Sorted(maps.Keys(r.Tags)) {
			cut(len(part.tags) >= tagsPerPart)
			part.tags = append(part.tags, tagIndex{tag, index[keyOf(r.Tags[tag])]})
		}
		parts = append(parts, part)
	}
	return parts
}

// encodeLinks packs parts into frames, many small repositories to a frame.
func encodeLinks(parts []links) ([][]byte, error) {
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(maxLinks))
	if err != nil {
		return nil, err
	}
	defer enc.Close()
	var frames [][]byte
	var b []byte
	for i, p := range parts {
		b = p.append(b)
		if len(b) >= packedLinks || i == len(parts)-1 {
			frames = append(frames, enc.EncodeAll(b, nil))
			b = b[:0]
		}
	}
	return frames, nil
}

// linksDecoder undoes encodeLinks, a frame at a time and never into more than maxLinks bytes.
type linksDecoder struct{ zstd *zstd.Decoder }

func newLinksDecoder() (linksDecoder, error) {
	d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(maxLinks), zstd.WithDecoderMaxWindow(maxLinks))
	return linksDecoder{d}, err
}

func (d linksDecoder) decode(payload []byte, blobs int) ([]links, error) {
	data, err := d.zstd.DecodeAll(payload, nil)
	if err != nil {
		return nil, protocolError("links: %v", err)
	}
	return decodeLinks(data, blobs)
}
