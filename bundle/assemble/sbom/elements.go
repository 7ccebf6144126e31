package sbom

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/url"
	"path"
	"slices"
	"strings"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// kind is what an element is.
type kind int

const (
	ofImage kind = iota
	ofInstaller
	ofDistro
	ofPackage
)

// element is what both formats have one entry for.
type element struct {
	ref         string // unique in the bill
	kind        kind
	name        string
	version     string
	description string
	supplier    string
	purl        string
	mediaType   string
	digest      digest.Digest
	licenses    terms
	links       []link
	properties  []property
	paths       []string
}

type link struct{ label, url string }

type property struct{ name, value string }

// relation says how two elements hang together.
type relation struct {
	from string
	how  how
	to   string
}

// how is SPDX's name of a relation; CycloneDX knows one for all.
type how string

const (
	contains  how = "CONTAINS"
	needs     how = "DEPENDS_ON"
	descends  how = "DESCENDANT_OF"
	described how = "DESCRIBES"
)

// root is the ref of what the bill is of.
const root = "bundle"

// elements are a bill taken apart: what there is, each once, and how it hangs together.
type elements struct {
	list      []element
	at        map[string]int
	relations []relation
	tools     []Tool
	short     bool // without packages
}

func (b Bill) elements() (*elements, error) {
	e := &elements{at: map[string]int{}, short: b.Short}
	for _, i := range b.Images {
		if err := e.image(i); err != nil {
			return nil, fmt.Errorf("image %s: %w", i.Name, err)
		}
	}
	for _, i := range b.Installers {
		ref := "sealinstall-" + strings.ReplaceAll(i.Platform, "/", "-")
		e.add(element{
			ref: ref, kind: ofInstaller, name: "sealinstall", version: i.Digest.String(), digest: i.Digest,
			properties: []property{{"sealbuild:kind", "installer"}, {"sealbuild:platform", i.Platform}},
		})
		e.relate(root, contains, ref)
	}
	slices.SortFunc(e.relations, func(a, b relation) int {
		return cmp.Or(cmp.Compare(a.from, b.from), cmp.Compare(a.to, b.to), cmp.Compare(a.how, b.how))
	})
	e.relations = slices.Compact(e.relations)
	slices.SortFunc(e.tools, func(a, b Tool) int { return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Version, b.Version)) })
	e.tools = slices.Compact(e.tools)
	return e, nil
}

// add takes an element, unless it is there: then it may lie in more places.
func (e *elements) add(one element) {
	if n, ok := e.at[one.ref]; ok {
		e.list[n].paths = append(e.list[n].paths, one.paths...)
		slices.Sort(e.list[n].paths)
		e.list[n].paths = slices.Compact(e.list[n].paths)
		return
	}
	e.at[one.ref] = len(e.list)
	e.list = append(e.list, one)
}

func (e *elements) relate(from string, how how, to string) {
	e.relations = append(e.relations, relation{from, how, to})
}

func (e *elements) image(i Image) error {
	named, err := reference.ParseNormalizedNamed(i.Name)
	if err != nil {
		return err
	}
	one := describe(named, i)
	for _, p := range i.Platforms {
		one.properties = append(one.properties, property{"sealbuild:platform", p})
	}
	if revision := i.Labels[v1.AnnotationRevision]; revision != "" {
		one.properties = append(one.properties, property{v1.AnnotationRevision, revision})
	}
	switch {
	case len(i.Parts) == 0:
		one.properties = append(one.properties, e.searched(Part{}))
	case len(i.Parts) == 1 && i.Parts[0].Digest == i.Digest:
		one.properties = append(one.properties, e.searched(i.Parts[0]))
	}
	e.add(one)
	if i.Kind == "cluster" || len(i.NeededBy) == 0 {
		e.relate(root, contains, one.ref)
	}
	for _, by := range i.NeededBy {
		e.relate(by, needs, one.ref)
	}
	for _, base := range i.Bases {
		e.base(one.ref, base)
	}
	for _, part := range i.Parts {
		ref := one.ref
		if part.Digest != i.Digest {
			ref = one.ref + "#" + part.Platform
			e.add(element{
				ref: ref, kind: ofImage, name: named.Name(), version: part.Digest.String(), digest: part.Digest,
				purl:       packageURL(named, part.Digest, part.Platform),
				properties: []property{{"sealbuild:kind", "part"}, {"sealbuild:platform", part.Platform}, e.searched(part)},
			})
			e.relate(one.ref, contains, ref)
		}
		e.found(ref, part.Found)
	}
	return nil
}

