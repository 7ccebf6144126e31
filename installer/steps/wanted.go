package steps

import (
	"regexp"

	"github.com/opencontainers/go-digest"

	"github.com/sealbuild/sealbuild/bundle"
	"github.com/sealbuild/sealbuild/installer"
)

// wantedImages are the cluster images asked for, in the order in which they are
// asked for; all of the bundle when nothing is said.
func (r *Run) wantedImages() ([]bundle.Image, error) {
	var have []string
	byName := map[string]bundle.Image{}
	for _, b := range r.Bundle.Images() {
		if b.Kind == bundle.KindCluster {
			have = append(have, b.Name)
			byName[b.Name] = b
		}
	}
	names := have
	if len(r.Cluster.Images) > 0 {
		var err error
		if names, err = installer.ResolveImages(r.Cluster.Images, have); err != nil {
			return nil, err
		}
	}
	var out []bundle.Image
	for _, name := range names {
		out = append(out, byName[name])
	}
	return out, nil
}

var notInNames = regexp.MustCompile(`[^A-Za-z0-9._-]+`)

// dirName is an image's name as part of a path. app:v1 and app-v1 are two
// images, so a few digits of the name's digest tell them apart.
func dirName(image string) string {
	plain := notInNames.ReplaceAllString(image, "-")
	if plain == image {
		return image
	}
	return plain + "-" + digest.FromString(image).Encoded()[:8]
}
