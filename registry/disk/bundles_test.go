package disk_test

import (
	"context"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"

	"github.com/sealbuild/sealbuild/registry/catalog"
	"github.com/sealbuild/sealbuild/registry/disk"
	"github.com/sealbuild/sealbuild/test/registrytest"
)

// depot is a store that bundles are brought to.
type depot struct {
	t *testing.T
	*disk.Store
	src registrytest.Source
}

func newDepot(t *testing.T) depot {
	return depot{t, disk.Open(t.TempDir()), registrytest.Source{}}
}

// image is what a name means, by its content.
func (s depot) image(name, content string) catalog.Ref {
	return catalog.Ref{Name: name, Digest: s.src.Image(name, []byte(content)).Digest}
}

func (s depot) catalog(refs ...catalog.Ref) catalog.Catalog {
	s.t.Helper()
	c, err := catalog.Build(s.t.Context(), refs, s.src)
	if err != nil {
		s.t.Fatal(err)
	}
	return c
}

// push puts images there as a client does.
func (s depot) push(refs ...catalog.Ref) { registrytest.Fill(s.t, s.catalog(refs...), s.src, s.Store) }

// bundle is one with a cluster image, or some, as name=version.
func (s depot) bundle(which string, images ...catalog.Ref) disk.Bundle {
	made := map[string]digest.Digest{}
	for _, one := range strings.Fields(which) {
		name, _, _ := strings.Cut(one, "=")
		made[name] = digest.FromString(one)
	}
	return disk.NewBundle(digest.FromString("bundle of "+which+images[0].Digest.String()), made, s.catalog(images...))
}

// bring brings a bundle, and takes it into use unless it is given up.
func (s depot) bring(b disk.Bundle, use bool, images ...catalog.Ref) {
	s.t.Helper()
	if err := s.BundleComes(b); err != nil {
		s.t.Fatal(err)
	}
	s.push(images...)
	if use {
		s.use(b)
	}
}

func (s depot) use(b disk.Bundle) {
	s.t.Helper()
	if err := s.BundleInUse(b); err != nil {
		s.t.Fatal(err)
	}
}

// tags are what the store holds, and must be whole.
func (s depot) tags() []string {
	s.t.Helper()
	c, err := s.Catalog(context.WithoutCancel(s.t.Context()))
	if err != nil {
		s.t.Fatal(err)
	}
	var out []string
	for _, r := range c.Repositories {
		for _, tag := range slices.Sorted(maps.Keys(r.Tags)) {
			out = append(out, r.Name+":"+tag)
		}
	}
	return out
}

func (s depot) collect(last int) (disk.Collected, int) {
	s.t.Helper()
	done, old, err := s.CollectOlder(s.t.Context(), last, catalog.Catalog{}, disk.CollectOptions{})
	if err != nil {
		s.t.Fatal(err)
	}
	return done, len(old)
}

