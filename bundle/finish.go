package bundle

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"

	"github.com/klauspost/compress/zstd"
	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// AddImage names an image, in the order that Reader.Images and index.json
// keep. Its manifest must have been added as a blob when Close is called.
func (w *Writer) AddImage(i Image) error {
	if w.err != nil {
		return w.err
	}
	if err := i.check(); err != nil {
		return fmt.Errorf("add image: %w", err)
	}
	if w.names[i.Name] {
		return fmt.Errorf("add image: %s was added before", i.Name)
	}
	w.names[i.Name] = true
	w.index.Images = append(w.index.Images, i)
	return nil
}

// AddDocument puts a small file beside the image layout: what tools that read
// the archive should find by name. The name ends in .json and has no folder.
func (w *Writer) AddDocument(name string, content []byte) error {
	if w.err != nil {
		return w.err
	}
	if !isDocument(name) || w.documents[name] {
		return fmt.Errorf("add document: %q cannot be the name of one, or is taken", name)
	}
	if len(content) > MaxDocument {
		return fmt.Errorf("add document %s: %d bytes are more than %d", name, len(content), MaxDocument)
	}
	if err := w.addEntry(context.Background(), name, sum(content), int64(len(content)), true, bytes.NewReader(content)); err != nil {
		return w.poison(fmt.Errorf("add document %s: %w", name, err))
	}
	w.documents[name] = true
	return nil
}

// Expect names a blob that images need and that the site has already, so that
// it is left out. It must not be added; naming it again does nothing.
func (w *Writer) Expect(d digest.Digest, size int64) error {
	if w.err != nil {
		return w.err
	}
	if err := checkDigest(d); err != nil {
		return fmt.Errorf("expect blob: %w", err)
	}
	if w.Has(d) {
		return fmt.Errorf("expect blob %s: it is in the bundle", d)
	}
	if !w.expected[d] {
		w.expected[d] = true
		w.index.Expected = append(w.index.Expected, Expected{d, size})
	}
	return nil
}

// Close writes index.json, the end of the archive, the index and the trailer. It does not close the underlying writer.
func (w *Writer) Close() (Summary, error) {
	if w.err != nil {
		return Summary{}, w.err
	}
	if err := w.settle(0); err != nil {
		return Summary{}, err
	}
	s, err := w.finish()
	if err != nil {
		return Summary{}, w.poison(fmt.Errorf("finish bundle: %w", err))
	}
	w.err = errClosed
	w.packer, w.chunks = nil, nil // tens of MiB that nobody needs any more
	return s, nil
}

func (w *Writer) finish() (Summary, error) {
	oci, err := ociIndex(w.index.Images)
	if err != nil {
		return Summary{}, err
	}
	if err := w.addEntry(context.Background(), v1.ImageIndexFile, sum(oci), int64(len(oci)), true, bytes.NewReader(oci)); err != nil {
		return Summary{}, err
	}
	if err := w.index.checkNames(); err != nil {
		return Summary{}, err
	}
	if err := w.write(appendRawFrame(nil, endGap(w.prev))); err != nil {
		return Summary{}, err
	}
	t, err := w.writeIndex()
	if err != nil {
		return Summary{}, err
	}
	if err := w.write(t.marshal()); err != nil {
		return Summary{}, err
	}
	if err := w.out.Flush(); err != nil {
		return Summary{}, err
	}
	s := Summary{IndexDigest: sumDigest(t.indexSum[:]), StubDigest: w.index.Stub.Digest, Size: w.pos, PayloadOffset: w.start}
	for _, e := range w.index.Entries[1 : len(w.index.Entries)-1] {
		s.Blobs++
		s.BlobBytes += e.Size
		s.StoredBytes += e.length()
	}
	return s, nil
}

// writeIndex writes the index and, when there is a key, its signature.
func (w *Writer) writeIndex() (trailer, error) {
	plain, err := encodeIndex(&w.index)
	if err != nil {
		return trailer{}, err
	}
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(unitSize))
	if err != nil {
		return trailer{}, err
	}
	data := enc.EncodeAll(plain, nil)
	if len(data) > maxIndexData {
		return trailer{}, fmt.Errorf("an index of %d bytes: too many blobs for one bundle", len(data))
	}
	t := trailer{
		indexStart: w.pos - w.start, indexData: int64(len(data)), indexJSON: int64(len(plain)),
		indexSum: sha256.Sum256(data), version: FormatVersion,
	}
	if err := w.write(append(appendSectionHeader(nil, indexTag, len(data)), data...)); err != nil {
		return trailer{}, err
	}
	if w.sign != nil {
		text, err := w.sign(data)
		if err != nil {
			return trailer{}, fmt.Errorf("sign the index: %w", err)
		}
		if _, err := parseSignature(text); err != nil {
			return trailer{}, fmt.Errorf("sign the index: %w", err)
		}
		t.signature = int64(len(text))
		if err := w.write(append(appendSectionHeader(nil, signatureTag, len(text)), text...)); err != nil {
			return trailer{}, err
		}
	}
	t.payloadSize = t.signatureStart() + t.signatureSize() + trailerSize
	return t, nil
}
