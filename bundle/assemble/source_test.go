package assemble

import (
	"testing"

	"github.com/sealbuild/sealbuild/bundle/bundletest"
	"github.com/sealbuild/sealbuild/registry/registrytest"
)

func TestBundleThatIsTriedIsASource(t *testing.T) {
	registrytest.Source(t, func(t *testing.T, blobs registrytest.Blobs) registrytest.Kept {
		b, damage := bundletest.Of(t, blobs)
		return registrytest.Kept{Source: inBundle{b}, Damage: damage}
	})
}
