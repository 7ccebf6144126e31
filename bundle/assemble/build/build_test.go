package build

import (
	"archive/tar"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/sirupsen/logrus"
)

// RUN makes the test program run itself inside the container first.
func TestMain(m *testing.M) {
	if Reexec() {
		return
	}
	logrus.SetLevel(logrus.ErrorLevel)
	os.Exit(m.Run())
}

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("building needs root, or a user namespace that only the program makes")
	}
}

// contextDir writes files, each with a time stamp of its own.
func contextDir(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func request(t *testing.T, dir string) Request {
	t.Helper()
	return Request{
		Context:  dir,
		Kubefile: filepath.Join(dir, "Kubefile"),
		Platform: v1.Platform{OS: "linux", Architecture: runtime.GOARCH},
		Epoch:    time.Unix(1700000000, 0),
		Scratch:  t.TempDir(),
		Log:      t.Output(),
	}
}

func mustBuild(t *testing.T, r Request) Result {
	t.Helper()
	res, err := Build(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	return res
}

func readBlob(t *testing.T, layout string, d digest.Digest, into any) {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(layout, "blobs", "sha256", d.Encoded()))
	if err != nil {
		t.Fatal(err)
	}
	if got := digest.FromBytes(raw); got != d {
		t.Fatalf("blob %s holds %s", d, got)
	}
	if err := json.Unmarshal(raw, into); err != nil {
		t.Fatal(err)
	}
}

// layerFiles lists what the layers hold, and checks their time stamps.
func layerFiles(t *testing.T, r Result, epoch time.Time) (v1.Image, []string) {
	t.Helper()
	var m v1.Manifest
	readBlob(t, r.Layout, r.Descriptor.Digest, &m)
	var config v1.Image
	readBlob(t, r.Layout, m.Config.Digest, &config)
	var names []string
	for _, l := range m.Layers {
		if l.MediaType != v1.MediaTypeImageLayer {
			t.Errorf("layer has type %s, want an uncompressed one", l.MediaType)
		}
		f, err := os.Open(filepath.Join(r.Layout, "blobs", "sha256", l.Digest.Encoded()))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		for entries := tar.NewReader(f); ; {
			h, err := entries.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			if !h.ModTime.Equal(epoch) {
				t.Errorf("%s has the time %s, want %s", h.Name, h.ModTime, epoch)
			}
			if h.Uid != 0 || h.Gid != 0 {
				t.Errorf("%s belongs to %d:%d, want 0:0", h.Name, h.Uid, h.Gid)
			}
			names = append(names, strings.TrimSuffix(h.Name, "/"))
		}
	}
	slices.Sort(names)
	return config, slices.Compact(names)
}

func TestKubefileBecomesAnImage(t *testing.T) {
	needRoot(t)
	dir := contextDir(t, map[string]string{
		"Kubefile": "ARG V=1\nFROM scratch AS first\nCOPY a.txt /x/a.txt\nFROM scratch\nARG V\nLABEL version=$V\nENV K=v\n" +
			"COPY --from=first /x /y\nCOPY . .\nCMD [\"bash a.sh\"]\n",
		"a.txt":         "a",
		"scripts/b.sh":  "b",
		".dockerignore": "secret\n",
		"secret":        "s",
	})
	r := request(t, dir)
	r.Args = map[string]string{"V": "v2"}
	r.Labels = []string{"sealos.io.type=rootfs"}
	r.Env = []string{"FROM_FLAG=yes"}
	config, names := layerFiles(t, mustBuild(t, r), r.Epoch)
	if diff := cmp.Diff([]string{".dockerignore", "Kubefile", "a.txt", "scripts", "scripts/b.sh", "y", "y/a.txt"}, names); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(map[string]string{"version": "v2", "sealos.io.type": "rootfs"}, config.Config.Labels); diff != "" {
		t.Errorf("labels (-want +got):\n%s", diff)
	}
	for _, kv := range []string{"K=v", "FROM_FLAG=yes"} {
		if !slices.Contains(config.Config.Env, kv) {
			t.Errorf("environment %q lacks %s", config.Config.Env, kv)
		}
	}
	if diff := cmp.Diff([]string{"bash a.sh"}, config.Config.Cmd); diff != "" {
		t.Errorf("command (-want +got):\n%s", diff)
	}
	if !config.Created.Equal(r.Epoch) {
		t.Errorf("created %s, want %s", config.Created, r.Epoch)
	}
}

func TestRunInstructionRuns(t *testing.T) {
	needRoot(t)
	dir := contextDir(t, map[string]string{"Kubefile": "FROM scratch\nCOPY tool /tool\nRUN [\"/tool\", \"/made\"]\n"})
	if err := os.WriteFile(filepath.Join(dir, "tool"), buildTool(t), 0o755); err != nil {
		t.Fatal(err)
	}
	r := request(t, dir)
	_, names := layerFiles(t, mustBuild(t, r), r.Epoch)
	if !slices.Contains(names, "made") {
		t.Errorf("files %v lack what RUN made", names)
	}
}

func TestSameInputsGiveTheSameImage(t *testing.T) {
	needRoot(t)
	text := map[string]string{"Kubefile": "FROM scratch\nCOPY . .\n", "b/2": "two", "a/1": "one"}
	first := mustBuild(t, request(t, contextDir(t, text)))
	again := contextDir(t, text)
	if err := os.Chtimes(filepath.Join(again, "a/1"), time.Now(), time.Unix(5, 0)); err != nil {
		t.Fatal(err)
	}
	second := mustBuild(t, request(t, again))
	if first.Descriptor.Digest != second.Descriptor.Digest {
		t.Errorf("images are %s and %s", first.Descriptor.Digest, second.Descriptor.Digest)
	}
}

func TestEditsAndExclusions(t *testing.T) {
	needRoot(t)
	dir := contextDir(t, map[string]string{
		"Kubefile":      "FROM scratch\nCOPY registry \\\n  registry\nCOPY . .\n",
		"registry/blob": "b",
		"keep":          "k",
		".dockerignore": "drop\n",
		"drop":          "d",
	})
	r := request(t, dir)
	r.Edits = []Edit{{First: 2, Last: 3}}
	r.Exclude = []string{"registry"}
	_, names := layerFiles(t, mustBuild(t, r), r.Epoch)
	if diff := cmp.Diff([]string{".dockerignore", "Kubefile", "keep"}, names); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	prepared, err := os.ReadFile(filepath.Join(r.Scratch, "Kubefile"))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff("FROM scratch\n\n\nCOPY . .\n", string(prepared)); diff != "" {
		t.Errorf("prepared Kubefile (-want +got):\n%s", diff)
	}
}

func TestLocalImageIsABase(t *testing.T) {
	needRoot(t)
	base := mustBuild(t, request(t, contextDir(t, map[string]string{"Kubefile": "FROM scratch\nLABEL a=b\nCOPY base /base\n", "base": "x"})))
	for _, name := range []string{"mybase:v1", "example.com/team/base:v1"} {
		r := request(t, contextDir(t, map[string]string{"Kubefile": "FROM " + name + "\nCOPY top /top\n", "top": "y"}))
		r.Preload = []Preload{{Name: name, Layout: base.Layout, Digest: base.Descriptor.Digest}}
		config, names := layerFiles(t, mustBuild(t, r), r.Epoch)
		if diff := cmp.Diff([]string{"base", "top"}, names); diff != "" {
			t.Errorf("%s: files (-want +got):\n%s", name, diff)
		}
		if config.Config.Labels["a"] != "b" {
			t.Errorf("%s: labels %v were not inherited", name, config.Config.Labels)
		}
	}
}

func TestFailedBuildLeavesNoMount(t *testing.T) {
	needRoot(t)
	r := request(t, contextDir(t, map[string]string{"Kubefile": "FROM scratch\nCOPY missing /x\n"}))
	if _, err := Build(t.Context(), r); err == nil || !strings.Contains(err.Error(), "missing") {
		t.Errorf("error is %v, want one that names the file", err)
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(mounts), r.Scratch) {
		t.Error("the failed build left mounts behind")
	}
}

// A layer that buildah has written is not written again: its file, which only
// its owner may read, becomes the blob.
func TestLayersAreAdopted(t *testing.T) {
	needRoot(t)
	for _, tc := range []struct {
		name, tmp string
		want      os.FileMode
	}{{"on one filesystem", t.TempDir(), 0o600}, {"on another", "/dev/shm", 0o644}} {
		t.Run(tc.name, func(t *testing.T) {
			r := request(t, contextDir(t, map[string]string{"Kubefile": "FROM scratch\nCOPY f /\n", "f": "x"}))
			t.Setenv("TMPDIR", tc.tmp)
			if _, err := os.Stat(tc.tmp); err != nil {
				t.Skip(err)
			}
			res := mustBuild(t, r)
			var m v1.Manifest
			readBlob(t, res.Layout, res.Descriptor.Digest, &m)
			info, err := os.Stat(filepath.Join(res.Layout, "blobs", "sha256", m.Layers[0].Digest.Encoded()))
			must(t, err)
			if info.Mode() != tc.want {
				t.Errorf("the layer's file has mode %v, want %v", info.Mode(), tc.want)
			}
			layerFiles(t, res, r.Epoch)
			if left, _ := filepath.Glob(filepath.Join(tc.tmp, "buildah*")); len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}
