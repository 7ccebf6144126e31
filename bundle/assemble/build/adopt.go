package build

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/containers/image/v5/oci/layout"
	"github.com/containers/image/v5/transports"
	"github.com/containers/image/v5/types"
)

// adoptingName is the name under which buildah finds the transport below.
const adoptingName = "sealbuild-layout"

// registerAdopting makes the transport known, once.
var registerAdopting = sync.OnceFunc(func() { transports.Register(adoptingTransport{layout.Transport}) })

// adoptingTransport writes OCI layouts. buildah puts a layer, whose digest it has then, into a temporary file before it copies it
// to where it is to go: here that file itself becomes the blob, which saves writing and hashing the layer once more. Where that
// cannot be, it is copied.
type adoptingTransport struct{ types.ImageTransport }

func (adoptingTransport) Name() string { return adoptingName }

func (t adoptingTransport) ParseReference(text string) (types.ImageReference, error) {
	ref, err := t.ImageTransport.ParseReference(text)
	return adoptingReference{ref, t}, err
}

type adoptingReference struct {
	types.ImageReference
	transport types.ImageTransport
}

func (r adoptingReference) Transport() types.ImageTransport { return r.transport }

func (r adoptingReference) NewImageDestination(ctx context.Context, sys *types.SystemContext) (types.ImageDestination, error) {
	inner, err := r.ImageReference.NewImageDestination(ctx, sys)
	if err != nil {
		return nil, err
	}
	dir := r.StringWithinTransport()
	return adoptingDestination{inner, dir[:max(strings.LastIndexByte(dir, ':'), 0)]}, nil
}

type adoptingDestination struct {
	types.ImageDestination
	dir string // of the layout
}

// TryReusingBlob is asked before a blob is copied.
func (d adoptingDestination) TryReusingBlob(
	ctx context.Context, info types.BlobInfo, cache types.BlobInfoCache, substitute bool,
) (bool, types.BlobInfo, error) {
	if info.Digest.Validate() == nil {
		d.adopt(info)
	}
	return d.ImageDestination.TryReusingBlob(ctx, info, cache, substitute)
}

// adopt gives buildah's file of a layer a second name, in the layout.
func (d adoptingDestination) adopt(info types.BlobInfo) {
	blob := filepath.Join(d.dir, "blobs", info.Digest.Algorithm().String(), info.Digest.Encoded())
	files, _ := filepath.Glob(filepath.Join(temporary(), "buildah*", info.Digest.String()))
	for _, file := range files {
		if os.MkdirAll(filepath.Dir(blob), 0o755) == nil && os.Link(file, blob) == nil {
			return
		}
	}
}

// temporary is where buildah makes its temporary files.
func temporary() string {
	if dir := os.Getenv("TMPDIR"); dir != "" {
		return dir
	}
	return "/var/tmp"
}
