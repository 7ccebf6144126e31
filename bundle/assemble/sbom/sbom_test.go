package sbom

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	cdx "github.com/CycloneDX/cyclonedx-go"
	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
)

var (
	bash = Package{
		Type: "deb", Name: "bash", Version: "5.2-1", PURL: "pkg:deb/debian/bash@5.2-1?arch=amd64&distro=debian-12",
		Licenses: []License{{Value: "GPL-3+", SPDX: "GPL-3.0-or-later"}, {Value: "BSD style"}}, Paths: []string{"/var/lib/dpkg/status"},
	}
	stdlib = Package{Type: "go-module", Name: "stdlib", Version: "go1.26.8", PURL: "pkg:golang/stdlib@1.26.8", Licenses: []License{{Value: "BSD-3-Clause", SPDX: "BSD-3-Clause"}}}
)

// bill is a bundle with a cluster image, an image that has one platform and was searched, one of two platforms of which one was
// searched, and one that nobody needs.
func bill() Bill {
	syft := Tool{Name: "syft", Version: "v1.57.1"}
	distro := &Distro{ID: "debian", Version: "12", Name: "Debian GNU/Linux 12 (bookworm)"}
	inShell := stdlib
	inShell.Paths = []string{"/bin/tool"}
	return Bill{
		Name: "docker.io/library/app:v1", Made: time.Unix(1700000000, 0),
		Images: []Image{
			{
				Name: "docker.io/library/app:v1", Digest: digest.FromString("app"), MediaType: "application/vnd.oci.image.manifest.v1+json",
				Platforms: []string{"linux/amd64"}, Kind: "cluster", Type: "application",
				Bases: []Base{{Name: "alpine:3.22", Digest: digest.FromString("alpine")}, {Name: "not a/reference!"}, {Name: "docker.io/library/unpinned:1"}},
				Parts: []Part{{Platform: "linux/amd64", Digest: digest.FromString("app"), Found: &Found{Tool: syft}}},
			},
			{
				Name: "registry.k8s.io/pause:3.10", Digest: digest.FromString("pause"), Platforms: []string{"linux/arm64/v8"}, Kind: "image",
				NeededBy: []string{"docker.io/library/app:v1", "docker.io/library/app:v1"},
				Labels: map[string]string{
					"org.opencontainers.image.licenses": "apache-2.0", "org.opencontainers.image.source": "https://github.com/kubernetes/kubernetes",
					"org.opencontainers.image.version": "not the tag", "org.opencontainers.image.vendor": "CNCF", "org.opencontainers.image.url": "not a URL",
				},
				Parts: []Part{{Platform: "linux/arm64/v8", Digest: digest.FromString("pause"), Found: &Found{Tool: syft, Packages: []Package{stdlib}}}},
			},
			{
				Name: "docker.io/library/shell:1", Digest: digest.FromString("index"), Platforms: []string{"linux/amd64", "linux/arm64"}, Kind: "image",
				NeededBy: []string{"docker.io/library/app:v1"},
				Parts: []Part{
					{Platform: "linux/amd64", Digest: digest.FromString("one"), Found: &Found{Tool: syft, Distro: distro, Packages: []Package{bash, inShell}}},
					{Platform: "linux/arm64", Digest: digest.FromString("two")},
				},
			},
			{Name: "quay.io/some/thing@" + digest.FromString("thing").String(), Digest: digest.FromString("thing"), Kind: "image"},
		},
		Installers: []Installer{{"linux/amd64", digest.FromString("stub")}, {"linux/arm64", digest.FromString("stub for arm")}},
	}
}

func readCycloneDX(t *testing.T, b Bill) cdx.BOM {
	t.Helper()
	text, err := b.CycloneDX()
	if err != nil {
		t.Fatal(err)
	}
	var bom cdx.BOM
	if err := cdx.NewBOMDecoder(bytes.NewReader(text), cdx.BOMFileFormatJSON).Decode(&bom); err != nil {
		t.Fatal(err)
	}
	return bom
}

func readSPDX(t *testing.T, b Bill) spdxDocument {
	t.Helper()
	text, err := b.SPDX()
	if err != nil {
		t.Fatal(err)
	}
	var doc spdxDocument
	if err := json.Unmarshal(text, &doc); err != nil {
		t.Fatal(err)
	}
	return doc
}

