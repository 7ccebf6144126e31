package assemble

import (
	"context"
	"debug/elf"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/sealbuild/sealbuild/bundle"
	"github.com/sealbuild/sealbuild/bundle/assemble/build"
	"github.com/sealbuild/sealbuild/bundle/assemble/report"
	"github.com/sealbuild/sealbuild/bundle/assemble/sbom"
	"github.com/sealbuild/sealbuild/bundle/assemble/store"
	"github.com/sealbuild/sealbuild/bundle/assemble/store/storetest"
)

var amd64 = v1.Platform{OS: "linux", Architecture: "amd64"}

// notes keeps what the operator would read.
type notes struct {
	report.Silent
	text []string
}

func (n *notes) Note(text string) { n.text = append(n.text, text) }

func newBuilder(t *testing.T) (*Builder, *notes) {
	t.Helper()
	s, err := store.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	n := &notes{}
	return &Builder{Store: s, Report: n, Backoff: time.Millisecond}, n
}

func record(t *testing.T, s *store.Store, name, clusterType string, images ...store.Pinned) {
	t.Helper()
	if err := s.Save(store.Record{Name: name, Manifest: storetest.AddImage(t, s, name), Platform: "linux/amd64", ClusterType: clusterType, Images: images}); err != nil {
		t.Fatal(err)
	}
}

func TestCopyOfAMissingRegistryIsDropped(t *testing.T) {
	for _, tc := range []struct {
		name, text string
		files      []string
		edits      []build.Edit
		exclude    []string
	}{
		{"no directory", "FROM scratch\nCOPY registry registry\n", nil, []build.Edit{{First: 2, Last: 2}}, nil},
		{"continued", "FROM scratch\nCOPY \\\n ./registry/ \\\n /registry\n", nil, []build.Edit{{First: 2, Last: 4}}, nil},
		{"among others", "FROM scratch\nCOPY --chown=0:0 charts registry ./\n", nil, []build.Edit{{First: 2, Last: 2, Text: "COPY --chown=0:0 charts ./"}}, nil},
		{
			"with a symbolic mode", "FROM scratch\nADD --chmod=a+r charts registry ./\n", nil,
			[]build.Edit{{First: 2, Last: 2, Text: "COPY --from=mode-0-0 --chown=0:0 charts ./"}},
			nil,
		},
		{"array", "FROM scratch\nCOPY [\"a b\", \"registry\", \"/x/\"]\n", nil, []build.Edit{{First: 2, Last: 2, Text: `COPY ["a b","/x/"]`}}, nil},
		{"generated", "FROM scratch\nCOPY registry registry\n", []string{"registry/docker/registry/v2/x"}, []build.Edit{{First: 2, Last: 2}}, []string{"registry"}},
		{"generated, all copied", "FROM scratch\nCOPY . .\n", []string{"registry/docker/registry/v2/x"}, nil, []string{"registry"}},
		{"the user's own", "FROM scratch\nCOPY registry registry\n", []string{"registry/config.yml"}, nil, nil},
		{"a file", "FROM scratch\nCOPY registry registry\n", []string{"registry"}, nil, nil},
		{"of another stage", "FROM scratch AS a\nFROM scratch\nCOPY --from=a registry registry\n", nil, nil, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			files := map[string][]byte{"Kubefile": []byte(tc.text)}
			for _, f := range tc.files {
				files[f] = nil
			}
			c, err := openContext(storetest.Files(t, files), "")
			if err != nil {
				t.Fatal(err)
			}
			edits, exclude := c.edits()
			if diff := cmp.Diff(tc.edits, edits); diff != "" {
				t.Errorf("edits (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tc.exclude, exclude); diff != "" {
				t.Errorf("exclusions (-want +got):\n%s", diff)
			}
		})
	}
}

func TestBundleOrderAndConflicts(t *testing.T) {
	b, n := newBuilder(t)
	pin := func(ref, layer string) store.Pinned {
		d := storetest.AddImage(t, b.Store, layer)
		return store.Pinned{Found: store.Found{Ref: ref}, Digest: d.Digest, MediaType: d.MediaType, ManifestSize: d.Size, Platforms: []string{"linux/amd64"}}
	}
	record(t, b.Store, "app:v1", "application", pin("z.io/z:1", "z"), pin("a.io/a:1", "a old"))
	record(t, b.Store, "other:v1", "application", pin("a.io/a:1", "a new"))
	record(t, b.Store, "k8s:v1", "rootfs", pin("m.io/m:1", "m"))
	stub := filepath.Join(storetest.Files(t, map[string][]byte{"stub": storetest.Executable(elf.EM_X86_64)}), "stub")
	out := filepath.Join(t.TempDir(), "site.run")
	w, err := b.Bundle(context.Background(), BundleRequest{Images: []string{"app:v1", "other:v1", "k8s:v1", "app:v1"}, Output: out, Stub: stub, Packages: sbom.Never})
	if err != nil {
		t.Fatal(err)
	}
	f, err := bundle.OpenFile(out)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var names []string
	for _, i := range f.Images() {
		names = append(names, strings.SplitN(i.Name, ":", 2)[0])
	}
	if diff := cmp.Diff([]string{"k8s", "app", "other", "a.io/a", "m.io/m", "sealbuild.io/care", "z.io/z"}, names); diff != "" {
		t.Errorf("images (-want +got):\n%s", diff)
	}
	if len(n.text) != 1 || !strings.Contains(n.text[0], "a.io/a:1 was resolved to") {
		t.Errorf("notes %q, want one on the reference with two digests", n.text)
	}
	if f.Images()[3].Digest != w.Images[3].Digest {
		t.Error("the report differs from the file")
	}
	if fi, err := os.Stat(out); err != nil || fi.Mode().Perm() != 0o755 {
		t.Errorf("mode is %v (%v), want an executable", fi.Mode(), err)
	}
}

func TestFailedBundleLeavesTheOldFile(t *testing.T) {
	b, _ := newBuilder(t)
	record(t, b.Store, "app:v1", "application", store.Pinned{Found: store.Found{Ref: "gone.io/x:1"}, Digest: digest.FromString("gone"), MediaType: v1.MediaTypeImageManifest})
	dir := storetest.Files(t, map[string][]byte{"stub": storetest.Executable(elf.EM_X86_64), "out": []byte("old")})
	_, err := b.Bundle(context.Background(), BundleRequest{Images: []string{"app:v1"}, Output: filepath.Join(dir, "out"), Stub: filepath.Join(dir, "stub")})
	if !errors.Is(err, store.ErrIncomplete) {
		t.Errorf("error is %v, want ErrIncomplete", err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 2 {
		t.Errorf("directory holds %v (%v), want no new file", entries, err)
	}
	if old, err := os.ReadFile(filepath.Join(dir, "out")); err != nil || string(old) != "old" {
		t.Errorf("old file is %q (%v)", old, err)
	}
}

func TestPlatformText(t *testing.T) {
	if p, err := store.ParsePlatform("linux/arm64"); err != nil || p.Architecture != "arm64" || p.Variant != "" {
		t.Errorf("linux/arm64 is %v (%v)", p, err)
	}
	for _, bad := range []string{"linux/amd64,linux/arm64", "windows/amd64", "amd64", "linux/", "a/b/c/d"} {
		if p, err := store.ParsePlatform(bad); err == nil {
			t.Errorf("%q was read as %v", bad, p)
		}
	}
}
