package registry

import (
	"context"
	"testing"
)

func FuzzParseManifest(f *testing.F) {
	src := mapSource{}
	f.Add(src[src.image("x", []byte("l")).Digest])
	f.Add(src[src.index(src.image("y")).Digest])
	f.Fuzz(func(t *testing.T, data []byte) {
		m := mapSource{}
		_, _ = BuildCatalog(context.Background(), []Ref{{"x", m.add(data)}}, m)
	})
}
