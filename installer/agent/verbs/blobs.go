package verbs

import (
	"context"

	"github.com/sealbuild/sealbuild/installer/agent"
	"github.com/sealbuild/sealbuild/installer/agent/files"
	"github.com/sealbuild/sealbuild/registry/disk"
)

// blobs lists what lies in the store of a registry. It looks at names and sizes alone, so it is cheap however much lies there.
func (m machine) blobs(ctx context.Context, q agent.BlobsRequest) (agent.BlobsResult, error) {
	if err := files.CheckPath(q.Root); err != nil {
		return agent.BlobsResult{}, err
	}
	all, err := disk.Open(m.Path(q.Root)).Blobs(ctx)
	if err != nil {
		return agent.BlobsResult{}, err
	}
	out := agent.BlobsResult{Blobs: map[string]int64{}}
	for _, b := range all {
		out.Blobs[b.Digest.Encoded()] = b.Size
	}
	return out, nil
}
