package registry

import (
	"context"
	"encoding/binary"

	"github.com/opencontainers/go-digest"
)

// links takes the repositories, writes their links as they come, and the tags when all the links are durable.
func (rc *receiver) links(ctx context.Context) error {
	decoder, err := newLinksDecoder()
	if err != nil {
		return err
	}
	defer decoder.zstd.Close()
	writer := newLinkWriter(rc.session)
	type current struct {
		path   string
		digest digest.Digest
	}
	var tags []current
	for {
		t, payload, err := rc.r.frame()
		if err != nil {
			return err
		}
		if t == frameEnd {
			break
		}
		if t != frameLinks {
			return protocolError("frame of type %d among the links", t)
		}
		parts, err := decoder.decode(payload, len(rc.table))
		if err != nil {
			return err
		}
		for _, p := range parts {
			if err := rc.linkPart(ctx, writer, p); err != nil {
				return err
			}
			for _, t := range p.tags {
				tags = append(tags, current{tagLink(p.name, t.tag), rc.table[t.manifest].key.digest()})
			}
		}
		if len(tags) > maxTags {
			return protocolError("more than %d tags", maxTags)
		}
	}
	if err := writer.commit(); err != nil {
		return err
	}
	rc.receipt.LinksSet = writer.written
	for _, t := range tags {
		if err := writer.add(ctx, t.path, t.digest); err != nil {
			return err
		}
	}
	if err := writer.commit(); err != nil {
		return err
	}
	rc.receipt.TagsSet = writer.written - rc.receipt.LinksSet
	return nil
}

func (rc *receiver) linkPart(ctx context.Context, w *linkWriter, p links) error {
	for _, i := range p.layers {
		d := rc.table[i].key.digest()
		if err := w.add(ctx, layerLink(p.name, d), d); err != nil {
			return err
		}
	}
	for _, i := range p.manifests {
		d := rc.table[i].key.digest()
		if err := w.add(ctx, revisionLink(p.name, d), d); err != nil {
			return err
		}
	}
	for _, t := range p.tags {
		d := rc.table[t.manifest].key.digest()
		if err := w.add(ctx, tagHistoryLink(p.name, t.tag, d), d); err != nil {
			return err
		}
	}
	return nil
}

func encodeReceipt(r Receipt) []byte {
	b := binary.AppendUvarint(nil, uint64(r.LinksSet))
	return binary.AppendUvarint(b, uint64(r.TagsSet))
}

func decodeReceipt(payload []byte) (*Receipt, error) {
	d := decoder{data: payload}
	r := &Receipt{LinksSet: int(d.uvarint(1 << 32)), TagsSet: int(d.uvarint(maxTags))}
	return r, d.end()
}
