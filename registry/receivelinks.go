package registry

import (
	"context"
	"encoding/binary"
)

// links takes the repositories, writes their links as they come, and the tags when all the links are durable.
func (rc *receiver) links(ctx context.Context) error {
	decoder, err := newLinksDecoder()
	if err != nil {
		return err
	}
	defer decoder.zstd.Close()
	writer, err := newLinkWriter(rc.session)
	if err != nil {
		return err
	}
	defer writer.close()
	var tags []linkFile
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
		var all []linkFile
		for _, p := range parts {
			all = rc.linksOf(all, p)
			for _, t := range p.tags {
				tags = append(tags, linkFile{tagLink(p.name, t.tag), rc.table[t.manifest].key.digest()})
			}
		}
		if err := writer.add(ctx, all); err != nil {
			return err
		}
		if len(tags) > maxTags {
			return protocolError("more than %d tags", maxTags)
		}
	}
	if err := writer.commit(); err != nil {
		return err
	}
	rc.receipt.LinksSet = writer.written
	if err := writer.add(ctx, tags); err != nil {
		return err
	}
	if err := writer.commit(); err != nil {
		return err
	}
	rc.receipt.TagsSet = writer.written - rc.receipt.LinksSet
	return nil
}

// linksOf appends the links of a part of a repository, but for the tags.
func (rc *receiver) linksOf(all []linkFile, p links) []linkFile {
	for _, i := range p.layers {
		d := rc.table[i].key.digest()
		all = append(all, linkFile{layerLink(p.name, d), d})
	}
	for _, i := range p.manifests {
		d := rc.table[i].key.digest()
		all = append(all, linkFile{revisionLink(p.name, d), d})
	}
	for _, t := range p.tags {
		d := rc.table[t.manifest].key.digest()
		all = append(all, linkFile{tagHistoryLink(p.name, t.tag, d), d})
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
