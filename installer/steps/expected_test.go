package steps

import (
	"errors"
	"slices"
	"testing"

	"github.com/sealbuild/sealbuild/bundle"
	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/steps/stepstest"
)

// lean is the usual cluster, without what a site has where it was installed before.
func lean() []stepstest.Image {
	images := stepstest.Cluster()
	i := slices.IndexFunc(images, func(i stepstest.Image) bool { return i.Name == "registry.k8s.io/pause:3.10.2" })
	images[i].OnSite = true
	return images
}

func TestBlobsThatTheSiteShouldHaveAndLacksAreListedBeforeAnyChange(t *testing.T) {
	if !apart(t) {
		return
	}
	r := newRun(t, makeBundle(t, lean()), t.Output(), sshHost(t, "127.0.0.2", "right", true))
	mustCheck(t, r)
	err := inEngine(t.Context(), r, (*Run).openBundle)
	lacks := new(bundle.MissingError)
	if !errors.As(err, &lacks) || len(lacks.Blobs) != 2 || !slices.Contains(r.Payload.Bundle.Expected(), lacks.Blobs[0]) {
		t.Fatalf("open-bundle = %v", err)
	}
	mustLeaveNothing(t)
}

func TestBundleWithoutWhatTheSiteHasInstalls(t *testing.T) {
	if !apart(t) {
		return
	}
	master := sshHost(t, "127.0.0.2", "right", true)
	t.Setenv("SEALOS_RUNTIME_ROOT", t.TempDir())
	for _, images := range [][]stepstest.Image{stepstest.Cluster(), lean()} {
		r := newRun(t, makeBundle(t, images), t.Output(), master)
		mustCheck(t, r)
		i := slices.IndexFunc(Install(), func(s Step) bool { return s.Name == "bootstrap" })
		if _, err := installer.RunSteps(t.Context(), Install()[1:i], r, r.Report); err != nil {
			t.Fatal(err)
		}
		closeRun(t, r)
	}
}
