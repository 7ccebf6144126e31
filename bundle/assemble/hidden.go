package assemble

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/sealbuild/sealbuild/bundle/assemble/scan"
	"github.com/sealbuild/sealbuild/ground/ocigraph"
)

// hidden gathers what the built images need that the context does not show:
// charts, manifests and lists that a RUN has made, or that came from another
// stage or image. Layers of the base were searched with it.
func (b *Builder) hidden(ctx context.Context, r BuildRequest, parts []building) (gathered, error) {
	ignore, err := os.ReadFile(filepath.Join(r.Context, scan.IgnoreFile))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return gathered{}, fmt.Errorf("look for images in %s: %w", r.Context, err)
	}
	var images []searched
	for _, part := range parts {
		final := part.src.file.Final()
		shown := true
		for _, stage := range final {
			shown = shown && !stage.Hidden
		}
		if shown {
			continue
		}
		below, err := b.layersBelow(part, final[0].Base)
		if err != nil {
			return gathered{}, err
		}
		images = append(images, searched{name: r.Name, image: part.built, platform: part.platform, from: below, ignore: ignore})
	}
	if len(images) == 0 {
		return gathered{}, nil
	}
	return b.needed(ctx, images, r.IgnoreScanErrors)
}

// layersBelow is how many layers of the built image are those of its base.
func (b *Builder) layersBelow(part building, name string) (int, error) {
	for _, base := range part.preload {
		if base.name != name {
			continue
		}
		was, err := b.layers(base.root, base.platform)
		if err != nil {
			return 0, fmt.Errorf("base image %s: %w", name, err)
		}
		is, err := b.layers(part.built, part.platform)
		if err != nil {
			return 0, err
		}
		if is < was { // not one upon the other: all of it counts
			return 0, nil
		}
		return was, nil
	}
	return 0, nil
}

func (b *Builder) layers(d v1.Descriptor, platform v1.Platform) (int, error) {
	one, err := b.ofPlatform(d, platform)
	if err != nil {
		return 0, err
	}
	m, err := ocigraph.Read(b.Store, one.Digest)
	return len(m.Layers), err
}