func escaped(of string) string {
	return strings.ReplaceAll(digest.FromString(of).String(), ":", "%3A")
}

func TestBillNamesImagesPlatformsBasesInstallersAndPackages(t *testing.T) {
	bom := readCycloneDX(t, bill())
	var got []string
	for _, c := range *bom.Components {
		got = append(got, strings.Join([]string{string(c.Type), c.Name, c.Version, c.PackageURL}, " "))
	}
	sha := func(of string) string { return digest.FromString(of).String() }
	want := []string{
		"container docker.io/library/app v1 pkg:oci/app@" + escaped("app") + "?arch=amd64&repository_url=docker.io%2Flibrary%2Fapp&tag=v1",
		"container docker.io/library/alpine 3.22 pkg:oci/alpine@" + escaped("alpine") + "?repository_url=docker.io%2Flibrary%2Falpine&tag=3.22",
		"container docker.io/library/unpinned 1 pkg:oci/unpinned?repository_url=docker.io%2Flibrary%2Funpinned&tag=1",
		"container registry.k8s.io/pause 3.10 pkg:oci/pause@" + escaped("pause") + "?arch=arm64v8&repository_url=registry.k8s.io%2Fpause&tag=3.10",
		"library stdlib go1.26.8 pkg:golang/stdlib@1.26.8",
		"container docker.io/library/shell 1 pkg:oci/shell@" + escaped("index") + "?repository_url=docker.io%2Flibrary%2Fshell&tag=1",
		"container docker.io/library/shell " + sha("one") + " pkg:oci/shell@" + escaped("one") + "?arch=amd64&repository_url=docker.io%2Flibrary%2Fshell&tag=1",
		"operating-system debian 12 ",
		"library bash 5.2-1 pkg:deb/debian/bash@5.2-1?arch=amd64&distro=debian-12",
		"container docker.io/library/shell " + sha("two") + " pkg:oci/shell@" + escaped("two") + "?arch=arm64&repository_url=docker.io%2Flibrary%2Fshell&tag=1",
		"container quay.io/some/thing " + sha("thing") + " pkg:oci/thing@" + escaped("thing") + "?repository_url=quay.io%2Fsome%2Fthing",
		"application sealinstall " + sha("stub") + " ",
		"application sealinstall " + sha("stub for arm") + " ",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("components (-want +got):\n%s", diff)
	}
	if bom.Metadata.Timestamp != "2023-11-14T22:13:20Z" || !strings.HasPrefix(bom.SerialNumber, "urn:uuid:") {
		t.Errorf("made %s, number %s", bom.Metadata.Timestamp, bom.SerialNumber)
	}
}

func TestLicencesLinksAndMakersOfImagesAreTold(t *testing.T) {
	i := slices.IndexFunc(*readCycloneDX(t, bill()).Components, func(c cdx.Component) bool { return c.Name == "registry.k8s.io/pause" })
	pause := (*readCycloneDX(t, bill()).Components)[i]
	if diff := cmp.Diff(&cdx.Licenses{{License: &cdx.License{ID: "Apache-2.0"}}}, pause.Licenses); diff != "" {
		t.Errorf("licences (-want +got):\n%s", diff)
	}
	links := []cdx.ExternalReference{{Type: cdx.ERTypeVCS, URL: "https://github.com/kubernetes/kubernetes"}}
	if diff := cmp.Diff(&links, pause.ExternalReferences); diff != "" || pause.Supplier.Name != "CNCF" {
		t.Errorf("of %s, links (-want +got):\n%s", pause.Supplier.Name, diff)
	}
}

// hanging is what hangs on each element, by name.
func hanging(bom cdx.BOM) map[string][]string {
	names := map[string]string{root: root}
	for _, c := range *bom.Components {
		names[c.BOMRef] = c.Name + " " + c.Version
		if len(c.Version) == len("sha256:")+64 {
			names[c.BOMRef] = c.Name + " " + c.Version[:12]
		}
	}
	on := map[string][]string{}
	for _, d := range *bom.Dependencies {
		on[names[d.Ref]] = []string{}
		if d.Dependencies != nil {
			for _, ref := range *d.Dependencies {
				on[names[d.Ref]] = append(on[names[d.Ref]], names[ref])
			}
		}
		slices.Sort(on[names[d.Ref]])
	}
	return on
}

