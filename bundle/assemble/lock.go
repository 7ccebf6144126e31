package assemble

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/sealbuild/sealbuild/bundle"
	"github.com/sealbuild/sealbuild/bundle/assemble/sbom"
	"github.com/sealbuild/sealbuild/bundle/assemble/store"
)

// Names of the documents in a bundle.
const (
	LockName = "lock.json"
	SBOMName = "sbom.cdx.json"
	SPDXName = "sbom.spdx.json"
)

// Lock says which image was resolved to which digest, and where it was named.
// It is the lock.json of a bundle; the JSON names are a promise.
type Lock struct {
	Version    int              `json:"version"` // 1
	Images     []LockedImage    `json:"images"`
	Unresolved []LockedMentions `json:"unresolved,omitempty"` // suspected references that do not exist
}

// LockedImage is one image with everything that names it.
type LockedImage struct {
	Name      string        `json:"name"`
	Digest    digest.Digest `json:"digest"`
	MediaType string        `json:"mediaType"`
	Platforms []string      `json:"platforms"`
	Size      int64         `json:"size"` // bytes of every blob it reaches
	Kind      bundle.Kind   `json:"kind"`
	Type      string        `json:"type,omitempty"` // of a cluster image
	Bases     []LockedBase  `json:"bases,omitempty"`
	Sources   []LockedPlace `json:"sources,omitempty"` // of a container image
}

// LockedBase is an image that a Kubefile builds on.
type LockedBase struct {
	Name   string `json:"name"`
	Digest string `json:"digest"`
}

// LockedMentions is a reference and where it stands.
type LockedMentions struct {
	Name    string        `json:"name"`
	Sources []LockedPlace `json:"sources"`
}

// LockedPlace is a line of a cluster image's context.
type LockedPlace struct {
	Image     string `json:"image"` // the cluster image
	File      string `json:"file,omitempty"`
	Line      int    `json:"line,omitempty"` // 1-based
	Certainty string `json:"certainty,omitempty"`
}

type document struct {
	name    string
	content []byte
}

// documents makes the lock and the bills of materials. Container images get theirs as referrers, too.
func (b *Builder) documents(ctx context.Context, records []store.Record, stubs []installer, images []bundle.Image, when sbom.When) ([]document, error) {
	lock := makeLock(records, images)
	text, err := json.MarshalIndent(lock, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("write the lock: %w", err)
	}
	bill, err := b.bill(ctx, lock, stubs, when)
	if err != nil {
		return nil, fmt.Errorf("list what is in the images: %w", err)
	}
	for n := range images {
		bill.Images[n].Size = images[n].ManifestSize
		if images[n].Kind != bundle.KindImage {
			continue // no registry of a site serves it
		}
		if images[n].Referrers, err = bill.Attach(b.Store, images[n].Name); err != nil {
			return nil, fmt.Errorf("attach the bill of materials of %s: %w", images[n].Name, err)
		}
	}
	cyclonedx, spdx, short, err := bill.Within(bundle.MaxDocument)
	if err != nil {
		return nil, fmt.Errorf("write the bill of materials: %w", err)
	}
	if short {
		b.report().Note("the packages inside the images are too many for the bundle's bill of materials; those of container images have their own")
	}
	return []document{{LockName, append(text, '\n')}, {SBOMName, cyclonedx}, {SPDXName, spdx}}, nil
}

// bill says what the bundle is made of, the packages in its images included.
func (b *Builder) bill(ctx context.Context, lock Lock, stubs []installer, when sbom.When) (sbom.Bill, error) {
	bill := sbom.Bill{Name: "bundle", Made: b.Epoch}
	for _, i := range lock.Images {
		if i.Kind == bundle.KindCluster {
			bill.Name = i.Name // of the last
		}
		one := sbom.Image{Name: i.Name, Digest: i.Digest, MediaType: i.MediaType, Platforms: i.Platforms, Kind: string(i.Kind), Type: i.Type}
		one.Parts = sbom.Parts(b.Store, v1.Descriptor{Digest: i.Digest, MediaType: i.MediaType}, i.Platforms)
		if len(one.Parts) > 0 {
			one.Labels = sbom.Labels(b.Store, one.Parts[0].Digest)
		}
		for _, base := range i.Bases {
			one.Bases = append(one.Bases, sbom.Base{Name: base.Name, Digest: digest.Digest(base.Digest)})
		}
		if len(i.Bases) == 0 {
			one.Bases = sbom.LabelledBase(one.Labels)
		}
		for _, s := range i.Sources {
			one.NeededBy = append(one.NeededBy, s.Image)
		}
		bill.Images = append(bill.Images, one)
	}
	for _, s := range stubs {
		bill.Installers = append(bill.Installers, sbom.Installer{Platform: s.platform, Digest: s.digest})
	}
	searcher, err := newSearcher(ctx, b, when)
	if err != nil || searcher == nil {
		return bill, err
	}
	b.report().Phase("list the packages in the images", 0)
	return bill, bill.Search(ctx, searcher, func(image string, err error) error {
		if when == sbom.Always {
			return fmt.Errorf("image %s: %w", image, err)
		}
		b.report().Note(fmt.Sprintf("the bill of materials does not list the packages in %s: %v", image, err))
		return nil
	})
}

// newSearcher returns nil where packages are not searched for.
func newSearcher(ctx context.Context, b *Builder, when sbom.When) (*sbom.Searcher, error) {
	if when == sbom.Never {
		return nil, nil
	}
	path, err := sbom.Find()
	if missing := new(sbom.MissingError); when != sbom.Always && errors.As(err, &missing) {
		b.report().Note("the bill of materials does not list the packages inside the images: " + missing.Error())
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return sbom.NewSearcher(ctx, path, filepath.Join(b.Store.Root(), "cache"), layouts{b})
}

// layouts are the images of the store for whoever searches them.
type layouts struct{ *Builder }

func (l layouts) Layout(image v1.Descriptor) (string, func() error, error) {
	dir, err := l.Store.TempDir("packages")
	if err != nil {
		return "", nil, err
	}
	remove := func() error { return os.RemoveAll(dir) }
	if err := l.layout(dir, image, v1.Platform{}); err != nil {
		return "", nil, errors.Join(err, remove())
	}
	return dir, remove, nil
}

func makeLock(records []store.Record, images []bundle.Image) Lock {
	lock := Lock{Version: 1}
	for _, i := range images {
		l := LockedImage{
			Name: i.Name, Digest: i.Digest, MediaType: i.MediaType, Platforms: i.Platforms, Size: i.Size, Kind: i.Kind, Type: i.ClusterType,
		}
		for _, r := range records {
			if i.Kind == bundle.KindCluster && r.Name == i.Name {
				for _, in := range r.Inputs {
					if in.Kind == "base" {
						l.Bases = append(l.Bases, LockedBase{in.Name, in.Value})
					}
				}
			}
			for _, p := range r.Images {
				if i.Kind == bundle.KindImage && p.Ref == i.Name {
					l.Sources = append(l.Sources, place(r, p.Found))
				}
			}
		}
		lock.Images = append(lock.Images, l)
	}
	for _, r := range records {
		for _, f := range r.Unresolved {
			lock.Unresolved = append(lock.Unresolved, LockedMentions{f.Ref, []LockedPlace{place(r, f)}})
		}
	}
	return lock
}

func place(r store.Record, f store.Found) LockedPlace {
	return LockedPlace{Image: r.Name, File: f.File, Line: f.Line, Certainty: f.Certainty}
}
