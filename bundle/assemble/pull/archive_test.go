package pull

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containers/image/v5/copy"
	"github.com/containers/image/v5/oci/layout"
	"github.com/containers/image/v5/signature"
	"github.com/containers/image/v5/transports/alltransports"
	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/sealbuild/sealbuild/bundle/assemble/store"
)

// savedImage writes an image as other tools save it.
func savedImage(t *testing.T, target string) {
	t.Helper()
	s := newStore(t)
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	if err := w.WriteHeader(&tar.Header{Name: "file", Typeflag: tar.TypeReg, Size: 1, Mode: 0o644}); err != nil {
		t.Fatal(err)
	}
	_, _ = w.Write([]byte("x"))
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	put := func(mediaType string, data []byte) v1.Descriptor {
		d, err := s.PutBytes(data)
		if err != nil {
			t.Fatal(err)
		}
		return v1.Descriptor{MediaType: mediaType, Digest: d, Size: int64(len(data))}
	}
	encode := func(v any) []byte {
		raw, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return raw
	}
	l := put(v1.MediaTypeImageLayer, archive.Bytes())
	m := v1.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: v1.MediaTypeImageManifest, Layers: []v1.Descriptor{l}}
	m.Config = put(v1.MediaTypeImageConfig, encode(v1.Image{
		Platform: v1.Platform{OS: "linux", Architecture: "amd64"},
		RootFS:   v1.RootFS{Type: "layers", DiffIDs: []digest.Digest{l.Digest}},
	}))
	if err := s.Save(store.Record{Name: "saved:v1", Manifest: put(m.MediaType, encode(m))}); err != nil {
		t.Fatal(err)
	}
	src, err := layout.NewReference(s.Root(), "saved:v1")
	if err != nil {
		t.Fatal(err)
	}
	dst, err := alltransports.ParseImageName(target)
	if err != nil {
		t.Fatal(err)
	}
	policy, err := signature.NewPolicyContext(&signature.Policy{Default: signature.PolicyRequirements{signature.NewPRInsecureAcceptAnything()}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := copy.Image(t.Context(), policy, dst, src, nil); err != nil {
		t.Fatal(err)
	}
}

func TestImageArchivesAreLoaded(t *testing.T) {
	for _, transport := range []string{"docker-archive", "oci-archive"} {
		t.Run(transport, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "image.tar")
			savedImage(t, transport+":"+file+":example.com/team/app:v2")
			a := Archive{Transport: transport, Path: file}
			names, err := ListArchive(a, nil)
			if err != nil {
				t.Fatal(err)
			}
			if len(names) != 1 || names[0].Ref != "example.com/team/app:v2" {
				t.Fatalf("images %v, want example.com/team/app:v2", names)
			}
			a.Source = names[0].Source
			a.Wanted = Wanted{Ref: "example.com/renamed:v3", Places: []store.Found{{File: "images/skopeo/tar.txt", Line: 4}}}
			s := newStore(t)
			p, err := LoadArchive(t.Context(), s, a, Options{Platforms: []v1.Platform{{OS: "linux", Architecture: "amd64"}}})
			if err != nil {
				t.Fatal(err)
			}
			want := store.Found{Ref: "example.com/renamed:v3", File: "images/skopeo/tar.txt", Line: 4}
			if diff := cmp.Diff(want, p.Found); diff != "" {
				t.Errorf("image (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff([]string{"linux/amd64"}, p.Platforms); diff != "" {
				t.Errorf("platforms (-want +got):\n%s", diff)
			}
		})
	}
}

func TestBlobOfAnArchiveThatIsNotWhatItsNameSays(t *testing.T) {
	file := filepath.Join(t.TempDir(), "image.tar")
	savedImage(t, "oci-archive:"+file+":example.com/team/app:v2")
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	at := bytes.Index(data, []byte(`"rootfs"`))
	data[at+1] ^= 1
	if err := os.WriteFile(file, data, 0o644); err != nil {
		t.Fatal(err)
	}
	a := Archive{Transport: "oci-archive", Path: file, Wanted: Wanted{Ref: "example.com/team/app:v2"}}
	_, err = LoadArchive(t.Context(), newStore(t), a, Options{Platforms: []v1.Platform{amd64}})
	if wrong := new(store.DigestError); !errors.As(err, &wrong) || !strings.Contains(err.Error(), file) {
		t.Errorf("error is %v, want that a blob of %s has another digest", err, file)
	}
}

func TestBrokenArchiveIsNamed(t *testing.T) {
	file := filepath.Join(t.TempDir(), "image.tar")
	if err := os.WriteFile(file, []byte("no tar"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, transport := range []string{"docker-archive", "oci-archive", "dir"} {
		if _, err := ListArchive(Archive{Transport: transport, Path: file}, nil); err == nil {
			t.Errorf("%s: a broken file was listed", transport)
		}
		if _, err := LoadArchive(t.Context(), newStore(t), Archive{Transport: transport, Path: file}, Options{}); err == nil {
			t.Errorf("%s: a broken file was loaded", transport)
		}
	}
}
