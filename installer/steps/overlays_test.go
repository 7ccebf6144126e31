package steps

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sealbuild/sealbuild/installer/payload"
	"github.com/sealbuild/sealbuild/installer/steps/stepstest"
)

func TestAFileOfSeveralImagesIsThatOfTheLast(t *testing.T) {
	r := loaded(t, []stepstest.Image{
		{Name: "root:1", Type: "rootfs", Files: map[string]string{"etc/a.tmpl": "root", "etc/b.tmpl": "root", "etc/c": "root", "etc/d.tmpl": "root"}},
		{Name: "patch:1", Type: "patch", Files: map[string]string{"etc/a.tmpl": "one", "etc/b": "one"}},
		{Name: "patch:2", Type: "patch", Files: map[string]string{"etc/a.tmpl": "two", "etc/c.tmpl": "two"}},
		{Name: "app:1", Type: "application", Files: map[string]string{"etc/a.tmpl": "app"}},
	}, oneMaster)
	m := r.Master0()
	m.Overlays = payload.Overlays{}
	for _, i := range r.Payload.Images {
		o, err := i.Overlay(nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		m.Overlays[i] = o
	}
	texts := func(dir string) map[string]string {
		out := map[string]string{}
		for name, f := range r.Share(m).Rendered(dir) {
			out[name] = string(f.Content)
		}
		return out
	}
	// etc/b is a plain file of the first patch, so nothing is laid over it.
	if d := cmp.Diff(map[string]string{"etc/a": "two", "etc/c": "two", "etc/d": "root"}, texts(r.RootfsDir())); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff(map[string]string{"etc/a": "app"}, texts(r.Payload.Images[3].Dir)); d != "" {
		t.Error(d)
	}
}
