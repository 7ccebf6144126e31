// Package sbom writes bills of materials: which images a bundle holds, by digest, what they say of themselves, what they are built
// on, which cluster image needs them, which packages lie inside, and the installers. There is one for the bundle, as CycloneDX 1.6
// and as SPDX 2.3, and one in both for each container image.
//
// It promises that the same images give the same bytes, that both formats say the same, and that a licence which is written as an
// expression of SPDX is one. What was not searched is said not to have been.
//
// The packages are found by a program of its own, sealsbom (see [Searcher]): cmd/sealsbom, a module of its own.
package sbom

import (
	"time"

	"github.com/opencontainers/go-digest"
)

// Bill is what a bill of materials says.
type Bill struct {
	Name       string // of what it is the bill
	Made       time.Time
	Images     []Image
	Installers []Installer
	Places     bool // tell where in the image a package lies
	Short      bool // leave out the packages
}

// Within writes the bill in both formats, in at most so many bytes each: where it would have more, without packages, and says so.
func (b Bill) Within(limit int) (cyclonedx, spdx []byte, short bool, err error) {
	if cyclonedx, err = b.CycloneDX(); err != nil {
		return nil, nil, false, err
	}
	if spdx, err = b.SPDX(); err != nil {
		return nil, nil, false, err
	}
	if max(len(cyclonedx), len(spdx)) <= limit || b.Short {
		return cyclonedx, spdx, b.Short, nil
	}
	b.Short = true
	return b.Within(limit)
}

// Image is one image of the bundle.
type Image struct {
	Name      string // full reference
	Digest    digest.Digest
	MediaType string
	Size      int64 // of the manifest or index
	Platforms []string
	Kind      string // cluster or image
	Type      string // of a cluster image: rootfs, patch, application
	Labels    map[string]string
	NeededBy  []string // names of cluster images
	Bases     []Base   // what it is built on
	Parts     []Part   // the images of its platforms
}

// Part is the image of one platform: the image itself, or a child of its index.
type Part struct {
	Platform  string
	Digest    digest.Digest
	MediaType string
	Size      int64  // of the manifest
	Found     *Found // nil: not searched
}

// Base is an image that another is built on. It need not be in the bundle: its layers are in the other.
type Base struct {
	Name   string
	Digest digest.Digest // empty: not known
}

// Installer is an executable that a bundle begins with, or brings for another platform.
type Installer struct {
	Platform string
	Digest   digest.Digest
}

// Found is what sealsbom says of an image. The JSON names are those of cmd/sealsbom.
type Found struct {
	Format   int       `json:"format"`
	Tool     Tool      `json:"tool"`
	Distro   *Distro   `json:"distro,omitempty"`
	Packages []Package `json:"packages"`
}

// Tool is what has searched.
type Tool struct {
	Name    string `json:"name"`
	Version string `json:"version"`
}

// Distro is the distribution whose files an image holds.
type Distro struct {
	ID      string `json:"id"`
	Version string `json:"version,omitempty"`
	Name    string `json:"name,omitempty"`
}

// Package is one package in an image.
type Package struct {
	Type     string    `json:"type"` // as deb, apk, go-module
	Name     string    `json:"name"`
	Version  string    `json:"version,omitempty"`
	PURL     string    `json:"purl,omitempty"`
	Licenses []License `json:"licenses,omitempty"`
	Paths    []string  `json:"paths,omitempty"`
}
