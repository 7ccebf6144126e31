package payload

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/klauspost/compress/zstd"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/sealbuild/sealbuild/ground/count"
	"github.com/sealbuild/sealbuild/ground/ocigraph"
	"github.com/sealbuild/sealbuild/installer"
)

// Bounds on what is read into memory of a cluster image.
const (
	maxSmallFile  = 1 << 20
	maxToolFile   = 8 << 20 // a static lsof that a check script brings
	maxSmallFiles = 256 << 20
	maxFiles      = 200_000
)

// Blobs is what cluster images are read from: the bundle.
type Blobs interface {
	ReadBlob(d digest.Digest, limit int64) ([]byte, error)
	OpenBlob(d digest.Digest) (io.ReadCloser, error)
}

// Layer is a layer of a cluster image: Digest and Size (in bytes) are those of the blob in the bundle, DiffID is the digest
// of the tar inside.
type Layer struct {
	Digest    digest.Digest
	DiffID    digest.Digest
	Size      int64
	MediaType string
}

// Gzip tells whether the blob of the layer is compressed with gzip.
func (l Layer) Gzip() bool { return strings.HasSuffix(l.MediaType, "gzip") }

// Zstd tells whether the blob of the layer is compressed with zstd.
func (l Layer) Zstd() bool { return strings.HasSuffix(l.MediaType, "zstd") }

// Image is a cluster image: what its OCI configuration says, and its small files.
type Image struct {
	Name       string
	Digest     digest.Digest
	Bundled    digest.Digest // of what the bundle holds by its name: the same for all architectures
	Type       string
	Labels     map[string]string
	Env        map[string]string
	Entrypoint []string
	Cmd        []string
	Layers     []Layer
	Secret     func(key, value string) bool // tells variables that are secret; nil for [installer.SecretEnv]
	Dir        string                       // where it lies on a host
	Files      map[string]File              // its small files, see [Image.ReadFiles]
	Recorded   bool                         // the cluster has it by its record, and the bundle does not bring it: it has no layers
}

// loadImage reads manifest and configuration of a cluster image. If d is the digest of an index, it takes the entry for
// linux and the given architecture.
func loadImage(blobs Blobs, name string, d digest.Digest, arch string) (*Image, error) {
	load := func(d ocispec.Descriptor) (ocigraph.Manifest, error) {
		m, err := ocigraph.Read(blobs, d.Digest)
		if err != nil {
			return m, fmt.Errorf("read its manifest: %w", err)
		}
		return m, nil
	}
	found, err := ocigraph.Find(ocispec.Descriptor{Digest: d}, load, func(n ocigraph.Node) (ocispec.Descriptor, error) {
		for _, m := range n.Manifest.Manifests {
			if m.Platform != nil && m.Platform.OS == "linux" && m.Platform.Architecture == arch {
				return m, nil
			}
		}
		return ocispec.Descriptor{}, fmt.Errorf("the bundle has no linux/%s in it", arch)
	})
	if err != nil {
		return nil, fmt.Errorf("cluster image %s: %w", name, err)
	}
	manifest := found.Manifest
	if manifest.Config == nil {
		return nil, fmt.Errorf("cluster image %s: its manifest names no configuration", name)
	}
	cfg, err := ocigraph.ReadConfig(blobs, manifest.Config.Digest)
	if err != nil {
		return nil, fmt.Errorf("cluster image %s: read its configuration: %w", name, err)
	}
	if len(cfg.RootFS.DiffIDs) != len(manifest.Layers) {
		return nil, fmt.Errorf("cluster image %s: %s but %s", name, count.Of(len(manifest.Layers), "layer"), count.Of(len(cfg.RootFS.DiffIDs), "diff id"))
	}
	img := &Image{Name: name, Digest: found.Digest, Labels: cfg.Config.Labels, Env: map[string]string{}, Entrypoint: cfg.Config.Entrypoint, Cmd: cfg.Config.Cmd}
	for _, kv := range cfg.Config.Env {
		if k, v, ok := strings.Cut(kv, "="); ok && k != "PATH" {
			img.Env[k] = v
		}
	}
	for i, l := range manifest.Layers {
		img.Layers = append(img.Layers, Layer{Digest: l.Digest, DiffID: cfg.RootFS.DiffIDs[i], Size: l.Size, MediaType: l.MediaType})
	}
	if img.Type, err = img.typeOf(); err != nil {
		return nil, err
	}
	return img, nil
}

