package sbom

import (
	"bytes"
	"cmp"
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/github/go-spdx/v2/spdxexp/spdxlicenses"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// spdxDocument is SPDX 2.3 in JSON, as much of it as a bill has.
type spdxDocument struct {
	Version       string             `json:"spdxVersion"`
	DataLicense   string             `json:"dataLicense"`
	ID            string             `json:"SPDXID"`
	Name          string             `json:"name"`
	Namespace     string             `json:"documentNamespace"`
	Creation      spdxCreation       `json:"creationInfo"`
	Packages      []spdxPackage      `json:"packages"`
	Relationships []spdxRelationship `json:"relationships"`
	Extracted     []spdxLicense      `json:"hasExtractedLicensingInfos,omitempty"`
}

type spdxCreation struct {
	Created     string   `json:"created"`
	Creators    []string `json:"creators"`
	LicenseList string   `json:"licenseListVersion,omitempty"`
}

type spdxPackage struct {
	ID               string         `json:"SPDXID"`
	Name             string         `json:"name"`
	Version          string         `json:"versionInfo,omitempty"`
	Description      string         `json:"description,omitempty"`
	Supplier         string         `json:"supplier,omitempty"`
	Homepage         string         `json:"homepage,omitempty"`
	Source           string         `json:"sourceInfo,omitempty"`
	Comment          string         `json:"comment,omitempty"`
	Download         string         `json:"downloadLocation"`
	FilesAnalyzed    bool           `json:"filesAnalyzed"`
	LicenseConcluded string         `json:"licenseConcluded"`
	LicenseDeclared  string         `json:"licenseDeclared"`
	Copyright        string         `json:"copyrightText"`
	Purpose          string         `json:"primaryPackagePurpose,omitempty"`
	Checksums        []spdxChecksum `json:"checksums,omitempty"`
	References       []spdxExternal `json:"externalRefs,omitempty"`
}

type spdxChecksum struct {
	Algorithm string `json:"algorithm"`
	Value     string `json:"checksumValue"`
}

type spdxExternal struct {
	Category string `json:"referenceCategory"`
	Type     string `json:"referenceType"`
	Locator  string `json:"referenceLocator"`
}

type spdxRelationship struct {
	From string `json:"spdxElementId"`
	How  string `json:"relationshipType"`
	To   string `json:"relatedSpdxElement"`
}

// spdxLicense is a licence that is not in SPDX's list; what a package says of it is all the text there is.
type spdxLicense struct {
	ID   string `json:"licenseId"`
	Name string `json:"name"`
	Text string `json:"extractedText"`
}

const (
	spdxDocumentID = "SPDXRef-DOCUMENT"
	noAssertion    = "NOASSERTION"
)

// SPDX writes the bill as SPDX 2.3 in JSON.
func (b Bill) SPDX() ([]byte, error) {
	all, err := b.elements()
	if err != nil {
		return nil, err
	}
	creators := []string{"Tool: sealbuild"}
	for _, t := range all.tools {
		creators = append(creators, "Tool: "+t.Name+"-"+t.Version)
	}
	doc := spdxDocument{
		Version: "SPDX-2.3", DataLicense: "CC0-1.0", ID: spdxDocumentID, Name: b.Name,
		Creation: spdxCreation{Created: b.Made.UTC().Format(time.RFC3339), Creators: creators, LicenseList: spdxListVersion()},
	}
	extracted := map[string]spdxLicense{}
	doc.Packages = append(doc.Packages, b.spdxPackage(element{ref: root, kind: ofInstaller, name: b.Name}, extracted))
	for _, e := range all.list {
		doc.Packages = append(doc.Packages, b.spdxPackage(e, extracted))
	}
	doc.Relationships = append(doc.Relationships, spdxRelationship{spdxDocumentID, string(described), spdxID(root)})
	for _, r := range all.relations {
		doc.Relationships = append(doc.Relationships, spdxRelationship{spdxID(r.from), string(r.how), spdxID(r.to)})
	}
	for _, id := range slices.Sorted(maps.Keys(extracted)) {
		doc.Extracted = append(doc.Extracted, extracted[id])
	}
	text, err := doc.encode()
	if err != nil {
		return nil, err
	}
	doc.Namespace = "https://sealbuild.io/spdx/" + contentID(text)
	return doc.encode()
}

// spdxListVersion is that of the list of licences, in the two numbers that SPDX wants.
func spdxListVersion() string {
	parts := strings.SplitN(strings.TrimPrefix(spdxlicenses.LicenseListVersion(), "v"), ".", 3)
	return strings.Join(parts[:min(2, len(parts))], ".")
}

// spdxPurposes are SPDX's names of what there is.
var spdxPurposes = [...]string{ofImage: "CONTAINER", ofInstaller: "APPLICATION", ofDistro: "OPERATING_SYSTEM", ofPackage: "LIBRARY"}

func (b Bill) spdxPackage(e element, extracted map[string]spdxLicense) spdxPackage {
	p := spdxPackage{
		ID: spdxID(e.ref), Name: e.name, Version: e.version, Description: e.description, Download: noAssertion, LicenseConcluded: noAssertion,
		LicenseDeclared: declared(e.licenses, extracted), Copyright: noAssertion, Purpose: spdxPurposes[e.kind],
	}
	if e.supplier != "" {
		p.Supplier = "Organization: " + e.supplier
	}
	for _, l := range e.links {
		if l.label != v1.AnnotationDocumentation {
			p.Homepage = l.url // of the two the page, if there is one
		}
	}
	if b.Places && len(e.paths) > 0 {
		p.Source = "found in " + strings.Join(e.paths, ", ")
	}
	var said []string
	for _, one := range e.properties {
		said = append(said, one.name+"="+one.value)
	}
	p.Comment = strings.Join(said, "\n")
	if e.digest != "" {
		p.Checksums = []spdxChecksum{{"SHA256", e.digest.Encoded()}}
	}
	if e.purl != "" {
		p.References = []spdxExternal{{"PACKAGE-MANAGER", "purl", e.purl}}
	}
	return p
}

// spdxID is an identifier as SPDX allows them.
func spdxID(ref string) string {
	if ref == root {
		return "SPDXRef-Bundle"
	}
	return "SPDXRef-" + short([]byte(ref))
}

// declared is one expression of all licences. What is none of SPDX's is told of beside the packages, and named here.
func declared(t terms, extracted map[string]spdxLicense) string {
	all := slices.Clone(t.expressions)
	for _, name := range t.names {
		one := spdxLicense{ID: "LicenseRef-" + slug(name) + "-" + short([]byte(name)), Name: name, Text: name}
		extracted[one.ID] = one
		all = append(all, one.ID)
	}
	if len(all) == 0 {
		return noAssertion
	}
	return joined(all)
}

// slug is as much of a text as an identifier takes.
func slug(text string) string {
	keep := func(r rune) rune {
		if r < 0x80 && (r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r == '.' || r == '-') {
			return r
		}
		return '-'
	}
	s := strings.Map(keep, text)
	return cmp.Or(strings.Trim(s[:min(len(s), 40)], "-"), "text")
}

func (d spdxDocument) encode() ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	err := e.Encode(d)
	return b.Bytes(), err
}
