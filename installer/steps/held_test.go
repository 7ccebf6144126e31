package steps

import (
	"slices"
	"strings"
	"testing"

	"github.com/sealbuild/sealbuild/installer/steps/stepstest"
)

func TestImagesThatANodeCannotDoWithoutAreNamedAsTheRuntimeHoldsThem(t *testing.T) {
	for name, c := range map[string]struct {
		images                []stepstest.Image
		env                   map[string]string
		care, repository, dns string
	}{
		"an image made for sealos": {images: stepstest.Sealos("x"), care: "sealos.hub:5000/sealbuild.io/care:v1", repository: "sealos.hub:5000", dns: "sealos.hub:5000/coredns"},
		"with another registry": {
			images: stepstest.Sealos("x"), env: map[string]string{"registryDomain": "hub.site", "registryPort": "5001"},
			care: "hub.site:5001/sealbuild.io/care:v1", repository: "hub.site:5001", dns: "hub.site:5001/coredns",
		},
		"without a shim":   {images: stepstest.Sealos("x"), env: map[string]string{"SEALOS_SYS_IMAGE_ENDPOINT": "/run/containerd/containerd.sock"}, care: "sealbuild.io/care:v1"},
		"an image of ours": {images: stepstest.Cluster(), care: "sealbuild.io/care:v1"},
	} {
		r := loaded(t, c.images, oneMaster, hostAt("127.0.0.3", 0, false))
		r.Cluster.Env = c.env
		if err := r.secrets.Settle(t.Context()); err != nil {
			t.Fatal(err)
		}
		for _, target := range r.Targets {
			target.Facts.Hostname = "host"
		}
		if got, err := r.CareImage(r.Targets[1]); err != nil || got != c.care {
			t.Errorf("%s: care is %q, %v", name, got, err)
		}
		docs, err := r.InitDocuments(r.Master0())
		if err != nil {
			t.Fatal(err)
		}
		text, err := docs.YAML()
		if err != nil {
			t.Fatal(err)
		}
		var found []string
		for line := range strings.Lines(string(text)) {
			if _, value, ok := strings.Cut(line, "imageRepository: "); ok {
				found = append(found, strings.TrimSpace(value))
			}
		}
		var want []string
		if c.repository != "" {
			want = []string{c.dns, c.repository}
		}
		if !slices.Equal(found, want) {
			t.Errorf("%s: repositories %v, want %v", name, found, want)
		}
		closeRun(t, r)
	}
}

func TestTheKeeperIsOursWhateverTheLabelNames(t *testing.T) {
	images := stepstest.Sealos("x") // whose label names ghcr.io/labring/lvscare:v4.3.7
	images = append(images, stepstest.Image{Name: "ghcr.io/labring/lvscare:v4.3.7", Files: map[string]string{"usr/bin/lvscare": "x"}, Gzip: true})
	r := loaded(t, images, oneMaster, hostAt("127.0.0.3", 0, false))
	if got, err := r.CareImage(r.Targets[1]); err != nil || !strings.HasSuffix(got, "sealbuild.io/care:v1") {
		t.Errorf("care is %q, %v", got, err)
	}
}
