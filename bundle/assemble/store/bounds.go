package store

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/dustin/go-humanize"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/sealbuild/sealbuild/ground/ocigraph"
)

// Bounds for what is unpacked of a file that anybody may have made: so many times its size, and so many bytes; and so many files.
const (
	maxGrowth = 200
	freeBytes = 1 << 30
	MaxFiles  = 1_000_000
)

// Room is how many bytes may be unpacked of a file of so many bytes.
func Room(size int64) int64 { return freeBytes + maxGrowth*size }

// GrowthError is a file that unpacks to more than it has reason to.
type GrowthError struct{ Size int64 } // bytes of what did not fit, 0 if that is not known

func (e *GrowthError) Error() string {
	what := "it unpacks to more"
	if e.Size > 0 {
		what = "it has " + humanize.IBytes(uint64(e.Size))
	}
	return fmt.Sprintf("%s: what is unpacked may be %d times as large as what it is packed in and %s, and not more (no builder makes such files: "+
		"do you know where this comes from?)", what, maxGrowth, humanize.IBytes(freeBytes))
}

// Bounded refuses an image of the store whose layers hold more than they have reason to, before somebody unpacks it.
func Bounded(ctx context.Context, s *Store, image v1.Descriptor) error {
	m, err := ocigraph.Read(s, image.Digest)
	if err != nil {
		return err
	}
	for _, l := range m.Layers {
		if err := bounded(ctx, s, l); err != nil {
			return fmt.Errorf("layer %s: %w", l.Digest, err)
		}
	}
	return nil
}

func bounded(ctx context.Context, s *Store, layer v1.Descriptor) error {
	memo := s.Memo("bounded", layer.Digest.String())
	var known bool
	if memo.Read(&known) && known {
		return nil
	}
	f, err := s.OpenBlob(layer.Digest)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	plain, err := Unpacked(f)
	if err != nil {
		return nil // the build says what is wrong with it
	}
	defer func() { _ = plain.Close() }()
	room, files := Room(layer.Size), 0
	for entries := tar.NewReader(plain); ; {
		if err := ctx.Err(); err != nil {
			return err
		}
		h, err := entries.Next()
		if errors.Is(err, io.EOF) {
			memo.Write(true)
			return nil
		}
		if err != nil {
			return nil // the same
		}
		if h.Typeflag != tar.TypeReg {
			continue
		}
		if files++; files > MaxFiles {
			return fmt.Errorf("it has more than %d files", MaxFiles)
		}
		if room -= h.Size; room < 0 {
			return fmt.Errorf("%s: %w", h.Name, &GrowthError{h.Size})
		}
	}
}
