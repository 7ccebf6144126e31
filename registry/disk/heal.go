package disk

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/opencontainers/go-digest"

	"github.com/sealbuild/sealbuild/registry/catalog"
)

// Damage is a blob that is not what it should be.
type Damage struct {
	Digest   digest.Digest
	Missing  bool  // something names it, and it is not there
	Repaired bool  // the blob is there and right now
	Err      error // why it could not be repaired; nil if no source was given
}

// Heal reads every blob of the store on all cores, and looks for those that manifests name. What is damaged or missing is taken
// from the first of sources that has it right, verified on the way. Without sources nothing is changed. progress, if not nil, is
// told of bytes as they are read, from several goroutines.
func (s *Store) Heal(ctx context.Context, sources []catalog.Source, progress func(bytes int64)) ([]Damage, error) {
	bad, err := s.Verify(ctx, progress)
	if err != nil {
		return nil, fmt.Errorf("verify %s: %w", s.root, err)
	}
	var found []Damage
	known := map[digest.Digest]bool{}
	note := func(d digest.Digest, missing bool) {
		if !known[d] {
			known[d] = true
			found = append(found, Damage{Digest: d, Missing: missing})
		}
	}
	for _, b := range bad {
		note(b.Digest, false)
	}
	if found, err = s.repair(ctx, found, sources); err != nil {
		return found, err
	}
	// A manifest that was repaired may name what is missing, so manifests are read now, until none brings anything new.
	for {
		before := len(found)
		w := catalog.NewWalker(s, func(b catalog.Blob) { note(b.Digest, true) })
		if _, err := s.catalog(ctx, w, func(d digest.Digest) { note(d, true) }); err != nil {
			return found, fmt.Errorf("verify %s: %w", s.root, err)
		}
		if len(found) == before {
			return found, nil
		}
		rest, err := s.repair(ctx, found[before:], sources)
		copy(found[before:], rest)
		if err != nil {
			return found, err
		}
	}
}

func (s *Store) repair(ctx context.Context, damaged []Damage, sources []catalog.Source) ([]Damage, error) {
	if len(sources) == 0 || len(damaged) == 0 {
		return damaged, nil
	}
	lock, err := s.Lock(ctx, false)
	if err != nil {
		return damaged, fmt.Errorf("repair %s: %w", s.root, err)
	}
	defer lock.Close()
	session, err := s.NewSession()
	if err != nil {
		return damaged, err
	}
	defer session.Close()
	for i := range damaged {
		d := &damaged[i]
		var errs []error
		for _, src := range sources {
			if _, ok := src.Stat(d.Digest); !ok {
				continue
			}
			err := session.take(ctx, src, d.Digest)
			if ctx.Err() != nil {
				return damaged, ctx.Err()
			}
			if err == nil {
				d.Repaired = true
				break
			}
			errs = append(errs, err)
		}
		if !d.Repaired {
			d.Err = errors.Join(append(errs, fmt.Errorf("no other place has blob %s right", d.Digest))...)
		}
	}
	return damaged, s.Sync()
}

// take copies a blob from a source into its place. durable.Write does not fit: what a session receives lies in its own directory,
// and the names of all repaired blobs are made durable together.
func (x *Session) take(ctx context.Context, src catalog.Source, d digest.Digest) error {
	r, err := src.OpenBlob(d)
	if err != nil {
		return err
	}
	defer r.Close()
	f, err := x.Create()
	if err != nil {
		return fmt.Errorf("repair blob %s: %w", d, err)
	}
	defer os.Remove(f.Name()) // does nothing once it has its place
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(io.MultiWriter(h, f), Watched(ctx, r, nil)); err != nil {
		return fmt.Errorf("repair blob %s: %w", d, err)
	}
	if digest.NewDigest(digest.SHA256, h) != d {
		return fmt.Errorf("repair blob %s: %w", d, catalog.ErrDamaged)
	}
	if err := f.Sync(); err != nil {
		return fmt.Errorf("repair blob %s: %w", d, err)
	}
	if err := x.store.PutInPlace(f.Name(), d); err != nil {
		return fmt.Errorf("repair blob %s: %w", d, err)
	}
	return nil
}
