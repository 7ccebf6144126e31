package bundle

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

func tool(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Skipf("%s is not installed: %v", name, err)
	}
	return path
}

func run(t *testing.T, dir, script string, env ...string) string {
	t.Helper()
	cmd := exec.Command("bash", "-o", "pipefail", "-c", script)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), env...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v\n%s", script, err, &stderr)
	}
	return string(out)
}

// imageBlobs is a container image of one gzip layer, as registries hold them.
func imageBlobs(t *testing.T, name, file string) ([]testBlob, Image) {
	t.Helper()
	var plain bytes.Buffer
	tw := tar.NewWriter(&plain)
	content := prose(8, 300<<10)
	if err := errors.Join(tw.WriteHeader(&tar.Header{Name: file, Mode: 0o755, Size: int64(len(content))})); err != nil {
		t.Fatal(err)
	}
	tw.Write(content)
	tw.Close()
	var packed bytes.Buffer
	zw := gzip.NewWriter(&packed)
	zw.Write(plain.Bytes())
	zw.Close()
	layer := testBlob{packed.Bytes(), false}
	config := configBlob("amd64", digest.FromBytes(plain.Bytes()))
	manifest, image := manifestBlob(name, config, layer)
	manifest.data = bytes.ReplaceAll(manifest.data, []byte(v1.MediaTypeImageLayer), []byte(v1.MediaTypeImageLayerGzip))
	image.Digest, image.ManifestSize = manifest.digest(), int64(len(manifest.data))
	return []testBlob{layer, config, manifest}, image
}

func TestStandardToolsReadTheFile(t *testing.T) {
	tool(t, "zstd")
	tool(t, "tar")
	dir := t.TempDir()
	blobs, a := imageBlobs(t, "registry.k8s.io/pause:3.10", "pause")
	more, b := imageBlobs(t, "docker.io/library/tool@sha256:"+strings.Repeat("ab", 32), "bin/tool")
	rootfs := testBlob{prose(3, 9<<20), true}
	blobs = uniqueBlobs(append(append(blobs, more...), rootfs))
	file, s := makeBundle(t, WriterOptions{Stub: bytes.NewReader(noise(1, 12345))}, blobs, []Image{a, b})
	if err := os.WriteFile(filepath.Join(dir, "FILE"), file, 0o644); err != nil {
		t.Fatal(err)
	}
	n := fmt.Sprintf("N=%d", s.PayloadOffset+1)
	run(t, dir, "tail -c +$N FILE | zstd -t", n)
	run(t, dir, "tail -c +$N FILE | zstd -t --memory=8MiB", n)

	want := []string{"oci-layout"}
	for _, b := range blobs {
		want = append(want, blobPath(b.digest()))
	}
	want = append(want, "index.json")
	list := strings.Fields(run(t, dir, "tail -c +$N FILE | zstd -dc | tar t", n))
	if diff := cmp.Diff(want, list); diff != "" {
		t.Errorf("tar t (-want +got):\n%s", diff)
	}
	run(t, dir, "mkdir layout && tail -c +$N FILE | zstd -dc | tar x -C layout", n)
	for _, b := range blobs {
		got, err := os.ReadFile(filepath.Join(dir, "layout", blobPath(b.digest())))
		if err != nil || !bytes.Equal(got, b.data) {
			t.Errorf("%s: %d bytes, %v", b.digest(), len(got), err)
		}
	}
	// One blob alone: its frames, cut out of the file.
	info, _ := openBytes(t, file).Stat(rootfs.digest())
	got := run(t, dir, "dd if=FILE iflag=skip_bytes,count_bytes skip=$O count=$L bs=1M status=none | zstd -dc | sha256sum",
		fmt.Sprintf("O=%d", info.Offset), fmt.Sprintf("L=%d", info.StoredSize))
	if !strings.HasPrefix(got, rootfs.digest().Encoded()) {
		t.Errorf("the blob cut out hashes to %s", got)
	}

	t.Run("skopeo", func(t *testing.T) {
		tool(t, "skopeo")
		for _, image := range []Image{a, b} {
			out := run(t, dir, `skopeo inspect --no-tags "oci:layout:$NAME"`, "NAME="+image.Name)
			var got struct {
				Digest digest.Digest
				Layers []digest.Digest
			}
			if err := json.Unmarshal([]byte(out), &got); err != nil {
				t.Fatal(err)
			}
			if got.Digest != image.Digest || len(got.Layers) != 1 {
				t.Errorf("skopeo sees %+v", got)
			}
		}
		run(t, dir, `skopeo copy --quiet --insecure-policy "oci:layout:$NAME" dir:copied`, "NAME="+a.Name)
	})
}

func TestTarHeadersAreWhatOthersWriteAndRead(t *testing.T) {
	name := blobPath(digest.FromString("x"))
	for _, size := range []int64{0, 1, 511, 512, ustarMax, ustarMax + 1, 1 << 40, maxContent} {
		for _, mtime := range []int64{0, 1700000000, ustarMax} {
			h := tarHeader{name, size, mtime}
			for _, prev := range []int64{0, 1, 511, 512, 513} {
				g := gap(prev, h)
				if int64(len(g)) != gapSize(prev, size) {
					t.Fatalf("gapSize(%d, %d) = %d, gap has %d", prev, size, gapSize(prev, size), len(g))
				}
				got, end, err := parseGap(prev, g)
				if err != nil || end || got != h {
					t.Fatalf("parseGap(gap(%d, %+v)) = %+v, %v, %v", prev, h, got, end, err)
				}
				if _, end, err := parseGap(prev, endGap(prev)); err != nil || !end {
					t.Fatalf("the end of an archive is not seen: %v", err)
				}
			}
			got, err := tar.NewReader(bytes.NewReader(gap(0, h))).Next()
			if err != nil {
				t.Fatalf("archive/tar refuses %+v: %v", h, err)
			}
			if got.Name != name || got.Size != size || got.ModTime.Unix() != mtime {
				t.Errorf("archive/tar reads %+v from %+v", got, h)
			}
		}
	}
	tool(t, "tar")
	for _, size := range []int64{1234, ustarMax + 1} { // the content is missing, which tar -t tells after the line
		cmd := exec.Command("tar", "-tv", "--full-time", "--utc")
		cmd.Stdin = io.MultiReader(bytes.NewReader(gap(0, tarHeader{name, size, 1700000000})))
		out, _ := cmd.Output()
		want := []string{"-rw-r--r--", "0/0", fmt.Sprint(size), "2023-11-14", "22:13:20", name}
		if got := strings.Fields(string(out)); !slices.Equal(got, want) {
			t.Errorf("tar lists %q, want %q", got, want)
		}
	}
}
