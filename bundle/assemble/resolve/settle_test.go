package resolve

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/sealbuild/sealbuild/bundle/assemble/report"
	"github.com/sealbuild/sealbuild/bundle/assemble/scan"
	"github.com/sealbuild/sealbuild/bundle/assemble/search"
	"github.com/sealbuild/sealbuild/bundle/assemble/store"
	"github.com/sealbuild/sealbuild/bundle/assemble/store/storetest"
)

// TestEachPlatformKeepsItsRegistry bundles what sealos makes for two
// platforms: two registry directories in which one name means two images.
func TestAPinThatNoHostCanPullIsRefused(t *testing.T) {
	st := storetest.New(t)
	pin := "registry.example/app:v1@sha512:" + strings.Repeat("0", 128)
	place := scan.Place{File: "manifests/app.yaml", Line: 7}
	looks := []search.Look{{Found: &scan.Result{Images: []scan.Found{{Ref: pin, Certainty: scan.Certain, Place: place}}}}}
	_, early := Resolver{Store: st, Report: report.Silent{}}.Gather(t.Context(), looks)
	_, late := Settle(st, []Claim{{Pinned: store.Pinned{Found: store.Found{Ref: pin, File: place.File, Line: place.Line}}}})
	for _, err := range []error{early, late} {
		if err == nil || !strings.Contains(err.Error(), "manifests/app.yaml:7: "+pin+": no host can pull it") {
			t.Errorf("%v", err)
		}
	}
}

func TestLaterClusterImageDecidesForItsPlatforms(t *testing.T) {
	st := storetest.New(t)
	image := func(arch, text string) store.Pinned {
		root := storetest.AddImageFor(t, st, arch, text)
		return store.Pinned{
			Found: store.Found{Ref: "example.com/app:v1"}, Digest: root.Digest, MediaType: root.MediaType, Platforms: []string{"linux/" + arch},
		}
	}
	both := []v1.Platform{{OS: "linux", Architecture: "amd64"}, {OS: "linux", Architecture: "arm64"}}
	index, err := Settle(st, append(Claims([]store.Pinned{image("amd64", "old amd64")}, both, 0), Claims([]store.Pinned{image("arm64", "old arm64")}, both, 0)...))
	if err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		later store.Pinned
		want  []string // what amd64 and arm64 get
	}{
		"one of them":            {image("arm64", "new arm64"), []string{"old amd64", "new arm64"}},
		"the same":               {index[0], []string{"old amd64", "old arm64"}},
		"one that neither is of": {image("s390x", "foreign"), nil},
	} {
		t.Run(name, func(t *testing.T) {
			settled, err := Settle(st, append(Claims(index, both, 2), Claims([]store.Pinned{tc.later}, both, 1)...))
			if err != nil {
				t.Fatal(err)
			}
			if len(settled) != 1 {
				t.Fatalf("%d images, want one", len(settled))
			}
			if tc.want == nil {
				if settled[0].Digest != tc.later.Digest {
					t.Errorf("got %s, want the later, %s", settled[0].Digest, tc.later.Digest)
				}
				return
			}
			var got []string
			for _, p := range both {
				got = append(got, storetest.FirstLayer(t, st, settled[0], p))
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("hosts get (-want +got):\n%s", diff)
			}
		})
	}
}
