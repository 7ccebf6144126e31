package assemble

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sealbuild/sealbuild/bundle/assemble/store/storetest"
	"github.com/sealbuild/sealbuild/test/upstreamtest"
)

func TestUnchangedInputsBuildWithoutTheirRegistry(t *testing.T) {
	u := upstreamtest.New(t)
	u.PushImage(t, "app/x", "v1", here(), upstreamtest.Layer("x", 1000))
	u.PushImage(t, "base", "v1", here(), layerTar(t, "base"))
	b, log := connected(t, u)
	notes := b.Report.(*notes)
	r := BuildRequest{Name: "x:1", Context: storetest.Files(t, map[string][]byte{
		"Kubefile": []byte("FROM " + u.Ref("base:v1") + "\nCOPY . /\n"), "images/shim/list": []byte(u.Ref("app/x:v1") + "\n"),
	})}
	first := mustBuild(t, b, r)
	u.Close()
	told := func() []string {
		return slices.DeleteFunc(slices.Clone(notes.text), func(n string) bool { return !strings.HasPrefix(n, "registry unreachable: ") })
	}
	if len(told()) > 0 {
		t.Errorf("told while the registry answered: %q", told())
	}
	log.Reset()
	second := mustBuild(t, b, r)
	if diff := cmp.Diff(first.Images, second.Images); diff != "" || second.Manifest.Digest != first.Manifest.Digest {
		t.Errorf("built %s, then %s; images (-first +second):\n%s", first.Manifest.Digest, second.Manifest.Digest, diff)
	}
	if strings.Contains(log.String(), "STEP") {
		t.Errorf("built again: %s", log)
	}
	for _, ref := range []string{"base:v1", "app/x:v1"} {
		if !slices.ContainsFunc(told(), func(n string) bool { return strings.Contains(n, u.Ref(ref)+" is taken as it was on ") }) {
			t.Errorf("nothing is told of %s: %q", ref, told())
		}
	}
	r.NoCache = true
	if _, err := b.Build(t.Context(), r); err == nil || !strings.Contains(err.Error(), "check the network") {
		t.Errorf("without a cache: error is %v", err)
	}
	if _, err := b.Pull(t.Context(), PullRequest{Ref: u.Ref("base:v1")}); err == nil {
		t.Error("an image was pulled from a registry that is not there")
	}
}
