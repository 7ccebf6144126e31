package sealos

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"

	"github.com/sealbuild/sealbuild/registry/catalog"
)

// A registry of an image made for sealos knows no domains.
func TestOfTwoImagesWithOnePathOneCountsAndTheOtherIsTold(t *testing.T) {
	one, two := digest.FromString("one"), digest.FromString("two")
	var told []string
	got := ShortNames(catalog.Catalog{Repositories: []catalog.Repository{
		{Name: "ghcr.io/team/app", Tags: map[string]digest.Digest{"v1": one, "v2": one}},
		{Name: "quay.io/team/app", Tags: map[string]digest.Digest{"v1": two, "v2": one}},
	}}, func(format string, args ...any) { told = append(told, fmt.Sprintf(format, args...)) })
	tags := map[string]map[string]digest.Digest{}
	for _, repository := range got.Repositories {
		tags[repository.Name] = repository.Tags
	}
	if diff := cmp.Diff(map[string]map[string]digest.Digest{
		"ghcr.io/team/app": {"v1": one, "v2": one}, "quay.io/team/app": {"v1": two, "v2": one}, "team/app": {"v1": one, "v2": one},
	}, tags); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if len(told) != 1 || !strings.HasPrefix(told[0], "quay.io/team/app:v1 and another image are both team/app:v1") {
		t.Errorf("told: %q", told)
	}
}