// label gives a label that sealos reads under two names.
func (i *Image) label(name string) string {
	if v := i.Labels["sealos.io."+name]; v != "" {
		return v
	}
	return i.Labels["apps.sealos.io/"+name]
}

func (i *Image) typeOf() (string, error) {
	t := i.label("type")
	switch t {
	case "", installer.TypeApplication:
		return installer.TypeApplication, nil
	case installer.TypeRootfs:
		switch d := i.label("distribution"); d {
		case "", "kubernetes", "kubeadm":
			return t, nil
		default:
			return "", fmt.Errorf("cluster image %s: label sealos.io.distribution=%q: only Kubernetes by kubeadm is installed", i.Name, d)
		}
	case installer.TypePatch:
		return t, nil
	case "addons": // the name before sealos 4.1
		return installer.TypePatch, nil
	}
	return "", fmt.Errorf("cluster image %s: label sealos.io.type=%q: expected rootfs, patch or application", i.Name, t)
}

// Repository is the name of an image without its tag and digest.
func Repository(name string) string {
	name, _, _ = strings.Cut(name, "@")
	if i := strings.LastIndexByte(name, ':'); i > strings.LastIndexByte(name, '/') {
		name = name[:i]
	}
	return name
}

// Replaces tells whether a bundle takes the place of an image of an earlier one in an upgrade: it brings another version of it; or
// it brings a rootfs, and the image, of that type, is the rootfs of before.
func (p *Payload) Replaces(name, ofType string) bool {
	return slices.ContainsFunc(p.Brought(), func(i *Image) bool {
		return Repository(i.Name) == Repository(name) || i.Type == installer.TypeRootfs && ofType == installer.TypeRootfs
	})
}

// SameImage tells whether a name that an operator gave means the image with a full name. It is the full name, or what
// follows a slash in it; the tag latest may be left out.
func SameImage(asked, name string) bool {
	if asked == name {
		return true
	}
	if tag := asked[strings.LastIndexByte(asked, '/')+1:]; !strings.ContainsAny(tag, ":@") {
		asked += ":latest"
	}
	return strings.HasSuffix(name, "/"+asked)
}

// resolveImages gives the full names of the images that an operator asked for, in that order, each once. A name that fits
// none of have, or several, is an error.
func resolveImages(asked, have []string) ([]string, error) {
	var out []string
	var errs []error
	for _, a := range asked {
		var found []string
		for _, name := range have {
			if name == a {
				found = []string{name}
				break
			}
			if SameImage(a, name) {
				found = append(found, name)
			}
		}
		switch len(found) {
		case 1:
			if !slices.Contains(out, found[0]) {
				out = append(out, found[0])
			}
		case 0:
			errs = append(errs, fmt.Errorf("spec.image asks for %s, which the bundle does not hold; it holds %s", a, strings.Join(have, ", ")))
		default:
			errs = append(errs, fmt.Errorf("spec.image asks for %s, which may be any of %s: write it in full", a, strings.Join(found, ", ")))
		}
	}
	return out, errors.Join(errs...)
}

// KubeVersion is the Kubernetes version of a rootfs image, with its leading v.
func (i *Image) KubeVersion() string { return i.Labels["version"] }

// errTooManyFiles is the error for a cluster image whose small files are more than fit into memory.
var errTooManyFiles = errors.New("more than 256 MiB or 200000 files below etc, scripts, manifests, charts, opt and statics")

// Executable lists the directories whose files may all be run, whatever their modes say; "." stands for all. Images made
// for sealos rely on that: sealos makes every file executable.
func (i *Image) Executable() []string {
	if i.Type == installer.TypeApplication {
		return []string{"."}
	}
	return []string{"bin", "cri", "opt", "scripts"}
}