func TestOnlyWhatOlderBundlesBroughtIsCollected(t *testing.T) {
	s := newDepot(t)
	pause := s.image("k8s.io/pause:1", "pause")
	versions := map[string][]catalog.Ref{}
	for _, v := range []string{"1", "2", "3"} {
		versions[v] = []catalog.Ref{s.image("k8s.io/api:"+v, "api"+v), pause}
	}
	app := s.image("k8s.io/app:1", "app")
	s.push(s.image("k8s.io/before:1", "before records"))
	s.bring(s.bundle("kubernetes=1", versions["1"]...), true, versions["1"]...)
	s.bring(s.bundle("app=1", app), true, app)
	// Pushed by hand: an image, one without a tag, a name for what a bundle has brought, and an index over such an image.
	index := catalog.Ref{Name: "k8s.io/mine:index", Digest: s.src.Index(s.src.Image("k8s.io/api:1", []byte("api1")), s.src.Image("own", []byte("own"))).Digest}
	untagged := s.image("k8s.io/api", "untagged")
	untagged.Name += "@" + untagged.Digest.String()
	s.push(s.image("k8s.io/mine:1", "mine"), untagged, s.image("k8s.io/api:mine", "of mine"), index)
	s.bring(s.bundle("kubernetes=2", versions["2"]...), true, versions["2"]...)
	before := registrytest.Tree(t, s.Root())
	if done, old := s.collect(2); done != (disk.Collected{}) || old != 0 {
		t.Errorf("with two versions: %+v, %d bundles", done, old)
	}
	if diff := cmp.Diff(before, registrytest.Tree(t, s.Root())); diff != "" {
		t.Errorf("something was changed:\n%.1000s", diff)
	}
	s.bring(s.bundle("kubernetes=3", versions["3"]...), true, versions["3"]...)
	before = registrytest.Tree(t, s.Root())
	if _, old := s.collect(2); old != 1 {
		t.Errorf("with three versions: %d bundles", old)
	}
	for name, content := range registrytest.Tree(t, s.Root()) { // of a full disk nothing but removing can be asked
		if before[name] != content {
			t.Errorf("%s was written", name)
		}
	}
	want := []string{"k8s.io/api:2", "k8s.io/api:3", "k8s.io/api:mine", "k8s.io/app:1", "k8s.io/before:1", "k8s.io/mine:1", "k8s.io/mine:index", "k8s.io/pause:1"}
	if diff := cmp.Diff(want, s.tags()); diff != "" {
		t.Errorf("left (-want +got):\n%s", diff)
	}
	// What is left is whole, what went is gone, and a further call does nothing.
	for _, ref := range []catalog.Ref{untagged, index} {
		if got, absent, err := s.Reach(t.Context(), []catalog.Ref{ref}); err != nil || len(absent) > 0 {
			t.Errorf("%s: %v, %v", ref.Name, absent, err)
		} else {
			for _, b := range got.Blobs() {
				if _, ok := s.Stat(b.Digest); !ok {
					t.Errorf("%s: %s is gone", ref.Name, b.Digest)
				}
			}
		}
	}
	if done, old := s.collect(2); done != (disk.Collected{}) || old != 0 {
		t.Errorf("again: %+v, %d bundles", done, old)
	}
}

// TestWhatIsInUseIsNotPushedOutByWhatNeverWas lets upgrades fail, be repeated from other bundles, and be taken back.
func TestWhatIsInUseIsNotPushedOutByWhatNeverWas(t *testing.T) {
	s := newDepot(t)
	images := map[string][]catalog.Ref{}
	bundles := map[string]disk.Bundle{}
	for _, v := range []string{"1", "2", "3", "4"} {
		images[v] = []catalog.Ref{s.image("k8s.io/api:"+v, "api"+v)}
		bundles[v] = s.bundle("kubernetes="+v, images[v]...)
	}
	left := func(when string, want ...string) {
		t.Helper()
		s.collect(2)
		if diff := cmp.Diff(want, s.tags()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", when, diff)
		}
	}
	s.bring(bundles["1"], true, images["1"]...)
	s.bring(bundles["2"], false, images["2"]...)
	s.bring(bundles["3"], false, images["3"]...)
	left("two upgrades under way or given up", "k8s.io/api:1", "k8s.io/api:2", "k8s.io/api:3")
	s.use(bundles["3"])
	left("the second came to its end", "k8s.io/api:1", "k8s.io/api:3")
	// The same version comes in a differential bundle: that is not another version.
	again := bundles["3"]
	again.Digest = digest.FromString("differential")
	s.bring(again, true, images["3"]...)
	left("the same version once more", "k8s.io/api:1", "k8s.io/api:3")
	// Back to 1, and from there to 4.
	for _, b := range []disk.Bundle{bundles["3"], again} {
		if err := s.BundleLeft(b); err != nil {
			t.Fatal(err)
		}
	}
	left("gone back", "k8s.io/api:1", "k8s.io/api:3")
	s.bring(bundles["4"], true, images["4"]...)
	left("on to another", "k8s.io/api:1", "k8s.io/api:4")
}

