// Package summary is the page about a bundle: which images it holds and how large they are, what asks for each and what they share,
// the packages in them, and what has changed since another bundle. It reads all of that out of the file.
package summary

import (
	"bytes"
	"cmp"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	cdx "github.com/CycloneDX/cyclonedx-go"

	"github.com/sealbuild/sealbuild/bundle"
	"github.com/sealbuild/sealbuild/bundle/assemble/write"
	"github.com/sealbuild/sealbuild/ground/page"
)

//go:embed summary.html
var body string

var form = page.New(body)

// Base is a bundle that another is compared with.
type Base struct {
	Name   string // of the file
	Reader *bundle.Reader
}

// image is an image of the bundle.
type image struct {
	bundle.Image
	Stored   int64 // bytes in the file of all blobs that it reaches
	Own      int64 // and of those that no other image reaches
	Bars     []page.Bar
	Asked    []string // places that ask for it
	More     int      // further places
	Bases    []string
	Packages int // in it, of the bill of materials; -1: nobody has looked
}

// Ours tells whether sealbuild itself brings the image.
func (i image) Ours() bool { return strings.HasPrefix(i.Name, "sealbuild.io/") }

// counted is how many there are of a kind.
type counted struct {
	What string
	N    int
}

// change is what has changed since a bundle.
type change struct {
	Since string
	bundle.Difference
}

// summary is what the page shows.
type summary struct {
	File string
	bundle.Description
	Images   []image
	Types    []counted // of packages
	Licences []counted // of packages; the most frequent ones
	Packages int
	Searched int // images that were searched for packages
	Changes  []change
}

// most is how many places and licences are listed.
const most = 8

// Page is the page about a bundle, whose file has a name, and what has changed since each of some others.
func Page(name string, r *bundle.Reader, bases []Base) ([]byte, error) {
	s := summary{File: name}
	var err error
	if s.Description, err = r.Describe(); err != nil {
		return nil, err
	}
	lock, err := readLock(r)
	if err != nil {
		return nil, err
	}
	packages, err := s.readBill(r)
	if err != nil {
		return nil, err
	}
	s.images(r, lock, packages)
	for _, b := range bases {
		s.Changes = append(s.Changes, change{b.Name, bundle.Diff(b.Reader, r)})
	}
	return form.Page("bundle "+name, s)
}

// readLock reads what asks for each image; a bundle of another builder may not say.
func readLock(r *bundle.Reader) (lock write.Lock, err error) {
	text, err := r.Document(write.LockName)
	if errors.Is(err, bundle.ErrNoDocument) {
		return lock, nil
	}
	if err == nil {
		err = json.Unmarshal(text, &lock)
	}
	if err != nil {
		return lock, fmt.Errorf("read %s: %w", write.LockName, err)
	}
	return lock, nil
}

// images lists the images, the largest first.
func (s *summary) images(r *bundle.Reader, lock write.Lock, packages map[string]int) {
	used := map[string]bundle.Usage{}
	largest := int64(1)
	for _, u := range s.Usage {
		used[u.Name] = u
		largest = max(largest, u.Stored)
	}
	for _, i := range r.Images() {
		one := image{Image: i, Stored: used[i.Name].Stored, Own: used[i.Name].Own, Packages: -1}
		if n, known := packages[i.Name]; known {
			one.Packages = n
			s.Searched++
		}
		own, all := float64(one.Own)/float64(largest), float64(one.Stored)/float64(largest)
		if one.Own > 0 {
			one.Bars = append(one.Bars, page.Bar{To: own, Look: "ok", Says: page.Size(one.Own) + " of its own"})
		}
		if shared := one.Stored - one.Own; shared > 0 {
			one.Bars = append(one.Bars, page.Bar{From: own, To: all, Look: "other", Says: page.Size(shared) + " shared with other images"})
		}
		for _, l := range lock.Images {
			if l.Name == i.Name {
				one.asked(l)
			}
		}
		s.Images = append(s.Images, one)
	}
	slices.SortStableFunc(s.Images, func(a, b image) int { return cmp.Compare(b.Stored, a.Stored) })
}

// asked notes what a lock says of the image.
func (i *image) asked(l write.LockedImage) {
	for _, b := range l.Bases {
		i.Bases = append(i.Bases, b.Name)
	}
	for _, p := range l.Sources {
		text := p.Image
		if p.File != "" {
			text += ": " + p.File
		}
		if p.Line > 0 {
			text += fmt.Sprintf(":%d", p.Line)
		}
		if p.Certainty == "suspected" {
			text += " (suspected)"
		}
		if !slices.Contains(i.Asked, text) {
			i.Asked = append(i.Asked, text)
		}
	}
	if i.More = max(0, len(i.Asked)-most); i.More > 0 {
		i.Asked = i.Asked[:most]
	}
}

// readBill counts the packages of the bill of materials. It returns how many there are in each image that was searched.
func (s *summary) readBill(r *bundle.Reader) (map[string]int, error) {
	text, err := r.Document(write.SBOMName)
	if errors.Is(err, bundle.ErrNoDocument) {
		return nil, nil
	}
	var bom cdx.BOM
	if err == nil {
		err = cdx.NewBOMDecoder(bytes.NewReader(text), cdx.BOMFileFormatJSON).Decode(&bom)
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", write.SBOMName, err)
	}
	types, licences := map[string]int{}, map[string]int{}
	library, searched := map[string]bool{}, map[string]int{}
	for _, c := range deref(bom.Components) {
		switch c.Type {
		case cdx.ComponentTypeLibrary:
			library[c.BOMRef] = true
			types[cmp.Or(propertyOf(c, "sealbuild:type"), "other")]++
			for _, name := range licencesOf(c) {
				licences[name]++
			}
		case cdx.ComponentTypeContainer:
			if propertyOf(c, "sealbuild:packages") == "searched" {
				name, _, _ := strings.Cut(c.BOMRef, "#") // behind it: the platform of a part
				searched[name] += 0
			}
		}
	}
	for _, d := range deref(bom.Dependencies) {
		name, _, _ := strings.Cut(d.Ref, "#")
		if _, is := searched[name]; !is {
			continue
		}
		for _, on := range deref(d.Dependencies) {
			if library[on] {
				searched[name]++
			}
		}
	}
	s.Packages, s.Types, s.Licences = len(library), ranked(types), ranked(licences)
	s.Licences = s.Licences[:min(len(s.Licences), most)]
	return searched, nil
}

func deref[T any](list *[]T) []T {
	if list == nil {
		return nil
	}
	return *list
}

func propertyOf(c cdx.Component, name string) string {
	for _, p := range deref(c.Properties) {
		if p.Name == name {
			return p.Value
		}
	}
	return ""
}

func licencesOf(c cdx.Component) []string {
	if c.Licenses == nil {
		return []string{"none told"}
	}
	var out []string
	for _, l := range *c.Licenses {
		name := l.Expression
		if l.License != nil {
			name = cmp.Or(l.License.ID, l.License.Name)
		}
		if name != "" && !slices.Contains(out, name) {
			out = append(out, name)
		}
	}
	return out
}

// ranked lists what was counted, the most frequent first.
func ranked(of map[string]int) []counted {
	var out []counted
	for _, what := range slices.Sorted(maps.Keys(of)) {
		out = append(out, counted{what, of[what]})
	}
	slices.SortStableFunc(out, func(a, b counted) int { return cmp.Compare(b.N, a.N) })
	return out
}
