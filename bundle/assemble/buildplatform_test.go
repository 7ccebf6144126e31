package assemble

import (
	"runtime"
	"slices"
	"strings"
	"testing"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/sealbuild/sealbuild/bundle/assemble/store"
	"github.com/sealbuild/sealbuild/bundle/assemble/store/storetest"
	"github.com/sealbuild/sealbuild/test/upstreamtest"
)

// elsewhere is a platform that is not this machine's.
func elsewhere() v1.Platform {
	if runtime.GOARCH == arm64.Architecture {
		return amd64
	}
	return arm64
}

// Tools run where the build runs; what they make is for another platform.
func TestStageOfTheBuildsOwnPlatformIsTakenWhereTheKubefileSaysSo(t *testing.T) {
	u := upstreamtest.New(t)
	var children []v1.Descriptor
	for _, p := range []v1.Platform{amd64, arm64} {
		children = append(children, u.PushImage(t, "tools", "", p, storetest.Layer(t, map[string][]byte{"made-on": []byte("on " + p.Architecture)})))
	}
	u.PushIndex(t, "tools", "v1", children...)
	u.PushImage(t, "tools", "only", here(), storetest.Layer(t, map[string][]byte{"made-on": []byte("on " + runtime.GOARCH)}))
	u.PushIndex(t, "tools", "index-of-one", children[slices.IndexFunc([]v1.Platform{amd64, arm64}, func(p v1.Platform) bool { return p.Architecture == runtime.GOARCH })])
	for tag, platforms := range map[string][]v1.Platform{"v1": {amd64, arm64}, "only": {elsewhere()}, "index-of-one": {elsewhere()}} {
		t.Run(tag, func(t *testing.T) {
			b, _ := connected(t, u)
			rec := mustBuild(t, b, BuildRequest{Name: "x:1", Platforms: platforms, Context: storetest.Files(t, map[string][]byte{
				"Kubefile": []byte("FROM --platform=$BUILDPLATFORM " + u.Ref("tools:"+tag) + " AS tools\nFROM scratch\nCOPY --from=tools /made-on /made-on\n"),
			})})
			for _, p := range platforms {
				built := store.Pinned{Digest: rec.Manifest.Digest, MediaType: rec.Manifest.MediaType}
				if layer := storetest.FirstLayer(t, b.Store, built, p); !strings.Contains(layer, "on "+runtime.GOARCH) {
					t.Errorf("the image for %s was made of tools for another machine than this one", p.Architecture)
				}
			}
		})
	}
}

func TestStageOfTheBuildsOwnPlatformMayLieInTheStoreOnly(t *testing.T) {
	b, _ := newBuilder(t)
	tools := map[string][]byte{"Kubefile": []byte("FROM scratch\nCOPY made-on /made-on\n"), "made-on": []byte("on " + runtime.GOARCH)}
	mustBuild(t, b, BuildRequest{Name: "tools:1", Context: storetest.Files(t, tools)})
	other := elsewhere()
	rec := mustBuild(t, b, BuildRequest{Name: "x:1", Platforms: []v1.Platform{other}, Context: storetest.Files(t, map[string][]byte{
		"Kubefile": []byte("FROM --platform=$BUILDPLATFORM tools:1 AS tools\nFROM scratch\nCOPY --from=tools /made-on /made-on\n"),
	})})
	built := store.Pinned{Digest: rec.Manifest.Digest, MediaType: rec.Manifest.MediaType}
	if layer := storetest.FirstLayer(t, b.Store, built, other); !strings.Contains(layer, "on "+runtime.GOARCH) {
		t.Error("the file of this machine's tools is not there")
	}
}

func TestOneImageOfTwoPlatformsInAKubefile(t *testing.T) {
	u := upstreamtest.New(t)
	b, _ := connected(t, u)
	var each []v1.Descriptor
	for _, p := range []v1.Platform{amd64, arm64} {
		each = append(each, u.PushImage(t, "multi", "", p, gzipLayer(t, file{"of", p.Architecture})))
	}
	u.PushIndex(t, "multi", "v1", each...)
	for text, want := range map[string]string{
		"FROM --platform=linux/arm64 @ AS tools\nFROM @\nCOPY --from=tools of /tools\n": "arm64",
		"FROM @ AS tools\nFROM --platform=linux/arm64 @\nCOPY --from=tools of /tools\n": "amd64",
	} {
		rec := mustBuild(t, b, BuildRequest{Name: "a:1", Platforms: []v1.Platform{amd64}, Context: storetest.Files(t, map[string][]byte{
			"Kubefile": []byte(strings.ReplaceAll(text, "@", u.Ref("multi:v1"))),
		})})
		if got := textOf(t, b.Store, rec, "tools"); got != want {
			t.Errorf("%s: the tools are of %q, want %s", text, got, want)
		}
	}
}
