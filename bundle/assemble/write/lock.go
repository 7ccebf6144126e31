package write

import (
	"github.com/opencontainers/go-digest"

	"github.com/sealbuild/sealbuild/bundle"
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
	Original  digest.Digest `json:"original,omitempty"` // of a cluster image whose layers are held without their registry/
	Type      string        `json:"type,omitempty"`     // of a cluster image
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

// Document is a file of the bundle beside its images.
type Document struct {
	Name    string
	Content []byte
}

func makeLock(records []store.Record, images []bundle.Image) Lock {
	lock := Lock{Version: 1}
	for _, i := range images {
		l := LockedImage{
			Name: i.Name, Digest: i.Digest, MediaType: i.MediaType, Platforms: i.Platforms, Size: i.Size, Kind: i.Kind, Type: i.ClusterType,
		}
		for _, r := range records {
			if i.Kind == bundle.KindCluster && r.Name == i.Name {
				if r.Manifest.Digest != i.Digest {
					l.Original = r.Manifest.Digest
				}
				for _, in := range r.Inputs {
					if in.Kind == "base" {
						l.Bases = append(l.Bases, LockedBase{in.Name, in.Value})
					}
				}
			}
			for _, p := range r.Images {
				if i.Kind == bundle.KindImage && p.Ref == i.Name {
					for _, f := range p.Mentions() {
						l.Sources = append(l.Sources, place(r, f))
					}
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
