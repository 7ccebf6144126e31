package assemble

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/rogpeppe/go-internal/txtar"

	"github.com/sealbuild/sealbuild/bundle/assemble/scan"
	"github.com/sealbuild/sealbuild/bundle/assemble/store/storetest"
	"github.com/sealbuild/sealbuild/test/detector"
	"github.com/sealbuild/sealbuild/test/upstreamtest"
)

// knownForm is a file of testdata/forms; the README there says what it may hold.
type knownForm struct {
	lines map[string][]string // what stands behind the keys before the files
	files map[string]string
}

func readForm(t *testing.T, file, registry, server string) knownForm {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	archive := txtar.Parse([]byte(strings.NewReplacer("REGISTRY", registry, "SERVER", server).Replace(string(text))))
	f := knownForm{map[string][]string{}, map[string]string{}}
	_, head, _ := strings.Cut(string(archive.Comment), "\n\n")
	for line := range strings.Lines(head) {
		key, value, ok := strings.Cut(strings.TrimSpace(line), ":")
		if !ok || !slices.Contains([]string{
			"image", "plan", "error", "built error", "arg", "env", "target", "context", "base", "onbuild", "tar", "link", "tool", "served",
		}, key) {
			t.Fatalf("%s: %q is no line of a form: see README", file, line)
		}
		f.lines[key] = append(f.lines[key], strings.TrimSpace(value))
	}
	for _, one := range archive.Files {
		f.files[one.Name] = string(one.Data)
	}
	return f
}

// one is what stands behind a key that comes once.
func (f knownForm) one(key string) string { return strings.Join(f.lines[key], " ") }

// take takes the files of a directory out of the form.
func (f knownForm) take(dir string) []file {
	var all []file
	for name, text := range f.files {
		if below, ok := strings.CutPrefix(name, dir+"/"); ok {
			all = append(all, file{below, text})
			delete(f.files, name)
		}
	}
	return all
}

// request makes the context, and what a build of the form is given.
func (f knownForm) request(t *testing.T, u *upstreamtest.Upstream, server *http.ServeMux, tool []byte) BuildRequest {
	t.Helper()
	for _, dir := range f.lines["base"] {
		layer := tarOf(t, f.take(dir)...)
		config := upstreamtest.Config{Image: v1.Image{Platform: here()}}
		config.Config.OnBuild = f.lines["onbuild"]
		u.PushTyped(t, dir, "v1", v1.MediaTypeImageManifest, config,
			upstreamtest.TypedLayer{MediaType: v1.MediaTypeImageLayer, Data: layer, DiffID: digest.FromBytes(layer)})
	}
	for _, dir := range f.lines["served"] {
		for _, one := range f.take(dir) {
			server.HandleFunc("/"+one.name, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(one.text)) })
		}
	}
	r := BuildRequest{Name: "form:v1", Args: map[string]string{}, Env: f.lines["env"], Target: f.one("target"), Contexts: map[string]NamedContext{}}
	for _, text := range f.lines["context"] {
		name, dir, _ := strings.Cut(text, "=")
		files := map[string][]byte{}
		for _, one := range f.take(dir) {
			files[one.name] = []byte(one.text)
		}
		r.Contexts[name] = NamedContext{Dir: storetest.Files(t, files)}
	}
	files := map[string][]byte{}
	for _, text := range f.lines["tar"] {
		name, dir, _ := strings.Cut(text, "=")
		files[name] = gzipLayer(t, f.take(dir)...)
	}
	for _, name := range f.lines["tool"] {
		files[name] = tool
	}
	for name, text := range f.files {
		files[name] = []byte(text)
	}
	r.Context = storetest.Files(t, files)
	for _, text := range f.lines["link"] {
		name, target, _ := strings.Cut(text, "=")
		if err := os.Symlink(target, filepath.Join(r.Context, name)); err != nil {
			t.Fatal(err)
		}
	}
	for _, text := range f.lines["arg"] {
		k, v, _ := strings.Cut(text, "=")
		r.Args[k] = v
	}
	return r
}

// planned is what sealbuild plan shows.
func planned(t *testing.T, r BuildRequest) ([]string, error) {
	t.Helper()
	options := Options(r, here())
	if err := Check(r, options...); err != nil {
		return nil, err
	}
	p, err := scan.MakePlan(t.Context(), r.Context, r.Kubefile, scan.Options{Env: r.Env, Kube: r.Kube}, options...)
	if err != nil {
		return nil, err
	}
	var all []string
	for _, f := range p.Images {
		all = append(all, f.Ref)
	}
	return all, nil
}

// TestFormsOfKubefilesAndTheImagesFound builds every form: the plan, the search of the built image and the record must have what
// the form says. Under the race detector it is a sample; see UNRACED in the Makefile.
func TestFormsOfKubefilesAndTheImagesFound(t *testing.T) {
	u := filled(t, "one", "two", "three")
	b, _ := connected(t, u)
	mux := http.NewServeMux()
	server := httptest.NewServer(mux)
	defer server.Close()
	program := tool(t)
	forms, err := filepath.Glob("testdata/forms/*.txtar")
	if err != nil || len(forms) < 30 {
		t.Fatalf("%d forms, %v", len(forms), err)
	}
	for i, file := range forms {
		if detector.On && i%8 != 0 {
			continue
		}
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			f := readForm(t, file, u.Host, server.URL)
			checkForm(t, b, f, f.request(t, u, mux, program), u.Host)
		})
	}
}

func checkForm(t *testing.T, b *Builder, f knownForm, r BuildRequest, registry string) {
	t.Helper()
	full := func(names string) (all []string) {
		for name := range strings.FieldsSeq(names) {
			all = append(all, registry+"/"+name+":v1")
		}
		return all
	}
	differs := func(want, got []string) string {
		return cmp.Diff(want, got, cmpopts.EquateEmpty(), cmpopts.SortSlices(strings.Compare))
	}
	image, plan := full(f.one("image")), full(f.one("image"))
	if _, ok := f.lines["plan"]; ok {
		plan = full(f.one("plan"))
	}
	shown, planErr := planned(t, r)
	rec, buildErr := b.Build(t.Context(), r)
	if want := f.one("error") + f.one("built error"); want != "" {
		if f.one("error") != "" && (planErr == nil || !strings.Contains(planErr.Error(), want)) || f.one("error") == "" && planErr != nil {
			t.Errorf("the plan says %v", planErr)
		}
		if buildErr == nil || !strings.Contains(buildErr.Error(), want) {
			t.Errorf("the build says %v", buildErr)
		}
		return
	}
	if err := errors.Join(planErr, buildErr); err != nil {
		t.Fatal(err)
	}
	if diff := differs(plan, shown); diff != "" {
		t.Errorf("the plan shows (-want +got):\n%s", diff)
	}
	images, err := b.ofEach("form:v1", rec.Manifest, []v1.Platform{here()})
	if err != nil {
		t.Fatal(err)
	}
	inside, err := b.needed(t.Context(), images, false)
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, c := range inside.Claims {
		found = append(found, c.Pinned.Ref)
	}
	if diff := differs(image, found); diff != "" {
		t.Errorf("the image holds (-want +got):\n%s", diff)
	}
	both := append(slices.Clone(image), plan...)
	slices.Sort(both)
	if diff := differs(slices.Compact(both), refs(rec.Images)); diff != "" {
		t.Errorf("the record has (-want +got):\n%s", diff)
	}
}
