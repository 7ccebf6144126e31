package resolve

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/klauspost/compress/gzip"

	"github.com/sealbuild/sealbuild/bundle/assemble/store"
	"github.com/sealbuild/sealbuild/bundle/assemble/store/storetest"
)

func TestArchivesThatUnpackToMoreThanTheyMayAreRefused(t *testing.T) {
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	_, _ = z.Write(make([]byte, 1<<20))
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		content []byte
		room    int64
		refused bool
	}{
		"zeros.tar.gz":       {packed.Bytes(), 1<<20 - 1, true},
		"zeros that fit.gz":  {packed.Bytes(), 1 << 20, false},
		"a hole.tar":         {storetest.Sparse(t, "layer.tar", 3<<30), 0, true},
		"what is no archive": {[]byte("text"), 0, false},
		"an empty archive":   {make([]byte, 1024), 0, false},
	} {
		file := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(file, tc.content, 0o644); err != nil {
			t.Fatal(err)
		}
		_, err := plainWithin(t.Context(), t.TempDir(), file, func(int64) int64 { return tc.room })
		if grown := new(store.GrowthError); errors.As(err, &grown) != tc.refused || !tc.refused && err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
