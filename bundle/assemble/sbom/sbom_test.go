package sbom

import (
	"bytes"
	"slices"
	"strings"
	"testing"
	"time"

	cdx "github.com/CycloneDX/cyclonedx-go"
	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
)

func images() []Image {
	return []Image{
		{Name: "docker.io/library/app:v1", Digest: digest.FromString("app"), MediaType: "application/vnd.oci.image.manifest.v1+json", Platforms: []string{"linux/amd64"}, Kind: "cluster", Type: "application"},
		{
			Name: "registry.k8s.io/pause:3.10", Digest: digest.FromString("pause"), Platforms: []string{"linux/arm64/v8"}, Kind: "image",
			NeededBy: []string{"docker.io/library/app:v1", "docker.io/library/app:v1"},
			Labels: map[string]string{
				"org.opencontainers.image.licenses": "Apache-2.0", "org.opencontainers.image.source": "https://github.com/kubernetes/kubernetes",
				"org.opencontainers.image.version": "not the tag", "org.opencontainers.image.vendor": "CNCF",
			},
		},
		{Name: "quay.io/Some/thing@" + digest.FromString("thing").String(), Digest: digest.FromString("thing"), Kind: "image"},
	}
}

func TestBillNamesEveryImageAndWhoNeedsIt(t *testing.T) {
	all := images()
	all[2].Name = strings.ToLower(all[2].Name)
	text, err := CycloneDX(all, time.Unix(1700000000, 0))
	if err != nil {
		t.Fatal(err)
	}
	var bom cdx.BOM
	if err := cdx.NewBOMDecoder(bytes.NewReader(text), cdx.BOMFileFormatJSON).Decode(&bom); err != nil {
		t.Fatal(err)
	}
	var urls []string
	for _, c := range *bom.Components {
		urls = append(urls, c.PackageURL)
	}
	want := []string{
		"pkg:oci/app@" + escaped("app") + "?arch=amd64&repository_url=docker.io%2Flibrary%2Fapp&tag=v1",
		"pkg:oci/pause@" + escaped("pause") + "?arch=arm64v8&repository_url=registry.k8s.io%2Fpause&tag=3.10",
		"pkg:oci/thing@" + escaped("thing") + "?repository_url=quay.io%2Fsome%2Fthing",
	}
	if diff := cmp.Diff(want, urls); diff != "" {
		t.Error(diff)
	}
	pause := (*bom.Components)[1]
	if pause.Version != "3.10" || pause.Supplier.Name != "CNCF" || (*pause.Licenses)[0].Expression != "Apache-2.0" || (*pause.ExternalReferences)[0].URL != "https://github.com/kubernetes/kubernetes" {
		t.Errorf("%+v", pause)
	}
	needs := map[string][]string{}
	for _, d := range *bom.Dependencies {
		needs[d.Ref] = nil
		if d.Dependencies != nil {
			needs[d.Ref] = *d.Dependencies
		}
	}
	if diff := cmp.Diff(map[string][]string{
		"bundle": {all[0].Name, all[2].Name}, all[0].Name: {all[1].Name}, all[1].Name: nil, all[2].Name: nil,
	}, needs, cmp.Transformer("empty", func(s []string) []string { return append([]string{}, s...) })); diff != "" {
		t.Error(diff)
	}
	if bom.Metadata.Timestamp != "2023-11-14T22:13:20Z" || !strings.HasPrefix(bom.SerialNumber, "urn:uuid:") {
		t.Errorf("%s %s", bom.Metadata.Timestamp, bom.SerialNumber)
	}
}

func escaped(of string) string {
	return strings.ReplaceAll(digest.FromString(of).String(), ":", "%3A")
}

func TestSameImagesGiveTheSameBill(t *testing.T) {
	all := images()[:2]
	a, err := CycloneDX(all, time.Unix(0, 0))
	if err != nil {
		t.Fatal(err)
	}
	for range 5 {
		if b, err := CycloneDX(slices.Clone(all), time.Unix(0, 0)); err != nil || !bytes.Equal(a, b) {
			t.Fatalf("another bill, %v", err)
		}
	}
	all[1].Digest = digest.FromString("other")
	if b, err := CycloneDX(all, time.Unix(0, 0)); err != nil || bytes.Equal(a, b) {
		t.Errorf("the same bill of other images, %v", err)
	}
}
