package assemble

import (
	"archive/tar"
	"bytes"
	"debug/elf"
	"encoding/json"
	"errors"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/sealbuild/sealbuild/bundle/assemble/pull"
	"github.com/sealbuild/sealbuild/bundle/assemble/search"
	"github.com/sealbuild/sealbuild/bundle/assemble/store"
	"github.com/sealbuild/sealbuild/bundle/assemble/store/storetest"
	"github.com/sealbuild/sealbuild/test/detector"
	"github.com/sealbuild/sealbuild/test/upstreamtest"
)

// ociArchive is an image as tools write it into a tar.
type ociArchive struct{ blobs map[string][]byte }

func (a *ociArchive) put(t *testing.T, mediaType string, doc any) v1.Descriptor {
	t.Helper()
	raw, ok := doc.([]byte)
	if !ok {
		var err error
		if raw, err = json.Marshal(doc); err != nil {
			t.Fatal(err)
		}
	}
	d := v1.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(raw), Size: int64(len(raw))}
	a.blobs["blobs/sha256/"+d.Digest.Encoded()] = raw
	return d
}

func (a *ociArchive) image(t *testing.T, p v1.Platform, layers ...v1.Descriptor) v1.Descriptor {
	t.Helper()
	m := v1.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: v1.MediaTypeImageManifest, Layers: layers}
	config := v1.Image{Platform: p, RootFS: v1.RootFS{Type: "layers"}}
	for _, l := range layers {
		config.RootFS.DiffIDs = append(config.RootFS.DiffIDs, l.Digest)
	}
	m.Config = a.put(t, v1.MediaTypeImageConfig, config)
	return a.put(t, m.MediaType, m)
}

func (a *ociArchive) index(t *testing.T, children ...v1.Descriptor) v1.Descriptor {
	t.Helper()
	return a.put(t, v1.MediaTypeImageIndex, v1.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: v1.MediaTypeImageIndex, Manifests: children})
}

