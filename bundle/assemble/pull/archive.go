package pull

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/containers/image/v5/copy"
	"github.com/containers/image/v5/docker/archive"
	ociarchive "github.com/containers/image/v5/oci/archive"
	"github.com/containers/image/v5/oci/layout"
	"github.com/containers/image/v5/signature"
	"github.com/containers/image/v5/types"

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

// LoadArchive reads an image file into the store. Layers stay as they are in the file.
func LoadArchive(ctx context.Context, st *store.Store, a Archive, o Options) (store.Pinned, error) {
	o = o.withDefaults()
	src, err := archiveReference(a)
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
	if len(o.Platforms) > 0 {
		p := o.Platforms[0]
		sys.OSChoice, sys.ArchitectureChoice, sys.VariantChoice = p.OS, p.Architecture, p.Variant
	}
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
		return store.Pinned{}, fmt.Errorf("read %s: %w", a.Path, err)
	}
	root, err := ocigraph.LayoutImage(target)
	if err != nil {
		return store.Pinned{}, fmt.Errorf("read %s: %w", a.Path, err)
	}
	if err := st.ImportLayout(ctx, target); err != nil {
		return store.Pinned{}, err
	}
	return store.Pin(st, a.Wanted.found(), root)
}

func archiveReference(a Archive) (types.ImageReference, error) {
	text := a.Path
	if a.Source != "" {
		text += ":" + a.Source
	}
	switch a.Transport {
	case "docker-archive":
		return archive.ParseReference(text)
	case "oci-archive":
		return ociarchive.ParseReference(text)
	}
	return nil, fmt.Errorf("read %s: unknown kind of archive %q: expected docker-archive or oci-archive", a.Path, a.Transport)
}
