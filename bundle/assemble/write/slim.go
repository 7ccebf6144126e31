package write

import (
	"archive/tar"
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/sealbuild/sealbuild/bundle/assemble/store"
	"github.com/sealbuild/sealbuild/ground/ocigraph"
)

// originalAnnotation names the image that a slim one was made from.
const originalAnnotation = "io.sealbuild.original"

// Slim is a cluster image as it goes into a bundle. Images made by sealos carry the container images in a directory of a layer.
// In a bundle those are blobs, which the site's registries get, so the layer is written without that directory: held once, and not
// sent to every host to be dropped there. An image that has no such directory stays what it is. The same image gives the same slim
// one.
func Slim(ctx context.Context, st *store.Store, root v1.Descriptor, platforms []v1.Platform, tree string) (v1.Descriptor, error) {
	index := v1.Index{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: v1.MediaTypeImageIndex,
		Annotations: map[string]string{originalAnnotation: root.Digest.String()},
	}
	changed := false
	for _, p := range platforms {
		one, err := st.OfPlatform(root, p)
		if err != nil {
			return v1.Descriptor{}, err
		}
		slim, err := slimImage(ctx, st, one, tree)
		if err != nil {
			return v1.Descriptor{}, fmt.Errorf("%s: %w", store.Platform(p), err)
		}
		changed = changed || slim.Digest != one.Digest
		slim.Platform = &p
		index.Manifests = append(index.Manifests, slim)
	}
	switch {
	case !changed:
		return root, nil
	case len(platforms) == 1:
		slim := index.Manifests[0]
		slim.Platform = nil
		return slim, nil
	}
	return st.PutJSON(index.MediaType, index)
}

// slimLayer is what became of a layer.
type slimLayer struct {
	Digest digest.Digest // of the archive, which is not compressed: the bundle does that. Empty: the layer has nothing to leave out
	Size   int64
}

func slimImage(ctx context.Context, st *store.Store, image v1.Descriptor, tree string) (v1.Descriptor, error) {
	raw, err := st.ReadBlob(image.Digest, ocigraph.MaxManifest)
	if err != nil {
		return v1.Descriptor{}, err
	}
	var m v1.Manifest
	if err := json.Unmarshal(raw, &m); err != nil {
		return v1.Descriptor{}, fmt.Errorf("read manifest %s: %w", image.Digest, err)
	}
	config, err := st.ReadBlob(m.Config.Digest, ocigraph.MaxManifest)
	if err != nil {
		return v1.Descriptor{}, err
	}
	var all map[string]json.RawMessage // what nobody here knows stays
	var rootfs v1.RootFS
	if err := errors.Join(json.Unmarshal(config, &all), json.Unmarshal(all["rootfs"], &rootfs)); err != nil {
		return v1.Descriptor{}, fmt.Errorf("read config %s: %w", m.Config.Digest, err)
	}
	changed := false
	for i, l := range m.Layers {
		slim, err := slimmed(ctx, st, l, tree)
		if err != nil {
			return v1.Descriptor{}, fmt.Errorf("layer %s: %w", l.Digest, err)
		}
		if slim.Digest == "" {
			continue
		}
		if i >= len(rootfs.DiffIDs) {
			return v1.Descriptor{}, fmt.Errorf("config %s has no diff_id for layer %d", m.Config.Digest, i)
		}
		changed = true
		rootfs.DiffIDs[i] = slim.Digest
		mediaType := v1.MediaTypeImageLayer
		if strings.HasPrefix(l.MediaType, "application/vnd.docker.") {
			mediaType = "application/vnd.docker.image.rootfs.diff.tar"
		}
		m.Layers[i] = v1.Descriptor{MediaType: mediaType, Digest: slim.Digest, Size: slim.Size}
	}
	if !changed {
		return image, nil
	}
	if all["rootfs"], err = json.Marshal(rootfs); err != nil {
		return v1.Descriptor{}, err
	}
	if m.Config, err = st.PutJSON(m.Config.MediaType, all); err != nil {
		return v1.Descriptor{}, err
	}
	if m.MediaType == v1.MediaTypeImageManifest {
		if m.Annotations == nil {
			m.Annotations = map[string]string{}
		}
		m.Annotations[originalAnnotation] = image.Digest.String()
	}
	return st.PutJSON(m.MediaType, m)
}

// slimmed writes a layer without the tree, or takes what it has become before.
func slimmed(ctx context.Context, st *store.Store, layer v1.Descriptor, tree string) (slimLayer, error) {
	memo := st.Memo("slim", layer.Digest.String()+" "+tree)
	var known slimLayer
	if memo.Read(&known) {
		if _, ok := st.Has(known.Digest); ok || known.Digest == "" {
			return known, nil
		}
	}
	dir, err := st.TempDir("slim")
	if err != nil {
		return slimLayer{}, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	blobs := filepath.Join(dir, "blobs", "sha256")
	if err := os.MkdirAll(blobs, 0o755); err != nil {
		return slimLayer{}, err
	}
	from, err := st.OpenBlob(layer.Digest)
	if err != nil {
		return slimLayer{}, err
	}
	defer func() { _ = from.Close() }()
	plain, err := store.Unpacked(from)
	if err != nil {
		return slimLayer{}, err
	}
	defer func() { _ = plain.Close() }()
	to, err := os.Create(filepath.Join(blobs, "new"))
	if err != nil {
		return slimLayer{}, err
	}
	defer func() { _ = to.Close() }()
	sum := digest.SHA256.Digester()
	buffered := bufio.NewWriterSize(io.MultiWriter(to, sum.Hash()), 1<<20)
	left, err := copyWithout(ctx, buffered, plain, tree)
	if err := errors.Join(err, buffered.Flush()); err != nil {
		return slimLayer{}, err
	}
	slim := slimLayer{}
	if left {
		info, err := to.Stat()
		if err != nil {
			return slimLayer{}, err
		}
		slim = slimLayer{Digest: sum.Digest(), Size: info.Size()}
		if err := errors.Join(os.Rename(to.Name(), filepath.Join(blobs, slim.Digest.Encoded())), st.ImportLayout(ctx, dir)); err != nil {
			return slimLayer{}, err
		}
	}
	memo.Write(slim)
	return slim, nil
}

// copyWithout copies a layer but for what lies below the tree, and tells whether anything did.
func copyWithout(ctx context.Context, to io.Writer, layer io.Reader, tree string) (left bool, err error) {
	w := tar.NewWriter(to)
	for r := tar.NewReader(layer); ; {
		if err := ctx.Err(); err != nil {
			return false, err
		}
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return left, w.Close()
		}
		if err != nil {
			return false, err
		}
		if name := strings.TrimPrefix(path.Clean("/"+h.Name), "/"); strings.HasPrefix(name, tree) {
			left = true
			continue
		}
		if err := w.WriteHeader(h); err != nil {
			return false, fmt.Errorf("%s: %w", h.Name, err)
		}
		if _, err := io.Copy(w, r); err != nil {
			return false, fmt.Errorf("%s: %w", h.Name, err)
		}
	}
}
