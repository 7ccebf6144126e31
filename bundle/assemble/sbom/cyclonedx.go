package sbom

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"slices"
	"time"

	cdx "github.com/CycloneDX/cyclonedx-go"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// CycloneDX writes the bill as CycloneDX 1.6 in JSON.
func (b Bill) CycloneDX() ([]byte, error) {
	all, err := b.elements()
	if err != nil {
		return nil, err
	}
	tools := []cdx.Component{{Type: cdx.ComponentTypeApplication, Name: "sealbuild"}}
	for _, t := range all.tools {
		tools = append(tools, cdx.Component{Type: cdx.ComponentTypeApplication, Name: t.Name, Version: t.Version})
	}
	bom := cdx.NewBOM()
	bom.SpecVersion = cdx.SpecVersion1_6
	bom.Metadata = &cdx.Metadata{
		Timestamp:  b.Made.UTC().Format(time.RFC3339),
		Lifecycles: &[]cdx.Lifecycle{{Phase: cdx.LifecyclePhaseBuild}},
		Tools:      &cdx.ToolsChoice{Components: &tools},
		Component:  &cdx.Component{BOMRef: root, Type: cdx.ComponentTypeApplication, Name: b.Name},
	}
	components := make([]cdx.Component, 0, len(all.list))
	on := map[string][]string{root: {}}
	for _, e := range all.list {
		components = append(components, b.component(e))
		if e.kind == ofImage {
			on[e.ref] = []string{} // that nothing hangs on it is said, too
		}
	}
	for _, r := range all.relations {
		on[r.from] = append(on[r.from], r.to)
	}
	bom.Components, bom.Dependencies = &components, dependencies(on)
	text, err := encode(bom)
	if err != nil {
		return nil, err
	}
	bom.SerialNumber = serial(text)
	return encode(bom)
}

// componentTypes are CycloneDX's names of what there is.
var componentTypes = [...]cdx.ComponentType{
	ofImage: cdx.ComponentTypeContainer, ofInstaller: cdx.ComponentTypeApplication, ofDistro: cdx.ComponentTypeOS, ofPackage: cdx.ComponentTypeLibrary,
}

func (b Bill) component(e element) cdx.Component {
	c := cdx.Component{
		BOMRef: e.ref, Type: componentTypes[e.kind], Name: e.name, Version: e.version, Description: e.description,
		MIMEType: e.mediaType, PackageURL: e.purl, Licenses: licenseChoices(e.licenses),
	}
	if e.digest != "" {
		c.Hashes = &[]cdx.Hash{{Algorithm: cdx.HashAlgoSHA256, Value: e.digest.Encoded()}}
	}
	if e.supplier != "" {
		c.Supplier = &cdx.OrganizationalEntity{Name: e.supplier}
	}
	var links []cdx.ExternalReference
	for _, l := range e.links {
		links = append(links, cdx.ExternalReference{Type: linkTypes[l.label], URL: l.url})
	}
	if len(links) > 0 {
		c.ExternalReferences = &links
	}
	var properties []cdx.Property
	for _, p := range e.properties {
		properties = append(properties, cdx.Property{Name: p.name, Value: p.value})
	}
	if len(properties) > 0 {
		c.Properties = &properties
	}
	if b.Places && len(e.paths) > 0 {
		var places []cdx.EvidenceOccurrence
		for _, p := range e.paths {
			places = append(places, cdx.EvidenceOccurrence{Location: p})
		}
		c.Evidence = &cdx.Evidence{Occurrences: &places}
	}
	return c
}

// linkTypes are CycloneDX's names of what an image links to.
var linkTypes = map[string]cdx.ExternalReferenceType{
	v1.AnnotationSource: cdx.ERTypeVCS, v1.AnnotationURL: cdx.ERTypeWebsite, v1.AnnotationDocumentation: cdx.ERTypeDocumentation,
}

// licenseChoices are licences as CycloneDX takes them: one expression, or a list of licences with an identifier or a name.
func licenseChoices(t terms) *cdx.Licenses {
	var list cdx.Licenses
	if len(t.names) == 0 {
		switch {
		case len(t.expressions) == 0:
			return nil
		case len(t.expressions) > 1 || !cyclonedxIDs()[t.expressions[0]]:
			return &cdx.Licenses{{Expression: joined(t.expressions)}}
		}
	}
	for _, e := range t.expressions {
		if cyclonedxIDs()[e] {
			list = append(list, cdx.LicenseChoice{License: &cdx.License{ID: e}})
		} else {
			list = append(list, cdx.LicenseChoice{License: &cdx.License{Name: e}})
		}
	}
	for _, name := range t.names {
		list = append(list, cdx.LicenseChoice{License: &cdx.License{Name: name}})
	}
	return &list
}

func dependencies(on map[string][]string) *[]cdx.Dependency {
	list := make([]cdx.Dependency, 0, len(on))
	for ref, refs := range on {
		slices.Sort(refs)
		refs = slices.Compact(refs)
		list = append(list, cdx.Dependency{Ref: ref, Dependencies: &refs})
	}
	slices.SortFunc(list, func(a, b cdx.Dependency) int { return bytes.Compare([]byte(a.Ref), []byte(b.Ref)) })
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

// serial names the document by its content.
func serial(text []byte) string { return "urn:uuid:" + contentID(text) }

// contentID is a UUID of version 8, RFC 9562, of a content.
func contentID(text []byte) string {
	s := sha256.Sum256(text)
	s[6] = s[6]&0x0F | 0x80
	s[8] = s[8]&0x3F | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", s[0:4], s[4:6], s[6:8], s[8:10], s[10:16])
}
