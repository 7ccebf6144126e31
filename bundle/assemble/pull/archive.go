package pull

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/containers/image/v5/copy"
	"github.com/containers/image/v5/docker/archive"
	"github.com/containers/image/v5/oci/layout"
	"github.com/containers/image/v5/signature"

	"github.com/sealbuild/sealbuild/bundle/assemble/store"
	"github.com/sealbuild/sealbuild/ground/ocigraph"
)

// Archive is an image that lies in the context as a file.
type Archive struct {
	Transport string // docker-archive or oci-archive
	Path      string // of the file
	Source    string // which image of the file: a name in it, "@N", or empty for the only one
	Wanted    Wanted // under which reference it goes into the bundle
}

// LoadArchive reads an image file into the store. Layers stay as they are in the file. Of an OCI archive the image of the first
// platform is taken, or the error is a *PlatformError; who has a docker archive looks for which platform its image is.
func LoadArchive(ctx context.Context, st *store.Store, a Archive, o Options) (p store.Pinned, err error) {
	o = o.withDefaults()
	switch a.Transport {
	case "docker-archive":
		p, err = loadDocker(ctx, st, a, o)
	case "oci-archive":
		p, err = loadOCI(ctx, st, a, o)
	default:
		err = fmt.Errorf("unknown kind of archive %q: expected docker-archive or oci-archive", a.Transport)
	}
	if err != nil {
		return store.Pinned{}, fmt.Errorf("read %s: %w", a.Path, err)
	}
	return p, nil
}

func loadDocker(ctx context.Context, st *store.Store, a Archive, o Options) (store.Pinned, error) {
	text := a.Path
	if a.Source != "" {
		text += ":" + a.Source
	}
	src, err := archive.ParseReference(text)
	if err != nil {
		return store.Pinned{}, err
	}
	dir, err := st.TempDir("archive")
	if err != nil {
		return store.Pinned{}, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	sys := *o.System
	sys.OCIAcceptUncompressedLayers = true
	sys.BigFilesTemporaryDir = dir
	target := filepath.Join(dir, "oci")
	dst, err := layout.NewReference(target, "loaded")
	if err != nil {
		return store.Pinned{}, err
	}
	policy, err := signature.NewPolicyContext(&signature.Policy{
		Default: signature.PolicyRequirements{signature.NewPRInsecureAcceptAnything()},
	})
	if err != nil {
		return store.Pinned{}, err
	}
	defer func() { _ = policy.Destroy() }()
	if _, err := copy.Image(ctx, policy, dst, src, &copy.Options{SourceCtx: &sys, DestinationCtx: &sys}); err != nil {
		return store.Pinned{}, err
	}
	root, err := ocigraph.LayoutImage(target)
	if err != nil {
		return store.Pinned{}, err
	}
	if err := st.ImportLayout(ctx, target); err != nil {
		return store.Pinned{}, err
	}
	return store.Pin(st, a.Wanted.found(), root)
}
