package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/anchore/syft/syft"
	"github.com/anchore/syft/syft/cataloging"
	"github.com/anchore/syft/syft/cataloging/pkgcataloging"
	"github.com/anchore/syft/syft/pkg"
	"github.com/anchore/syft/syft/pkg/cataloger/golang"
	"github.com/anchore/syft/syft/pkg/cataloger/java"

	_ "modernc.org/sqlite" // the database of rpm
)

// format is raised when the same image gives another answer, or the answer reads otherwise. sealbuild keeps answers by it.
const format = 1

// maxPaths is how many places of one package are told.
const maxPaths = 16

// Found is the answer. bundle/assemble/sbom reads it.
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

// Distro is the distribution whose files the image holds.
type Distro struct {
	ID      string `json:"id"`
	Version string `json:"version,omitempty"`
	Name    string `json:"name,omitempty"`
}

// Package is one package, wherever in the image it lies.
type Package struct {
	Type     string    `json:"type"`
	Name     string    `json:"name"`
	Version  string    `json:"version,omitempty"`
	PURL     string    `json:"purl,omitempty"`
	Licenses []License `json:"licenses,omitempty"`
	Paths    []string  `json:"paths,omitempty"`
}

// License is what a package says of its licence; SPDX is its reading as an expression of SPDX, where it has one.
type License struct {
	Value string `json:"value,omitempty"`
	SPDX  string `json:"spdx,omitempty"`
}

func version() string { return fmt.Sprintf("sealsbom %d, syft %s", format, libraryVersion()) }

// libraryVersion is that of the module which searches.
func libraryVersion() string {
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, d := range info.Deps {
			if d.Path == "github.com/anchore/syft" {
				return d.Version
			}
		}
	}
	return "unknown"
}

// search lists the packages of the image that a layout holds.
func search(ctx context.Context, layout string) (found Found, err error) {
	src, err := syft.GetSource(ctx, layout, syft.DefaultGetSourceConfig().WithSources("oci-dir"))
	if err != nil {
		return found, fmt.Errorf("open the image: %w", err)
	}
	defer func() { err = errors.Join(err, src.Close()) }()
	bill, err := syft.CreateSBOM(ctx, src, searching())
	if err != nil {
		return found, fmt.Errorf("search the image: %w", err)
	}
	if err := ctx.Err(); err != nil {
		return found, err
	}
	found = Found{Format: format, Tool: Tool{"syft", libraryVersion()}, Packages: packages(bill.Artifacts.Packages.Sorted())}
	if d := bill.Artifacts.LinuxDistribution; d != nil && d.ID != "" {
		found.Distro = &Distro{ID: d.ID, Version: d.VersionID, Name: d.PrettyName}
	}
	return found, nil
}

// searching is how: what the library finds in images when nobody asks for more, one kind of package after the other, and nothing
// that lies outside of the image.
func searching() *syft.CreateSBOMConfig {
	goModules := golang.DefaultCatalogerConfig().
		WithSearchLocalModCacheLicenses(false).WithSearchLocalVendorLicenses(false).WithSearchRemoteLicenses(false).WithUsePackagesLib(false)
	archives := java.DefaultArchiveCatalogerConfig().WithUseNetwork(false).WithUseMavenLocalRepository(false)
	return syft.DefaultCreateSBOMConfig().
		WithParallelism(1).
		WithoutFiles().
		WithDataGenerationConfig(cataloging.DefaultDataGenerationConfig().WithGenerateCPEs(false)).
		WithPackagesConfig(pkgcataloging.DefaultConfig().WithGolangConfig(goModules).WithJavaArchiveConfig(archives))
}

// packages puts what differs in its places only together, and everything in an order that depends on the image alone.
func packages(all []pkg.Package) []Package {
	list := make([]Package, 0, len(all))
	for _, p := range all {
		one := Package{Type: string(p.Type), Name: p.Name, Version: p.Version, PURL: p.PURL}
		for _, l := range p.Licenses.ToSlice() {
			one.Licenses = append(one.Licenses, License{Value: l.Value, SPDX: l.SPDXExpression})
		}
		slices.SortFunc(one.Licenses, func(a, b License) int { return cmp.Or(cmp.Compare(a.SPDX, b.SPDX), cmp.Compare(a.Value, b.Value)) })
		one.Licenses = slices.Compact(one.Licenses)
		for _, at := range p.Locations.ToSlice() {
			one.Paths = append(one.Paths, at.RealPath)
		}
		list = append(list, one)
	}
	slices.SortFunc(list, compare)
	merged := list[:0]
	for _, p := range list {
		if n := len(merged); n > 0 && compare(merged[n-1], p) == 0 {
			merged[n-1].Paths = append(merged[n-1].Paths, p.Paths...)
			continue
		}
		merged = append(merged, p)
	}
	for i := range merged {
		slices.Sort(merged[i].Paths)
		merged[i].Paths = slices.Compact(merged[i].Paths)
		merged[i].Paths = merged[i].Paths[:min(len(merged[i].Paths), maxPaths)]
	}
	return merged
}

// compare orders packages by all but their places.
func compare(a, b Package) int {
	return cmp.Or(
		strings.Compare(a.Type, b.Type), strings.Compare(a.Name, b.Name), strings.Compare(a.Version, b.Version), strings.Compare(a.PURL, b.PURL),
		slices.CompareFunc(a.Licenses, b.Licenses, func(a, b License) int { return cmp.Or(cmp.Compare(a.SPDX, b.SPDX), cmp.Compare(a.Value, b.Value)) }),
	)
}
