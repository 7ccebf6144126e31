package write

import (
	"testing"

	"github.com/sealbuild/sealbuild/test/bundletest"
	"github.com/sealbuild/sealbuild/test/sourcetest"
)

func TestBundleThatIsTriedIsASource(t *testing.T) {
	sourcetest.Source(t, func(t *testing.T, blobs sourcetest.Blobs) sourcetest.Kept {
		b, damage := bundletest.Of(t, blobs)
		return sourcetest.Kept{Source: inBundle{b}, Damage: damage}
	})
}
