package main

import (
	"bytes"
	"cmp"
	"debug/buildinfo"
	"fmt"
	"maps"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	cdx "github.com/CycloneDX/cyclonedx-go"
)

// bill lists the modules that each program was linked of, as the programs themselves say: CycloneDX 1.6, as bundles have it.
func (r release) bill() ([]byte, error) {
	modules, on := map[string]cdx.Component{}, []cdx.Dependency{}
	var components []cdx.Component
	var all []string
	for _, program := range slices.Sorted(maps.Keys(released())) {
		for _, arch := range architectures {
			file := r.program(program, arch)
			info, err := buildinfo.ReadFile(file)
			if err != nil {
				return nil, fmt.Errorf("bill of materials: %w", err)
			}
			sum, err := sumOf(file)
			if err != nil {
				return nil, err
			}
			c := cdx.Component{
				BOMRef: filepath.Base(file), Type: cdx.ComponentTypeApplication, Name: filepath.Base(file), Version: r.version,
				Hashes: &[]cdx.Hash{{Algorithm: cdx.HashAlgoSHA256, Value: sum}},
			}
			components, all = append(components, c), append(all, c.BOMRef)
			var refs []string
			for _, m := range linked(info) {
				modules[m.BOMRef] = m
				refs = append(refs, m.BOMRef)
			}
			on = append(on, cdx.Dependency{Ref: c.BOMRef, Dependencies: &refs})
		}
	}
	for _, ref := range slices.Sorted(maps.Keys(modules)) {
		components = append(components, modules[ref])
	}
	top := "sealbuild@" + r.version
	on = append(on, cdx.Dependency{Ref: top, Dependencies: &all})
	slices.SortFunc(on, func(a, b cdx.Dependency) int { return cmp.Compare(a.Ref, b.Ref) })
	bom := cdx.NewBOM()
	bom.SpecVersion = cdx.SpecVersion1_6
	bom.Metadata = &cdx.Metadata{
		Timestamp:  r.made.Format(time.RFC3339),
		Component:  &cdx.Component{BOMRef: top, Type: cdx.ComponentTypeApplication, Name: "sealbuild", Version: r.version, Licenses: apache()},
		Properties: &[]cdx.Property{{Name: "io.sealbuild.commit", Value: r.commit}},
	}
	bom.Components, bom.Dependencies = &components, &on
	var b bytes.Buffer
	if err := cdx.NewBOMEncoder(&b, cdx.BOMFileFormatJSON).SetPretty(true).EncodeVersion(bom, bom.SpecVersion); err != nil {
		return nil, fmt.Errorf("bill of materials: %w", err)
	}
	return b.Bytes(), nil
}

func apache() *cdx.Licenses {
	return &cdx.Licenses{{License: &cdx.License{ID: "Apache-2.0"}}}
}

// linked are the modules in a program, Go's own library among them.
func linked(info *debug.BuildInfo) []cdx.Component {
	all := []cdx.Component{library("stdlib", strings.TrimPrefix(info.GoVersion, "go"))}
	for _, m := range others(info) {
		all = append(all, library(m.Path, m.Version))
	}
	return all
}

// others are the modules of others in a program. One that a directory of this checkout replaces (./DIR) is ours.
func others(info *debug.BuildInfo) []*debug.Module {
	var all []*debug.Module
	for _, m := range info.Deps {
		if m.Replace != nil {
			m = m.Replace
		}
		if !strings.HasPrefix(m.Path, ".") {
			all = append(all, m)
		}
	}
	return all
}

func library(path, version string) cdx.Component {
	purl := "pkg:golang/" + path + "@" + strings.ReplaceAll(version, "+", "%2B")
	return cdx.Component{BOMRef: purl, Type: cdx.ComponentTypeLibrary, Name: path, Version: version, PackageURL: purl}
}
