package assemble

import (
	"bytes"
	"crypto/ed25519"
	"encoding/pem"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/crypto/ssh"

	"github.com/sealbuild/sealbuild/bundle/assemble/build"
	"github.com/sealbuild/sealbuild/bundle/assemble/store"
	"github.com/sealbuild/sealbuild/bundle/assemble/store/storetest"
	"github.com/sealbuild/sealbuild/test/detector"
	"github.com/sealbuild/sealbuild/test/upstreamtest"
)

// again builds once more and tells whether anything ran.
func again(t *testing.T, b *Builder, log *bytes.Buffer, r BuildRequest) (store.Record, bool) {
	t.Helper()
	log.Reset()
	rec := mustBuild(t, b, r)
	return rec, strings.Contains(log.String(), "STEP")
}

func TestASecretIsReadAndKeptNowhere(t *testing.T) {
	detector.Whole(t)
	b, log := connected(t, nil)
	r := BuildRequest{Name: "a:1", Context: storetest.Files(t, map[string][]byte{
		"Kubefile": []byte("FROM scratch\nCOPY sh /bin/sh\nRUN --mount=type=secret,id=token,required read=/run/secrets/token /length\n"), "sh": tool(t),
	})}
	_, err := b.Build(t.Context(), r)
	if err == nil || !strings.Contains(err.Error(), `Kubefile:3:1: RUN failed: `) || !strings.Contains(err.Error(), `no secret with id "token"`) {
		t.Errorf("without the secret: %v", err)
	}
	r.Secrets = []build.Secret{{ID: "token", Data: []byte("hush-4711\n")}}
	rec, _ := again(t, b, log, r)
	if got := textOf(t, b.Store, rec, "length"); got != "10 bytes, 1 lines\n" {
		t.Errorf("RUN has read %q", got)
	}
	if diff := cmp.Diff([]string{"bin/sh", "length"}, filesOf(t, b.Store, rec)); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	if strings.Contains(log.String(), "hush-4711") {
		t.Error("the log holds the secret")
	}
	err = filepath.WalkDir(b.Store.Root(), func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		data, err := os.ReadFile(path)
		if bytes.Contains(data, []byte("hush-4711")) {
			t.Errorf("%s holds the secret", path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	r.Secrets[0].Data = []byte("another")
	if _, ran := again(t, b, log, r); ran {
		t.Error("another text of the secret has the image built again")
	}
	r.Secrets = append(r.Secrets, build.Secret{ID: "other"})
	if _, ran := again(t, b, log, r); !ran {
		t.Error("another secret has nothing built again")
	}
}

func TestAKeyIsAnAgentForRun(t *testing.T) {
	b, _ := connected(t, nil)
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(key, "")
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
		t.Fatal(err)
	}
	rec := mustBuild(t, b, BuildRequest{Name: "a:1", SSH: []string{"git=" + file}, Context: storetest.Files(t, map[string][]byte{
		"Kubefile": []byte("FROM scratch\nCOPY sh /bin/sh\nRUN --mount=type=ssh,id=git dial=SSH_AUTH_SOCK /there\n"), "sh": tool(t),
	})})
	if diff := cmp.Diff([]string{"bin/sh", "there"}, filesOf(t, b.Store, rec)); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
}

func TestATargetNeedsNothingOfLaterStages(t *testing.T) {
	u := filled(t, "one")
	b, _ := connected(t, u)
	dir := storetest.Files(t, map[string][]byte{
		"Kubefile": []byte("FROM scratch AS Small\nCOPY list images/shim/\nCMD [\"small\"]\n" +
			"FROM " + u.Ref("none:v1") + "\nCOPY missing /\nCMD [\"helm install x oci://registry.invalid/x\"]\n"),
		"list": []byte(u.Ref("one:v1") + "\n"),
	})
	for _, target := range []string{"small", "0"} {
		rec := mustBuild(t, b, BuildRequest{Name: "a:1", Context: dir, Target: target})
		if diff := cmp.Diff([]string{u.Ref("one:v1")}, refs(rec.Images)); diff != "" {
			t.Errorf("images (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff([]string{"images/shim/list"}, filesOf(t, b.Store, rec)); diff != "" {
			t.Errorf("files (-want +got):\n%s", diff)
		}
	}
	_, err := b.Build(t.Context(), BuildRequest{Name: "a:1", Context: dir, Target: "large"})
	if err == nil || !strings.HasSuffix(err.Error(), `Kubefile: --target: there is no stage "large": expected one of Small, 1`) {
		t.Errorf("error is %v", err)
	}
}

func TestBuildContextsAreTakenAndCount(t *testing.T) {
	u := filled(t, "one", "two")
	b, log := connected(t, u)
	image := u.PushImage(t, "made", "v1", here(), gzipLayer(t, file{"images/shim/made", u.Ref("two:v1") + "\n"}))
	extra := storetest.Files(t, map[string][]byte{
		"lists/a": []byte(u.Ref("one:v1") + "\n"), "lists/b.skip": []byte("no image at all\n"), "unread": nil, "lists/site.run": nil, ".containerignore": []byte("**/*.skip\n"),
	})
	r := BuildRequest{
		Name: "a:1",
		Context: storetest.Files(t, map[string][]byte{
			"Kubefile": []byte("FROM docker.io/library/nothing AS tools\nFROM base\nARG WHICH=tools\nCOPY --from=lists lists images/shim/\nCOPY --from=$WHICH / /tools/\n"),
		}),
		Contexts: map[string]NamedContext{"base": {Image: u.Ref("made:v1")}, "tools": {Layout: layoutOf(t, file{"t", "t"}) + ":v1"}, "lists": {Dir: extra, Exclude: []string{"lists/site.run"}}},
	}
	rec, _ := again(t, b, log, r)
	if diff := cmp.Diff([]string{"images/shim/a", "images/shim/made", "tools/t"}, filesOf(t, b.Store, rec)); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{u.Ref("one:v1"), u.Ref("two:v1")}, refs(rec.Images)); diff != "" {
		t.Errorf("images (-want +got):\n%s", diff)
	}
	if noted := annotation(t, b.Store, rec, v1.AnnotationBaseImageName); noted != u.Ref("made:v1") {
		t.Errorf("the image says it is built on %q", noted)
	}
	var inputs []string
	for _, in := range rec.Inputs {
		if in.Kind == "base" {
			inputs = append(inputs, in.Name+" "+in.Value)
		}
	}
	if !strings.HasPrefix(inputs[0], "base "+image.Digest.String()) || len(inputs) != 2 {
		t.Errorf("inputs are %q, want base %s and tools", inputs, image.Digest)
	}
	for _, change := range []struct {
		file string
		want bool
	}{{"unread", false}, {"lists/b.skip", false}, {"lists/site.run", false}, {"lists/a", true}} {
		if err := os.WriteFile(filepath.Join(extra, change.file), []byte(u.Ref("two:v1")+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, ran := again(t, b, log, r); ran != change.want {
			t.Errorf("with another %s: ran %v, want %v", change.file, ran, change.want)
		}
	}
	r.Contexts["lists"] = NamedContext{Dir: t.TempDir()}
	if _, err := b.Build(t.Context(), r); err == nil || !strings.Contains(err.Error(), `Kubefile:4:19: COPY: there is no "lists" in `) {
		t.Errorf("error is %v", err)
	}
}

// layoutOf is a directory with an OCI layout of an image with these files, named v1.
func layoutOf(t *testing.T, files ...file) string {
	t.Helper()
	dir := t.TempDir()
	blob := func(data []byte) v1.Descriptor {
		d := digest.FromBytes(data)
		path := filepath.Join(dir, "blobs", "sha256", d.Encoded())
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, data, 0o644); err != nil {
			t.Fatal(err)
		}
		return v1.Descriptor{Digest: d, Size: int64(len(data))}
	}
	layer := blob(tarOf(t, files...))
	layer.MediaType = v1.MediaTypeImageLayer
	config := blob(marshal(t, v1.Image{Platform: here(), RootFS: v1.RootFS{Type: "layers", DiffIDs: []digest.Digest{layer.Digest}}}))
	config.MediaType = v1.MediaTypeImageConfig
	m := v1.Manifest{MediaType: v1.MediaTypeImageManifest, Config: config, Layers: []v1.Descriptor{layer}}
	m.SchemaVersion = 2
	root := blob(marshal(t, m))
	root.MediaType, root.Annotations = m.MediaType, map[string]string{v1.AnnotationRefName: "v1"}
	other := root
	other.Annotations = map[string]string{v1.AnnotationRefName: "other"}
	index := v1.Index{MediaType: v1.MediaTypeImageIndex, Manifests: []v1.Descriptor{other, root}}
	index.SchemaVersion = 2
	if err := os.WriteFile(filepath.Join(dir, v1.ImageIndexFile), marshal(t, index), 0o644); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestVariablesOfABaseCountInNamesAndPaths(t *testing.T) {
	u := filled(t, "one", "two")
	b, _ := connected(t, u)
	config := upstreamtest.Config{Image: v1.Image{Platform: here()}}
	config.Config.Env = []string{"KIND=more", "WHICH=lists"}
	layer := tarOf(t, file{"images/shim/a", u.Ref("one:v1") + "\n"})
	for _, name := range []string{"base", "more"} {
		u.PushTyped(t, name, "v1", v1.MediaTypeImageManifest, config,
			upstreamtest.TypedLayer{MediaType: v1.MediaTypeImageLayer, Data: layer, DiffID: digest.FromBytes(layer)})
	}
	rec := mustBuild(t, b, BuildRequest{Name: "a:1", Context: storetest.Files(t, map[string][]byte{
		"Kubefile": []byte("FROM " + u.Ref("base:v1") + "\nCOPY --from=" + u.Ref("${KIND}:v1") + " /images /copied\nCOPY $WHICH images/shim/\n"),
		"lists/b":  []byte(u.Ref("two:v1") + "\n"),
	})})
	if diff := cmp.Diff([]string{"copied/shim/a", "images/shim/a", "images/shim/b"}, filesOf(t, b.Store, rec)); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	var names []string
	for _, in := range rec.Inputs {
		if in.Kind == "base" {
			names = append(names, in.Name)
		}
	}
	if diff := cmp.Diff([]string{u.Ref("base:v1"), u.Ref("more:v1")}, names); diff != "" {
		t.Errorf("recorded bases (-want +got):\n%s", diff)
	}
}

func TestWhatABaseHasDoneOnBuildIsSearchedAndCounts(t *testing.T) {
	detector.Whole(t)
	u := filled(t, "one", "two", "deploy")
	for name, mediaType := range map[string]string{"Docker": upstreamtest.DockerManifest, "OCI": v1.MediaTypeImageManifest} {
		layerType := map[string]string{"Docker": upstreamtest.DockerLayer, "OCI": v1.MediaTypeImageLayer}[name]
		t.Run(name, func(t *testing.T) {
			b, log := connected(t, u)
			config := upstreamtest.Config{Image: v1.Image{Platform: here()}}
			config.Config.OnBuild = []string{
				"ARG DIR=lists", "COPY $DIR images/shim/", "ADD more.yaml manifests/", "LABEL version=v9", "RUN /made",
				"COPY --from=" + u.Ref("deploy:v1") + " / /deploy/",
			}
			layer := tarOf(t, file{"base", ""})
			sh := toolLayer(t)
			u.PushTyped(t, "base", "v1", mediaType, config,
				upstreamtest.TypedLayer{MediaType: layerType, Data: layer, DiffID: digest.FromBytes(layer)},
				upstreamtest.TypedLayer{MediaType: layerType, Data: sh, DiffID: digest.FromBytes(sh)})
			u.PushTyped(t, "deploy", "v1", mediaType, upstreamtest.Config{Image: v1.Image{Platform: here()}},
				upstreamtest.TypedLayer{MediaType: layerType, Data: layer, DiffID: digest.FromBytes(layer)})
			dir := storetest.Files(t, map[string][]byte{
				"Kubefile": []byte("FROM " + u.Ref("base:v1") + "\n"), "lists/list": []byte(u.Ref("one:v1") + "\n"),
				"more.yaml": []byte("apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec: {containers: [{name: c, image: \"" + u.Ref("two:v1") + "\"}]}\n"),
			})
			r := BuildRequest{Name: "a:1", Context: dir}
			rec, _ := again(t, b, log, r)
			if diff := cmp.Diff([]string{u.Ref("one:v1"), u.Ref("two:v1")}, refs(rec.Images)); diff != "" {
				t.Errorf("images (-want +got):\n%s", diff)
			}
			want := []string{"base", "bin/sh", "deploy/base", "images/shim/list", "made", "manifests/more.yaml"}
			if diff := cmp.Diff(want, filesOf(t, b.Store, rec)); diff != "" || rec.Version != "v9" {
				t.Errorf("version %q, files (-want +got):\n%s", rec.Version, diff)
			}
			if _, ran := again(t, b, log, r); ran {
				t.Error("nothing changed, and it was built again")
			}
			if err := os.WriteFile(filepath.Join(dir, "lists", "list"), []byte(u.Ref("two:v1")+"\n"), 0o644); err != nil {
				t.Fatal(err)
			}
			if _, ran := again(t, b, log, r); !ran {
				t.Error("with another file that ONBUILD copies nothing was built")
			}
			if err := os.RemoveAll(filepath.Join(dir, "lists")); err != nil {
				t.Fatal(err)
			}
			_, err := b.Build(t.Context(), r)
			if err == nil || !strings.Contains(err.Error(), `Kubefile:1:1: ONBUILD COPY $DIR images/shim/ of the base image `+u.Ref("base:v1")+`: there is no "lists" in `) {
				t.Errorf("error is %v", err)
			}
		})
	}
}