func TestARecordOfABundleIsWrittenOnce(t *testing.T) {
	s := newDepot(t)
	image := s.image("k8s.io/api:1", "api")
	b := s.bundle("kubernetes=1", image)
	s.bring(b, true, image)
	before := registrytest.Tree(t, s.Root())
	names, err := filepath.Glob(filepath.Join(s.Root(), ".sealbuild/bundles/*"))
	if err != nil || len(names) != 1 {
		t.Fatal(names, err)
	}
	info, err := os.Stat(names[0])
	if err != nil {
		t.Fatal(err)
	}
	s.bring(b, true, image)
	after, err := os.Stat(names[0])
	if err != nil || !os.SameFile(info, after) {
		t.Errorf("it was written again, %v", err)
	}
	if diff := cmp.Diff(before, registrytest.Tree(t, s.Root())); diff != "" {
		t.Error(diff)
	}
}

func TestNothingIsCollectedWhileARecordOrAManifestIsDamaged(t *testing.T) {
	s := newDepot(t)
	var images []catalog.Ref
	for _, v := range []string{"1", "2", "3"} {
		images = append(images, s.image("k8s.io/api:"+v, "api"+v))
		s.bring(s.bundle("kubernetes="+v, images[len(images)-1]), true, images[len(images)-1])
	}
	damage := func(name string) {
		t.Helper()
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte("damaged"), 0o600); err != nil {
			t.Fatal(err)
		}
		before := registrytest.Tree(t, s.Root())
		if _, _, err := s.CollectOlder(t.Context(), 2, catalog.Catalog{}, disk.CollectOptions{}); err == nil {
			t.Errorf("%s is damaged, and it was collected", name)
		}
		if diff := cmp.Diff(before, registrytest.Tree(t, s.Root())); diff != "" {
			t.Errorf("%s is damaged: %.1000s", name, diff)
		}
		if err := os.WriteFile(name, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	records, err := filepath.Glob(filepath.Join(s.Root(), ".sealbuild/bundles/*"))
	if err != nil || len(records) != 3 {
		t.Fatal(records, err)
	}
	damage(records[1])
	damage(s.Path(disk.BlobData(images[2].Digest)))
	if _, old := s.collect(2); old != 1 {
		t.Errorf("%d bundles are old", old)
	}
}

// TestACollectionOfOlderBundlesThatIsCutOffGoesOn ends it between what it removes, on a file system that takes no more.
func TestACollectionOfOlderBundlesThatIsCutOffGoesOn(t *testing.T) {
	s := newDepot(t)
	for _, v := range []string{"1", "2", "3"} {
		image := s.image("k8s.io/api"+v+":"+v, "api"+v)
		s.bring(s.bundle("kubernetes="+v, image), true, image)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := s.CollectOlder(ctx, 2, catalog.Catalog{}, disk.CollectOptions{}); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	// A tag went, and the rest did not.
	if err := os.RemoveAll(filepath.Join(s.Root(), disk.LayoutRepositories, "k8s.io/api1/_manifests/tags")); err != nil {
		t.Fatal(err)
	}
	if _, old := s.collect(2); old != 1 {
		t.Errorf("%d bundles are old", old)
	}
	if diff := cmp.Diff([]string{"k8s.io/api2:2", "k8s.io/api3:3"}, s.tags()); diff != "" {
		t.Error(diff)
	}
	if blobs, err := s.Blobs(t.Context()); err != nil || len(blobs) != 6 {
		t.Errorf("%d blobs, %v", len(blobs), err)
	}
}

func TestApplicationsHaveVersionsOfTheirOwn(t *testing.T) {
	s := newDepot(t)
	base := s.image("k8s.io/api:1", "api")
	bring := func(which string, images ...catalog.Ref) { s.bring(s.bundle(which, images...), true, images...) }
	app := func(v string) catalog.Ref { return s.image("k8s.io/app:"+v, "app"+v) }
	bring("kubernetes=1 app=1", base, app("1"))
	bring("other=1", s.image("k8s.io/other:1", "other"))
	for _, v := range []string{"2", "3"} {
		bring("kubernetes=1 app="+v, base, app(v))
	}
	s.collect(2)
	want := []string{"k8s.io/api:1", "k8s.io/app:2", "k8s.io/app:3", "k8s.io/other:1"}
	if diff := cmp.Diff(want, s.tags()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
