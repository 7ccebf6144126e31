package storesync

import (
	"context"
	"encoding/binary"

	"github.com/sealbuild/sealbuild/registry/disk"
)

// links takes the repositories, writes their links as they come, and the tags when all the links are durable.
func (rc *receiver) links(ctx context.Context) error {
	decoder, err := newLinksDecoder()
	if err != nil {
		return err
	}
	defer decoder.zstd.Close()
	writer, err := disk.NewLinkWriter(rc.session)
	if err != nil {
		return err
	}
	defer writer.Close()
	var tags []disk.Link
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
		var all []disk.Link
		for _, p := range parts {
			all = rc.linksOf(all, p)
			for _, t := range p.tags {
				tags = append(tags, disk.Link{Path: disk.TagLink(p.name, t.tag), Digest: rc.table[t.manifest].key.digest()})
			}
		}
		if err := writer.Add(ctx, all); err != nil {
			return err
		}
		if len(tags) > maxTags {
			return protocolError("more than %d tags", maxTags)
		}
	}
	if err := writer.Commit(); err != nil {
		return err
	}
	rc.receipt.LinksSet = writer.Written
	if err := writer.Add(ctx, tags); err != nil {
		return err
	}
	if err := writer.Commit(); err != nil {
		return err
	}
	rc.receipt.TagsSet = writer.Written - rc.receipt.LinksSet
	return nil
}

// linksOf appends the links of a part of a repository, but for the tags.
func (rc *receiver) linksOf(all []disk.Link, p links) []disk.Link {
	for _, i := range p.layers {
		d := rc.table[i].key.digest()
		all = append(all, disk.Link{Path: disk.LayerLink(p.name, d), Digest: d})
	}
	for _, i := range p.manifests {
		d := rc.table[i].key.digest()
		all = append(all, disk.Link{Path: disk.RevisionLink(p.name, d), Digest: d})
	}
	for _, t := range p.tags {
		d := rc.table[t.manifest].key.digest()
		all = append(all, disk.Link{Path: disk.TagHistoryLink(p.name, t.tag, d), Digest: d})
	}
	return all
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
