package payload

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/sealbuild/sealbuild/installer"
)

// SystemLayers are the layers of rootfs and patches for an architecture, the lowest first.
func (p *Payload) SystemLayers(arch string) ([]Layer, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	images, err := p.read(arch)
	var out []Layer
	for _, i := range images {
		if i.Type != installer.TypeApplication {
			out = append(out, i.Layers...)
		}
	}
	return out, err
}

// ImageLayers are the layers of a container image for an architecture, the lowest first. The image is known by the last part of
// its name and by its tag: kube-apiserver and v1.36.3. There are none if the bundle does not hold it.
func (p *Payload) ImageLayers(base, tag, arch string) []Layer {
	var out []Layer
	for _, i := range ContainerImages(p.Bundle) {
		if len(out) > 0 || imageBase(i.Name) != base || !strings.HasSuffix(i.Name, ":"+tag) || !slices.Contains(i.Platforms, "linux/"+arch) {
			continue
		}
		for _, l := range layersFor(p.Bundle, v1.Descriptor{Digest: i.Digest}, arch) {
			out = append(out, Layer{Digest: l.Digest, Size: l.Size, MediaType: l.MediaType})
		}
	}
	return out
}

// Programs writes programs that lie in a directory bin of some layers, or at their root. create makes the file of one; where
// several layers have it, it is called anew for the upper one. Each layer is read to its end, so that its digest is known to be
// right. A program that no layer has is an error that is fs.ErrNotExist.
func Programs(ctx context.Context, blobs Blobs, layers []Layer, names []string, create func(name string) (io.WriteCloser, error)) error {
	found := map[string]bool{}
	for _, l := range layers {
		if err := programsOf(ctx, blobs, l, names, func(name string, r io.Reader) (err error) {
			w, err := create(name)
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, w.Close()) }()
			found[name] = true
			_, err = io.Copy(w, r)
			return err
		}); err != nil {
			return fmt.Errorf("read layer %s: %w", l.Digest, err)
		}
	}
	for _, name := range names {
		if !found[name] {
			return fmt.Errorf("program %s: %w in its image", name, fs.ErrNotExist)
		}
	}
	return nil
}

func programsOf(ctx context.Context, blobs Blobs, l Layer, names []string, take func(name string, r io.Reader) error) (err error) {
	r, end, err := decoded(blobs, l)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, end()) }()
	for tr := tar.NewReader(r); ; {
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			_, err = io.Copy(io.Discard, r)
			return err
		}
		if err != nil {
			return err
		}
		dir, base := path.Split(path.Clean("/" + h.Name))
		if h.Typeflag != tar.TypeReg || !slices.Contains(names, base) || dir != "/" && path.Base(dir) != "bin" {
			continue
		}
		if err := take(base, tr); err != nil {
			return err
		}
	}
}
