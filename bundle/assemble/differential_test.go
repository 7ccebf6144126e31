package assemble

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/sealbuild/sealbuild/bundle"
	"github.com/sealbuild/sealbuild/bundle/assemble/sbom"
	"github.com/sealbuild/sealbuild/bundle/assemble/store/storetest"
	"github.com/sealbuild/sealbuild/bundle/assemble/write"
	"github.com/sealbuild/sealbuild/test/upstreamtest"
)

// TestADifferentialBundleCarriesWhatChangedAndLittleMore makes the next version of a cluster with one image changed, one new, and
// the rest as it was. Cluster images travel whole: the installer reads them itself.
func TestADifferentialBundleCarriesWhatChangedAndLittleMore(t *testing.T) {
	u := upstreamtest.New(t)
	for _, image := range [][2]string{{"same", "v1"}, {"changed", "v1"}, {"changed", "v2"}, {"new", "v1"}} {
		u.PushImage(t, image[0], image[1], here(), upstreamtest.Layer("base", 300_000), upstreamtest.Layer(image[0]+image[1], 400_000))
	}
	b, _ := connected(t, u)
	build := func(name, binary, list string) {
		mustBuild(t, b, BuildRequest{Name: name, Context: storetest.Files(t, map[string][]byte{
			"Kubefile": []byte("FROM scratch\nLABEL sealos.io.type=rootfs version=v1.36.0\nCOPY bin bin\nCOPY scripts scripts\nCOPY images images\n"),
			"bin/tool": upstreamtest.Layer(binary, 200_000), "scripts/init.sh": []byte("echo init\n"), "images/shim/list": []byte(list),
		})})
	}
	build("kubernetes:v1", "first", u.Ref("same:v1")+"\n"+u.Ref("changed:v1")+"\n")
	build("kubernetes:v2", "second", u.Ref("same:v1")+"\n"+u.Ref("changed:v2")+"\n"+u.Ref("new:v1")+"\n")
	bundled := func(image string, have bundle.Inventory) (Written, *bundle.File) {
		t.Helper()
		r := bundleRequest(t, image)
		r.Have, r.Packages = have, sbom.Never
		w, err := b.Bundle(t.Context(), r)
		if err != nil {
			t.Fatal(err)
		}
		f, err := bundle.OpenFile(w.Path)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { f.Close() })
		return w, f
	}
	_, before := bundled("kubernetes:v1", nil)
	have, err := write.BaseInventory(t.Context(), before.Reader)
	if err != nil {
		t.Fatal(err)
	}
	fullFile, full := bundled("kubernetes:v2", nil)
	leanFile, lean := bundled("kubernetes:v2", have)
	had := map[digest.Digest]bool{}
	for _, blob := range before.Blobs() {
		had[blob.Digest] = true
	}
	changed := full.PayloadOffset() // the installer
	for _, blob := range full.Blobs() {
		if !had[blob.Digest] {
			changed += blob.Size
		}
	}
	size := func(w Written) int64 {
		t.Helper()
		info, err := os.Stat(filepath.Clean(w.Path))
		if err != nil {
			t.Fatal(err)
		}
		return info.Size()
	}
	t.Logf("changed %d bytes, carried %d, in full %d", changed, size(leanFile), size(fullFile))
	if carried := size(leanFile); carried > changed+changed/50 {
		t.Errorf("it carries %d bytes, and %d changed", carried, changed)
	}
	if size(fullFile) < changed+600_000 {
		t.Error("the full bundle is no larger: this test sees nothing")
	}
	// Both name the same images, whole.
	for i, image := range full.Images() {
		if lean.Images()[i].Digest != image.Digest {
			t.Errorf("%s is another image in the differential bundle", image.Name)
		}
	}
}