func TestBillTellsWhatHangsOnWhat(t *testing.T) {
	named := func(name, of string) string { return name + " " + digest.FromString(of).String()[:12] }
	app, pause, shell := "docker.io/library/app v1", "registry.k8s.io/pause 3.10", "docker.io/library/shell 1"
	one, two := named("docker.io/library/shell", "one"), named("docker.io/library/shell", "two")
	thing := named("quay.io/some/thing", "thing")
	want := map[string][]string{
		root:  {app, thing, named("sealinstall", "stub"), named("sealinstall", "stub for arm")},
		app:   {"docker.io/library/alpine 3.22", shell, "docker.io/library/unpinned 1", pause},
		pause: {"stdlib go1.26.8"},
		shell: {one, two},
		one:   {"bash 5.2-1", "debian 12", "stdlib go1.26.8"},
		two:   {}, thing: {}, "docker.io/library/alpine 3.22": {}, "docker.io/library/unpinned 1": {},
	}
	for _, refs := range want {
		slices.Sort(refs)
	}
	if diff := cmp.Diff(want, hanging(readCycloneDX(t, bill()))); diff != "" {
		t.Errorf("in CycloneDX (-want +got):\n%s", diff)
	}
}

// Both formats hold the same elements and hang them together alike.
func TestBothFormatsSayTheSame(t *testing.T) {
	bom, doc := readCycloneDX(t, bill()), readSPDX(t, bill())
	inOne, inOther := map[string]string{spdxID(root): root}, map[string]string{}
	for _, c := range *bom.Components {
		inOne[spdxID(c.BOMRef)] = strings.TrimSpace(c.Name + " " + c.Version)
	}
	inOne[spdxID(root)] = bill().Name
	for _, p := range doc.Packages {
		inOther[p.ID] = strings.TrimSpace(p.Name + " " + p.Version)
	}
	if diff := cmp.Diff(inOne, inOther); diff != "" {
		t.Errorf("elements (-CycloneDX +SPDX):\n%s", diff)
	}
	hangs, hangsThere := map[string]bool{spdxDocumentID + " " + spdxID(root): true}, map[string]bool{}
	for _, d := range *bom.Dependencies {
		if d.Dependencies != nil {
			for _, ref := range *d.Dependencies {
				hangs[spdxID(d.Ref)+" "+spdxID(ref)] = true
			}
		}
	}
	for _, r := range doc.Relationships {
		hangsThere[r.From+" "+r.To] = true
	}
	if diff := cmp.Diff(hangs, hangsThere); diff != "" {
		t.Errorf("relations (-CycloneDX +SPDX):\n%s", diff)
	}
}

func TestLicencesAreWrittenAsEachFormatTakesThem(t *testing.T) {
	for name, c := range map[string]struct {
		said      []License
		cyclonedx *cdx.Licenses
		spdx      string // LicenseRefs without their sums
	}{
		"none":          {nil, nil, "NOASSERTION"},
		"an identifier": {[]License{{Value: "MIT"}}, &cdx.Licenses{{License: &cdx.License{ID: "MIT"}}}, "MIT"},
		"two":           {[]License{{Value: "MIT"}, {Value: "ISC OR Zlib"}}, &cdx.Licenses{{Expression: "(ISC OR Zlib) AND MIT"}}, "(ISC OR Zlib) AND MIT"},
		"one that CycloneDX does not know": {
			[]License{{Value: "3D-Slicer-1.0"}}, &cdx.Licenses{{Expression: "3D-Slicer-1.0"}}, "3D-Slicer-1.0",
		},
		"a name": {[]License{{Value: "BSD style (old)"}}, &cdx.Licenses{{License: &cdx.License{Name: "BSD style (old)"}}}, "LicenseRef-BSD-style--old"},
		"all kinds": {
			[]License{{Value: "public domain"}, {Value: "MIT"}, {Value: "GPL-2 or later", SPDX: "GPL-2.0-or-later OR MIT"}},
			&cdx.Licenses{{License: &cdx.License{Name: "GPL-2.0-or-later OR MIT"}}, {License: &cdx.License{ID: "MIT"}}, {License: &cdx.License{Name: "public domain"}}},
			"(GPL-2.0-or-later OR MIT) AND MIT AND LicenseRef-public-domain",
		},
	} {
		terms := readTerms(c.said)
		if diff := cmp.Diff(c.cyclonedx, licenseChoices(terms)); diff != "" {
			t.Errorf("%s, CycloneDX (-want +got):\n%s", name, diff)
		}
		extracted := map[string]spdxLicense{}
		got := declared(terms, extracted)
		for id, l := range extracted {
			if l.Text == "" || l.ID != id || !strings.Contains(got, id) {
				t.Errorf("%s: %+v is told of, the expression is %s", name, l, got)
			}
			got = strings.ReplaceAll(got, id, id[:strings.LastIndexByte(id, '-')])
		}
		if got != c.spdx {
			t.Errorf("%s: SPDX has %s, want %s", name, got, c.spdx)
		}
	}
}

