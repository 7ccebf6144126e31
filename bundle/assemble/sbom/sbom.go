// Package sbom writes the bill of materials of a bundle: which container images it holds, by digest, what they say of themselves,
// and which cluster image needs them. What is inside the images is in the bills of materials that their makers publish under the
// same digests.
//
// The same images give the same bytes.
package sbom

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"fmt"
	"net/url"
	"path"
	"slices"
	"strings"
	"time"

	cdx "github.com/CycloneDX/cyclonedx-go"
	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// Image is one image of the bundle.
type Image struct {
	Name      string // full reference
	Digest    digest.Digest
	MediaType string
	Platforms []string
	Kind      string // cluster or image
	Type      string // of a cluster image: rootfs, patch, application
	Labels    map[string]string
	NeededBy  []string // names of cluster images
}

// CycloneDX writes the images as CycloneDX 1.6 in JSON. made is the time stamp.
func CycloneDX(images []Image, made time.Time) ([]byte, error) {
	bom := cdx.NewBOM()
	bom.SpecVersion = cdx.SpecVersion1_6
	bom.Metadata = &cdx.Metadata{
		Timestamp:  made.UTC().Format(time.RFC3339),
		Lifecycles: &[]cdx.Lifecycle{{Phase: cdx.LifecyclePhaseBuild}},
		Tools:      &cdx.ToolsChoice{Components: &[]cdx.Component{{Type: cdx.ComponentTypeApplication, Name: "sealbuild"}}},
		Component:  &cdx.Component{BOMRef: "bundle", Type: cdx.ComponentTypeApplication, Name: bundleName(images)},
	}
	components := make([]cdx.Component, 0, len(images))
	needs := map[string][]string{"bundle": {}}
	for _, i := range images {
		c, err := component(i)
		if err != nil {
			return nil, fmt.Errorf("image %s: %w", i.Name, err)
		}
		components = append(components, c)
		if i.Kind == "cluster" || len(i.NeededBy) == 0 {
			needs["bundle"] = append(needs["bundle"], c.BOMRef)
		}
		needs[c.BOMRef] = append(needs[c.BOMRef], []string{}...)
		for _, by := range i.NeededBy {
			needs[by] = append(needs[by], c.BOMRef)
		}
	}
	bom.Components = &components
	bom.Dependencies = dependencies(needs)
	text, err := encode(bom)
	if err != nil {
		return nil, err
	}
	bom.SerialNumber = serial(text)
	return encode(bom)
}

func bundleName(images []Image) string {
	for _, i := range slices.Backward(images) {
		if i.Kind == "cluster" {
			return i.Name
		}
	}
	return "bundle"
}

func component(i Image) (cdx.Component, error) {
	named, err := reference.ParseNormalizedNamed(i.Name)
	if err != nil {
		return cdx.Component{}, err
	}
	version := i.Labels[v1.AnnotationVersion]
	if tagged, ok := named.(reference.Tagged); ok {
		version = tagged.Tag()
	}
	c := cdx.Component{
		BOMRef: i.Name, Type: cdx.ComponentTypeContainer, Name: named.Name(), Version: cmp.Or(version, i.Digest.String()),
		Description: i.Labels[v1.AnnotationDescription],
		Hashes:      &[]cdx.Hash{{Algorithm: cdx.HashAlgoSHA256, Value: i.Digest.Encoded()}},
		MIMEType:    i.MediaType,
		PackageURL:  packageURL(named, i),
	}
	if vendor := i.Labels[v1.AnnotationVendor]; vendor != "" {
		c.Supplier = &cdx.OrganizationalEntity{Name: vendor}
	}
	if licenses := i.Labels[v1.AnnotationLicenses]; licenses != "" {
		c.Licenses = &cdx.Licenses{{Expression: licenses}}
	}
	var links []cdx.ExternalReference
	for _, l := range []struct {
		label string
		kind  cdx.ExternalReferenceType
	}{{v1.AnnotationSource, cdx.ERTypeVCS}, {v1.AnnotationURL, cdx.ERTypeWebsite}, {v1.AnnotationDocumentation, cdx.ERTypeDocumentation}} {
		if u, err := url.Parse(i.Labels[l.label]); err == nil && u.IsAbs() {
			links = append(links, cdx.ExternalReference{Type: l.kind, URL: u.String()})
		}
	}
	if len(links) > 0 {
		c.ExternalReferences = &links
	}
	properties := []cdx.Property{{Name: "sealbuild:kind", Value: cmp.Or(i.Type, i.Kind)}}
	for _, p := range i.Platforms {
		properties = append(properties, cdx.Property{Name: "sealbuild:platform", Value: p})
	}
	if revision := i.Labels[v1.AnnotationRevision]; revision != "" {
		properties = append(properties, cdx.Property{Name: v1.AnnotationRevision, Value: revision})
	}
	c.Properties = &properties
	return c, nil
}

// packageURL is the image's purl, of type oci.
func packageURL(named reference.Named, i Image) string {
	q := url.Values{"repository_url": {named.Name()}}
	if tagged, ok := named.(reference.Tagged); ok {
		q.Set("tag", tagged.Tag())
	}
	if len(i.Platforms) == 1 {
		_, arch, _ := strings.Cut(i.Platforms[0], "/")
		q.Set("arch", strings.ReplaceAll(arch, "/", ""))
	}
	name := strings.ToLower(path.Base(reference.Path(named)))
	return "pkg:oci/" + name + "@" + url.QueryEscape(i.Digest.String()) + "?" + q.Encode()
}

func dependencies(needs map[string][]string) *[]cdx.Dependency {
	list := make([]cdx.Dependency, 0, len(needs))
	for ref, on := range needs {
		slices.Sort(on)
		on = slices.Compact(on)
		list = append(list, cdx.Dependency{Ref: ref, Dependencies: &on})
	}
	slices.SortFunc(list, func(a, b cdx.Dependency) int { return cmp.Compare(a.Ref, b.Ref) })
	return &list
}

func encode(bom *cdx.BOM) ([]byte, error) {
	var b bytes.Buffer
	e := cdx.NewBOMEncoder(&b, cdx.BOMFileFormatJSON)
	e.SetPretty(true)
	e.SetEscapeHTML(false)
	if err := e.EncodeVersion(bom, bom.SpecVersion); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// serial names the document by its content: a UUID of version 8, RFC 9562.
func serial(text []byte) string {
	s := sha256.Sum256(text)
	s[6] = s[6]&0x0F | 0x80
	s[8] = s[8]&0x3F | 0x80
	return fmt.Sprintf("urn:uuid:%x-%x-%x-%x-%x", s[0:4], s[4:6], s[6:8], s[8:10], s[10:16])
}