// searched tells whether no packages are named because there are none, because nobody has looked, or because they are too many.
func (e *elements) searched(p Part) property {
	how := "searched"
	switch {
	case p.Found == nil:
		how = "not searched"
	case e.short:
		how = "left out"
	}
	return property{"sealbuild:packages", how}
}

// describe is an image without what hangs on it.
func describe(named reference.Named, i Image) element {
	version := i.Labels[v1.AnnotationVersion]
	if tagged, ok := named.(reference.Tagged); ok {
		version = tagged.Tag()
	}
	platform := ""
	if len(i.Platforms) == 1 {
		platform = i.Platforms[0]
	}
	one := element{
		ref: i.Name, kind: ofImage, name: named.Name(), version: cmp.Or(version, i.Digest.String()), description: i.Labels[v1.AnnotationDescription],
		supplier: i.Labels[v1.AnnotationVendor], mediaType: i.MediaType, digest: i.Digest, purl: packageURL(named, i.Digest, platform),
		licenses:   readTerms([]License{{Value: i.Labels[v1.AnnotationLicenses]}}),
		properties: []property{{"sealbuild:kind", cmp.Or(i.Type, i.Kind)}},
	}
	for _, label := range []string{v1.AnnotationSource, v1.AnnotationURL, v1.AnnotationDocumentation} {
		if u, err := url.Parse(i.Labels[label]); err == nil && u.IsAbs() {
			one.links = append(one.links, link{label, u.String()})
		}
	}
	return one
}

// base names what an image is built on. A name that is no reference, as labels may hold, is left out.
func (e *elements) base(of string, b Base) {
	named, err := reference.ParseNormalizedNamed(b.Name)
	if err != nil || b.Digest != "" && b.Digest.Validate() != nil {
		return
	}
	one := describe(named, Image{Digest: b.Digest, Kind: "base"})
	if one.ref = "base:" + b.Name; b.Digest != "" {
		one.ref += "@" + b.Digest.String()
	}
	e.add(one)
	e.relate(of, descends, one.ref)
}

// found adds what lies in an image.
func (e *elements) found(in string, f *Found) {
	if f == nil {
		return
	}
	e.tools = append(e.tools, f.Tool)
	if d := f.Distro; d != nil {
		ref := "distro:" + d.ID + "@" + d.Version
		e.add(element{ref: ref, kind: ofDistro, name: d.ID, version: d.Version, description: d.Name})
		e.relate(in, contains, ref)
	}
	if e.short {
		return
	}
	for _, p := range f.Packages {
		one := element{
			ref: p.ref(), kind: ofPackage, name: p.Name, version: p.Version, purl: p.PURL, licenses: readTerms(p.Licenses), paths: p.Paths,
			properties: []property{{"sealbuild:type", p.Type}},
		}
		e.add(one)
		e.relate(in, contains, one.ref)
	}
}

// ref names a package by all that is said of it but its places: what two images say alike is one.
func (p Package) ref() string {
	p.Paths = nil
	text, err := json.Marshal(p)
	if err != nil {
		text = []byte(p.PURL) // it is made of texts alone
	}
	return "package:" + short(text)
}

// short is a name made of a content.
func short(content []byte) string {
	sum := sha256.Sum256(content)
	return hex.EncodeToString(sum[:12])
}

// packageURL is the image's purl, of type oci.
func packageURL(named reference.Named, d digest.Digest, platform string) string {
	q := url.Values{"repository_url": {named.Name()}}
	if tagged, ok := named.(reference.Tagged); ok {
		q.Set("tag", tagged.Tag())
	}
	if platform != "" {
		_, arch, _ := strings.Cut(platform, "/")
		q.Set("arch", strings.ReplaceAll(arch, "/", ""))
	}
	name := strings.ToLower(path.Base(reference.Path(named)))
	if d != "" {
		name += "@" + url.QueryEscape(d.String())
	}
	return "pkg:oci/" + name + "?" + q.Encode()
}
