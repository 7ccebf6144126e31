package payload

import (
	"testing"

	"github.com/sealbuild/sealbuild/bundle/bundletest"
	"github.com/sealbuild/sealbuild/registry/registrytest"
)

func TestBundleIsASource(t *testing.T) {
	registrytest.Source(t, func(t *testing.T, blobs registrytest.Blobs) registrytest.Kept {
		b, damage := bundletest.Of(t, blobs)
		return registrytest.Kept{Source: Source(b), Damage: damage}
	})
}
