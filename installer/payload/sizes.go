package payload

import (
	"context"
	"encoding/binary"
	"path"
	"slices"
	"strings"

	"github.com/klauspost/compress/zstd"
	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/sealbuild/sealbuild/bundle"
	"github.com/sealbuild/sealbuild/ground/ocigraph"
	"github.com/sealbuild/sealbuild/installer"
)

// guessedRatio is how much larger a layer is taken to be unpacked if it does not say.
const guessedRatio = 3

// Sizes are what the bundle's content takes on disks, in bytes. What images share counts once.
type Sizes struct {
	Stub     int64
	Rootfs   int64 // unpacked, with patches
	Apps     int64 // unpacked
	Registry int64 // every blob of the container images
	System   int64 // what the images that every host runs take in a container runtime: packed and unpacked
	Control  int64 // what those of the control plane take there, without System
	Images   int64 // what all container images take there
}

// Measure adds up the sizes of the bundle's content. What a layer takes unpacked is read from the layer, or guessed.
func (p *Payload) Measure(ctx context.Context) (Sizes, error) {
	var s Sizes
	if stub := p.Bundle.Stub(); stub != nil {
		s.Stub = stub.Size()
	}
	of := [][]*Image{p.Images}
	if platforms := p.Bundle.Platforms(); len(platforms) > 1 {
		// No host was asked for its architecture yet: the largest counts for each.
		of = nil
		for _, platform := range platforms {
			images, err := p.read(strings.TrimPrefix(platform, "linux/"))
			if err != nil {
				return Sizes{}, err
			}
			of = append(of, images)
		}
	}
	for _, images := range of {
		var rootfs, apps int64
		for _, i := range images {
			for _, l := range i.Layers {
				n := unpackedSize(p.Bundle, l.Digest, l.Size, l.MediaType)
				if i.Type == installer.TypeApplication {
					apps += n
				} else {
					rootfs += n
				}
			}
		}
		s.Rootfs, s.Apps = max(s.Rootfs, rootfs), max(s.Apps, apps)
	}
	catalog, err := Catalog(ctx, p.Bundle)
	if err != nil {
		return Sizes{}, err
	}
	for _, b := range catalog.Blobs() {
		s.Registry += b.Size
	}
	all := ContainerImages(p.Bundle)
	var system, control []bundle.Image
	for _, i := range all {
		switch imageBase(i.Name) {
		case "pause", "kube-proxy", "care", "lvscare":
			system = append(system, i)
		case "kube-apiserver", "kube-controller-manager", "kube-scheduler", "etcd":
			control = append(control, i)
		}
	}
	s.System = p.runtimeSize(system)
	s.Control = p.runtimeSize(slices.Concat(system, control)) - s.System
	s.Images = p.runtimeSize(all)
	return s, nil
}

// imageBase is the last part of an image's name: pause of registry.k8s.io/pause:3.10.
func imageBase(name string) string {
	name, _, _ = strings.Cut(name, "@")
	name, _, _ = strings.Cut(path.Base(name), ":")
	return name
}

// runtimeSize is what images take in a container runtime, which keeps layers packed and unpacked.
func (p *Payload) runtimeSize(images []bundle.Image) int64 {
	seen := map[digest.Digest]bool{}
	var total int64
	for _, i := range images {
		for _, l := range p.layersOf(i.Digest) {
			if !seen[l.Digest] {
				seen[l.Digest] = true
				total += l.Size + unpackedSize(p.Bundle, l.Digest, l.Size, l.MediaType)
			}
		}
	}
	return total
}

// layersOf lists the layers of an image in the architecture of the first master.
func (p *Payload) layersOf(d digest.Digest) []v1.Descriptor {
	return layersFor(p.Bundle, v1.Descriptor{Digest: d}, p.ArchOfFirst())
}

// layersFor lists the layers of an image in an architecture. It leaves out what cannot be read: that is found when the bundle is
// verified.
func layersFor(b *bundle.Reader, of v1.Descriptor, arch string) (layers []v1.Descriptor) {
	_ = ocigraph.Walk(of, ocigraph.Visitor{
		Load: func(d v1.Descriptor) (ocigraph.Manifest, error) {
			m, _ := ocigraph.Read(b, d.Digest) // an index names platforms that the bundle does not hold
			return m, nil
		},
		Children: func(n ocigraph.Node) ([]v1.Descriptor, error) {
			return slices.DeleteFunc(n.Manifest.Manifests, func(child v1.Descriptor) bool {
				return child.Platform != nil && child.Platform.Architecture != arch
			}), nil
		},
		Done: func(n ocigraph.Node) error {
			layers = append(layers, n.Manifest.Layers...)
			return nil
		},
	})
	return layers
}

// unpackedSize is the size in bytes of what a layer holds. A plain tar has its own size. A gzip says it in its last four
// bytes, modulo 4 GiB and for its last member only. A zstd may say it in the header of its first frame.
func unpackedSize(b *bundle.Reader, d digest.Digest, size int64, mediaType string) int64 {
	var tail [4]byte
	var head [zstd.HeaderMaxSize]byte
	blob, err := b.BlobAt(d)
	switch {
	case err != nil:
	case strings.HasSuffix(mediaType, "gzip"):
		if n, _ := blob.ReadAt(tail[:], size-4); n == len(tail) {
			return gzipSize(size, binary.LittleEndian.Uint32(tail[:]))
		}
	case strings.HasSuffix(mediaType, "zstd"):
		n, _ := blob.ReadAt(head[:], 0)
		var h zstd.Header
		if h.Decode(head[:n]) == nil && h.HasFCS && int64(h.FrameContentSize) > size {
			return int64(h.FrameContentSize)
		}
	default:
		return size
	}
	return guessedRatio * size
}

// gzipSize completes a size that is known modulo 4 GiB. One smaller than the packed size can only be that of a last member;
// then the size is guessed.
func gzipSize(packed int64, told uint32) int64 {
	n := int64(told)
	if packed >= 1<<30 {
		for n < packed {
			n += 1 << 32
		}
	}
	if n < packed-packed/100-1024 {
		return guessedRatio * packed
	}
	return n
}