// File is a small file of a cluster image.
type File struct {
	Mode    fs.FileMode
	Content []byte
}

// ReadFiles reads the small files of the image, which templates, Config documents and preflight scripts need: those of up
// to 1 MiB at its root and below etc, scripts, manifests, charts and statics, and those of up to 8 MiB below opt or named
// in also. Keys are slash paths relative to the root of the image. The digests of the layers are verified on the way.
func (i *Image) ReadFiles(ctx context.Context, blobs Blobs, also ...string) (map[string]File, error) {
	files := map[string]File{}
	for _, l := range i.Layers {
		if err := readLayer(ctx, blobs, l, files, also, i.Executable()); err != nil {
			return nil, fmt.Errorf("cluster image %s: read layer %s: %w", i.Name, l.Digest, err)
		}
	}
	return files, nil
}

// decoded reads the tar of a layer; end is to be called when it is no longer needed.
func decoded(blobs Blobs, l Layer) (r io.Reader, end func() error, err error) {
	blob, err := blobs.OpenBlob(l.Digest)
	if err != nil {
		return nil, nil, err
	}
	switch {
	case l.Gzip():
		r, err = gzip.NewReader(blob)
		if err != nil {
			return nil, nil, errors.Join(err, blob.Close())
		}
		return r, blob.Close, nil
	case l.Zstd():
		dec, err := zstd.NewReader(blob, zstd.WithDecoderMaxWindow(8<<20))
		if err != nil {
			return nil, nil, errors.Join(err, blob.Close())
		}
		return dec, func() error { dec.Close(); return blob.Close() }, nil
	}
	return blob, blob.Close, nil
}

func readLayer(ctx context.Context, blobs Blobs, l Layer, files map[string]File, also, run []string) (err error) {
	r, end, err := decoded(blobs, l)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, end()) }()
	total := 0
	for tr := tar.NewReader(r); ; {
		if err := ctx.Err(); err != nil {
			return err
		}
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			// What follows the tar's end still counts for the digest.
			_, err = io.Copy(io.Discard, r)
			return err
		}
		if err != nil {
			return err
		}
		name := strings.TrimPrefix(path.Clean("/"+h.Name), "/")
		if whiteout(name, files) || h.Typeflag != tar.TypeReg {
			continue
		}
		limit := limitOf(name)
		if slices.Contains(also, name) {
			limit = maxToolFile
		}
		if h.Size > limit {
			delete(files, name) // what a lower layer had there is no more
			continue
		}
		data, err := io.ReadAll(io.LimitReader(tr, limit+1))
		if err != nil {
			return err
		}
		if total += len(data); total > maxSmallFiles || len(files) > maxFiles {
			return errTooManyFiles
		}
		mode := fs.FileMode(h.Mode).Perm()
		if slices.ContainsFunc(run, func(dir string) bool { return dir == "." || strings.HasPrefix(name, dir+"/") }) {
			mode |= 0o755
		}
		files[name] = File{Mode: mode, Content: data}
	}
}

// whiteout applies an OCI whiteout entry to the files of the layers below. It tells whether name is one.
func whiteout(name string, files map[string]File) bool {
	dir, base := path.Split(name)
	gone, ok := strings.CutPrefix(base, ".wh.")
	if !ok {
		return false
	}
	prefix := path.Join(dir, gone)
	if gone == ".wh..opq" {
		prefix = path.Clean(dir)
	}
	for f := range files {
		if f == prefix || strings.HasPrefix(f, prefix+"/") {
			delete(files, f)
		}
	}
	return true
}

// limitOf is the largest size in bytes at which a file is read; -1 if it is not read at all.
func limitOf(name string) int64 {
	top, _, below := strings.Cut(name, "/")
	switch {
	case !below:
		return maxSmallFile
	case top == "opt":
		return maxToolFile
	case slices.Contains([]string{"etc", "scripts", "manifests", "charts", "statics"}, top):
		return maxSmallFile
	}
	return -1
}