func TestWhatWasNotSearchedIsSaidNotToBe(t *testing.T) {
	got := map[string]string{}
	for _, c := range *readCycloneDX(t, bill()).Components {
		if c.Properties == nil {
			continue
		}
		for _, p := range *c.Properties {
			if p.Name == "sealbuild:packages" {
				got[c.BOMRef] = p.Value
			}
		}
	}
	want := map[string]string{
		"docker.io/library/app:v1": "searched", "registry.k8s.io/pause:3.10": "searched",
		"docker.io/library/shell:1#linux/amd64": "searched", "docker.io/library/shell:1#linux/arm64": "not searched",
		"quay.io/some/thing@" + digest.FromString("thing").String(): "not searched",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("searched (-want +got):\n%s", diff)
	}
}

func TestPackagesThatAreTooManyAreLeftOutAndThatIsSaid(t *testing.T) {
	full, _, short, err := bill().Within(1 << 20)
	if err != nil || short {
		t.Fatalf("a small bill is short: %t, %v", short, err)
	}
	less, spdx, short, err := bill().Within(len(full) - 1)
	if err != nil || !short {
		t.Fatalf("a large bill is short: %t, %v", short, err)
	}
	for name, text := range map[string][]byte{"CycloneDX": less, "SPDX": spdx} {
		if bytes.Contains(text, []byte("pkg:deb/debian/bash")) || !bytes.Contains(text, []byte("left out")) || !bytes.Contains(text, []byte("bookworm")) {
			t.Errorf("%s is %s", name, text)
		}
	}
	conform(t, schema(t, cyclonedxSchema), less)
	conform(t, schema(t, spdxSchema), spdx)
}

func TestPlacesOfPackagesAreToldWhereWanted(t *testing.T) {
	for _, wanted := range []bool{false, true} {
		b := bill()
		b.Places = wanted
		places := map[string]bool{}
		for _, c := range *readCycloneDX(t, b).Components {
			if c.Evidence != nil {
				for _, o := range *c.Evidence.Occurrences {
					places[o.Location] = true
				}
			}
		}
		for _, p := range readSPDX(t, b).Packages {
			if p.Source != "" && !places[strings.TrimPrefix(p.Source, "found in ")] {
				t.Errorf("%s is %s, and not in CycloneDX", p.Name, p.Source)
			}
		}
		if want := map[bool]int{false: 0, true: 2}[wanted]; len(places) != want {
			t.Errorf("wanted %t: places %v", wanted, slices.Sorted(maps.Keys(places)))
		}
	}
}

func TestSameImagesGiveTheSameBills(t *testing.T) {
	write := func(b Bill) string {
		one, err := b.CycloneDX()
		if err != nil {
			t.Fatal(err)
		}
		other, err := b.SPDX()
		if err != nil {
			t.Fatal(err)
		}
		return string(one) + string(other)
	}
	first := write(bill())
	for range 5 {
		if write(bill()) != first {
			t.Fatal("another bill of the same images")
		}
	}
	other := bill()
	other.Images[1].Digest = digest.FromString("other")
	if write(other) == first {
		t.Error("the same bill of other images")
	}
}