func (a *ociArchive) save(t *testing.T, name string, root v1.Descriptor) []byte {
	t.Helper()
	root.Annotations = map[string]string{v1.AnnotationRefName: name}
	index, err := json.Marshal(v1.Index{Versioned: specs.Versioned{SchemaVersion: 2}, Manifests: []v1.Descriptor{root}})
	if err != nil {
		t.Fatal(err)
	}
	a.blobs["oci-layout"], a.blobs["index.json"] = []byte(`{"imageLayoutVersion":"1.0.0"}`), index
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for name, data := range a.blobs {
		if err := w.WriteHeader(&tar.Header{Name: name, Typeflag: tar.TypeReg, Size: int64(len(data)), Mode: 0o644}); err != nil {
			t.Fatal(err)
		}
		_, _ = w.Write(data)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// TestUnusualImagesAreTakenOrRefusedAlike holds what a registry may answer, and an archive hold, against every way an image comes.
func TestUnusualImagesAreTakenOrRefusedAlike(t *testing.T) {
	detector.Whole(t)
	u := upstreamtest.New(t)
	const archived = "example.com/team/app:v1"
	bare := func(d v1.Descriptor) v1.Descriptor {
		d.Platform = nil
		return d
	}
	nested := func(d digest.Digest) v1.Descriptor {
		return v1.Descriptor{MediaType: v1.MediaTypeImageIndex, Digest: d}
	}
	foreign := v1.Descriptor{
		MediaType: "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip", Digest: digest.FromString("foreign"), Size: 7, URLs: []string{"http://127.0.0.1:1/layer"},
	}
	for name, tc := range map[string]struct {
		push    func(t *testing.T, repo string)
		archive func(t *testing.T, a *ociArchive) v1.Descriptor
		refused string
	}{
		"unnamed": {
			func(t *testing.T, repo string) {
				u.PushIndex(t, repo, "v1", bare(u.PushImage(t, repo, "", arm64, layerTar(t, "arm"))), bare(u.PushImage(t, repo, "", amd64, layerTar(t, "amd"))))
			},
			func(t *testing.T, a *ociArchive) v1.Descriptor {
				l := a.put(t, v1.MediaTypeImageLayer, layerTar(t, "f"))
				return a.index(t, a.image(t, arm64, l), a.image(t, amd64, l))
			}, "",
		},
		"nested": {
			func(t *testing.T, repo string) {
				in := u.PushIndex(t, repo, "in", u.PushImage(t, repo, "", amd64, layerTar(t, "amd")))
				u.PushIndex(t, repo, "v1", nested(in))
			},
			func(t *testing.T, a *ociArchive) v1.Descriptor {
				return a.index(t, a.index(t, a.image(t, amd64, a.put(t, v1.MediaTypeImageLayer, layerTar(t, "f")))))
			}, "",
		},
		"another platform": {
			func(t *testing.T, repo string) { u.PushImage(t, repo, "v1", arm64, layerTar(t, "arm")) },
			func(t *testing.T, a *ociArchive) v1.Descriptor {
				return a.image(t, arm64, a.put(t, v1.MediaTypeImageLayer, layerTar(t, "f")))
			}, "no image for linux/amd64; it exists for linux/arm64",
		},
		"windows": {
			func(t *testing.T, repo string) {
				u.PushImage(t, repo, "v1", v1.Platform{OS: "windows", Architecture: "amd64"}, layerTar(t, "win"))
			},
			func(t *testing.T, a *ociArchive) v1.Descriptor {
				return a.image(t, v1.Platform{OS: "windows", Architecture: "amd64"}, a.put(t, v1.MediaTypeImageLayer, layerTar(t, "f")))
			}, "no image for linux/amd64; it exists for windows/amd64",
		},
		"index of another platform": {
			func(t *testing.T, repo string) {
				u.PushIndex(t, repo, "v1", u.PushImage(t, repo, "", arm64, layerTar(t, "arm")))
			},
			func(t *testing.T, a *ociArchive) v1.Descriptor {
				return a.index(t, a.image(t, arm64, a.put(t, v1.MediaTypeImageLayer, layerTar(t, "f"))))
			}, "no image for linux/amd64; it exists for linux/arm64",
		},
		"foreign layer that is there": {
			func(t *testing.T, repo string) {
				l := foreign
				l.Digest, l.Size = digest.FromBytes(layerTar(t, "there")), u.PushBlob(t, repo, layerTar(t, "there")).Size
				u.PushLayers(t, repo, "v1", v1.Image{Platform: amd64, RootFS: v1.RootFS{Type: "layers", DiffIDs: []digest.Digest{l.Digest}}}, l)
			},
			func(t *testing.T, a *ociArchive) v1.Descriptor {
				l := a.put(t, foreign.MediaType, layerTar(t, "there"))
				l.URLs = foreign.URLs
				return a.image(t, amd64, l)
			}, "",
		},
		"foreign layer": {
			func(t *testing.T, repo string) { u.PushLayers(t, repo, "v1", v1.Image{Platform: amd64}, foreign) },
			func(t *testing.T, a *ociArchive) v1.Descriptor { return a.image(t, amd64, foreign) },
			foreign.Digest.String(),
		},
	} {
		t.Run(name, func(t *testing.T) {
			repo := strings.ReplaceAll(name, " ", "-")
			tc.push(t, repo)
			ref := u.Ref(repo + ":v1")
			a := &ociArchive{blobs: map[string][]byte{}}
			image := a.save(t, archived, tc.archive(t, a))
			build := func(files map[string][]byte) func(b *Builder) (store.Record, error) {
				return func(b *Builder) (store.Record, error) {
					return b.Build(t.Context(), BuildRequest{Name: "x:1", Platforms: []v1.Platform{amd64}, Context: storetest.Files(t, files)})
				}
			}
			scratch := []byte("FROM scratch\nCOPY f /\n")
			for way, run := range map[string]func(b *Builder) (store.Record, error){
				"list": build(map[string][]byte{"Kubefile": scratch, "f": nil, "images/shim/list": []byte(ref + "\n")}),
				"FROM": build(map[string][]byte{"Kubefile": []byte("FROM " + ref + "\nCOPY f /\n"), "f": nil}),
				"pull": func(b *Builder) (store.Record, error) {
					return b.Pull(t.Context(), PullRequest{Ref: ref, Platforms: []v1.Platform{amd64}})
				},
				"archive": build(map[string][]byte{
					"Kubefile": scratch, "f": nil, "images/skopeo/app.tar": image,
					"images/skopeo/tar.txt": []byte("oci-archive:app.tar@" + archived + "\n"),
				}),
			} {
				b, _ := connected(t, u)
				rec, err := run(b)
				if tc.refused != "" {
					if err == nil || !strings.Contains(err.Error(), tc.refused) || !strings.Contains(err.Error(), "(") {
						t.Errorf("%s: error is %v, want one that says %q and a remedy", way, err, tc.refused)
					}
					continue
				}
				if err != nil {
					t.Errorf("%s: %v", way, err)
					continue
				}
				stub := storetest.Files(t, map[string][]byte{"stub": storetest.Executable(elf.EM_X86_64)})
				out := filepath.Join(t.TempDir(), "out")
				if _, err := b.Bundle(t.Context(), BundleRequest{Images: []string{rec.Name}, Output: out, Stub: filepath.Join(stub, "stub")}); err != nil {
					t.Errorf("%s: %v", way, err)
				}
			}
		})
	}
}

func TestArchivesOfOtherPlatformsAreLeftToThose(t *testing.T) {
	const ref = "example.com/team/app:v1"
	list := "docker-archive:one.tar@" + ref + "\ndocker-archive:other.tar@" + ref + "\n"
	for name, tc := range map[string]struct {
		arch, other string
		refused     string
	}{
		"one of them is for the platform": {"arm64", "amd64", ""},
		"neither is":                      {"arm64", "s390x", "app:v1 from images/skopeo/tar.txt:1: no image for linux/amd64; it exists for linux/arm64"},
	} {
		b, _ := connected(t, nil)
		rec, err := b.Build(t.Context(), BuildRequest{
			Name: "mine:1", Platforms: []v1.Platform{amd64},
			Context: storetest.Files(t, map[string][]byte{
				"Kubefile": []byte("FROM scratch\nCOPY f /\n"), "f": []byte("f"), "images/skopeo/tar.txt": []byte(list),
				"images/skopeo/one.tar":   dockerArchive(t, ref, tc.arch, string(layerTar(t, "one"))),
				"images/skopeo/other.tar": dockerArchive(t, ref, tc.other, string(layerTar(t, "other"))),
			}),
		})
		if tc.refused != "" {
			if other := new(pull.PlatformError); err == nil || !strings.Contains(err.Error(), tc.refused) || !errors.As(err, &other) {
				t.Errorf("%s: error is %v, want %q", name, err, tc.refused)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if diff := cmp.Diff([]string{"linux/amd64"}, imageNamed(t, rec, ref).Platforms); diff != "" {
			t.Errorf("%s: platforms (-want +got):\n%s", name, diff)
		}
	}
}

func TestSchema1InARegistryDirectoryIsRefusedByName(t *testing.T) {
	u := upstreamtest.New(t)
	files := map[string][]byte{}
	raw := []byte(`{"schemaVersion":1,"name":"old/app","tag":"v1","architecture":"amd64","fsLayers":[],"history":[]}`)
	d := digest.FromBytes(raw)
	files[search.RegistryTree+"blobs/sha256/"+d.Encoded()[:2]+"/"+d.Encoded()+"/data"] = raw
	files[search.RegistryTree+"repositories/old/app/_manifests/tags/v1/current/link"] = []byte(d.String())
	u.PushImage(t, "old", "v1", here(), storetest.Layer(t, files))
	b, _ := connected(t, u)
	_, err := b.Pull(t.Context(), PullRequest{Ref: u.Ref("old:v1")})
	for _, text := range []string{"old/app:v1 in registry/", "schema 1", "push the image again"} {
		if err == nil || !strings.Contains(err.Error(), text) {
			t.Errorf("error lacks %q: %v", text, err)
		}
	}
}

func TestIndexThatNamesNoPlatformsInARegistryDirectoryGetsThem(t *testing.T) {
	u := upstreamtest.New(t)
	a := &ociArchive{blobs: map[string][]byte{}}
	layer := a.put(t, v1.MediaTypeImageLayer, layerTar(t, "f"))
	index := a.index(t, a.image(t, amd64, layer), a.index(t, a.image(t, arm64, layer)))
	files := map[string][]byte{search.RegistryTree + "repositories/app/_manifests/tags/v1/current/link": []byte(index.Digest.String())}
	for name, data := range a.blobs {
		hex := filepath.Base(name)
		files[search.RegistryTree+"blobs/sha256/"+hex[:2]+"/"+hex+"/data"] = data
	}
	u.PushImage(t, "own", "v1", amd64, storetest.Layer(t, files))
	b, _ := connected(t, u)
	rec, err := b.Pull(t.Context(), PullRequest{Ref: u.Ref("own:v1"), Platforms: []v1.Platform{amd64}})
	if err != nil {
		t.Fatal(err)
	}
	app := imageNamed(t, rec, "docker.io/library/app:v1")
	if diff := cmp.Diff([]string{"linux/amd64"}, app.Platforms); diff != "" {
		t.Errorf("platforms (-want +got):\n%s", diff)
	}
	stub := storetest.Files(t, map[string][]byte{"stub": storetest.Executable(elf.EM_X86_64)})
	if _, err := b.Bundle(t.Context(), BundleRequest{Images: []string{rec.Name}, Output: filepath.Join(t.TempDir(), "out"), Stub: filepath.Join(stub, "stub")}); err != nil {
		t.Error(err)
	}
}

func TestPinnedIndexInAnIndexReachesTheHosts(t *testing.T) {
	u := upstreamtest.New(t)
	in := u.PushIndex(t, "app", "in", u.PushImage(t, "app", "", amd64, layerTar(t, "amd")), u.PushImage(t, "app", "", arm64, layerTar(t, "arm")))
	pin := u.PushIndex(t, "app", "v1", v1.Descriptor{MediaType: v1.MediaTypeImageIndex, Digest: in})
	ref := u.Ref("app@" + pin.String())
	b, _ := connected(t, u)
	rec := mustBuild(t, b, BuildRequest{Name: "pinned:1", Platforms: []v1.Platform{amd64, arm64}, Context: storetest.Files(t, map[string][]byte{
		"Kubefile": []byte("FROM scratch\nCOPY f /\n"), "f": nil, "images/shim/list": []byte(ref + "\n"),
	})})
	if app := imageNamed(t, rec, ref); app.Digest != pin {
		t.Errorf("pinned by %s, got %s", pin, app.Digest)
	}
	bundleForBoth(t, b, rec.Name) // and the simulation pulls it for both
}

// TestSuspectedImageOfAnImageThatWasGathered: its maker has left out what is switched off, and a registry that refuses it, or is
// not there, stops nobody who takes the image as it is.
func TestSuspectedImageOfAnImageThatWasGathered(t *testing.T) {
	u, gone := upstreamtest.New(t), upstreamtest.New(t)
	gone.Close()
	for _, off := range []string{u.Ref("closed/app:v1"), gone.Ref("app:v1")} { // the latter at last
		files := map[string]string{"manifests/config.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata:\n  image: \"" + off + "\"\n"}
		sealosImage(t, u, "own", files, map[string]string{"pause:3.9": "pause"})
		sealosImage(t, u, "none", files, nil)
		u.Misbehave(func(w http.ResponseWriter, r *http.Request) bool {
			if !strings.HasPrefix(r.URL.Path, "/v2/closed/") {
				return false
			}
			w.WriteHeader(http.StatusForbidden)
			return true
		})
		b, _ := connected(t, u)
		rec, err := b.Pull(t.Context(), PullRequest{Ref: u.Ref("own:v1")})
		if err != nil || len(rec.Unresolved) != 1 || rec.Unresolved[0].Ref != off {
			t.Errorf("with its registry/: unresolved %v, error %v, want %s", rec.Unresolved, err, off)
		}
		if off == gone.Ref("app:v1") {
			break // a registry that is not there is tried for a while
		}
		if _, err := b.Pull(t.Context(), PullRequest{Ref: u.Ref("none:v1")}); err == nil || !strings.Contains(err.Error(), "--ignore-scan-errors") {
			t.Errorf("without: error is %v, want one that names the way on", err)
		}
		if rec, err := b.Pull(t.Context(), PullRequest{Ref: u.Ref("none:v1"), IgnoreScanErrors: true}); err != nil || len(rec.Unresolved) != 1 {
			t.Errorf("without, to be ignored: unresolved %v, error %v", rec.Unresolved, err)
		}
		u.Misbehave(nil)
	}
}
