package store

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"
)

// ErrBusy is the cause when blobs cannot be deleted because another sealbuild is using the store.
var ErrBusy = errors.New("another sealbuild is using the image store")

// Removed is what Remove has done.
type Removed struct {
	Freed int64 // bytes
	Later bool  // another sealbuild uses the store: Prune frees the blobs when it has ended
}

// Remove deletes an image's record and the blobs that no other image reaches. What another sealbuild may be reading stays until no
// other one is there.
func (s *Store) Remove(name string) (done Removed, err error) {
	r, err := s.Load(name)
	if err != nil {
		return done, err
	}
	key, err := Key(r.Name)
	if err != nil {
		return done, err
	}
	if err := os.Remove(filepath.Join(s.root, "images", recordFile(key))); err != nil {
		return done, fmt.Errorf("remove image %s: %w", r.Name, err)
	}
	if err := s.writeIndex(); err != nil {
		return done, err
	}
	err = s.exclusively(func() error {
		candidates := map[digest.Digest]bool{}
		s.reach(r, candidates)
		done.Freed, err = s.drop(candidates)
		return err
	})
	if errors.Is(err, ErrBusy) {
		done.Later, err = true, nil
	}
	return done, err
}

// Prune deletes every blob that no image reaches, and every download that was
// cut: what failed builds and removed images left in the cache. It returns the bytes freed.
func (s *Store) Prune() (int64, error) {
	var freed int64
	err := s.exclusively(func() error {
		n, err := s.dropPartials()
		freed += n
		if err != nil {
			return err
		}
		entries, err := os.ReadDir(filepath.Join(s.root, "blobs", "sha256"))
		if err != nil {
			return fmt.Errorf("list blobs: %w", err)
		}
		all := map[digest.Digest]bool{}
		for _, e := range entries {
			d := digest.NewDigestFromEncoded(digest.SHA256, e.Name())
			if checkDigest(d) == nil {
				all[d] = true
			}
		}
		n, err = s.drop(all)
		freed += n
		return err
	})
	return freed, err
}

// drop deletes those candidates that no record reaches.
func (s *Store) drop(candidates map[digest.Digest]bool) (int64, error) {
	all, err := s.List()
	if err != nil {
		return 0, err
	}
	used := map[digest.Digest]bool{}
	for _, r := range all {
		s.reach(r, used)
	}
	var freed int64
	for d := range candidates {
		if used[d] {
			continue
		}
		n, err := s.removeBlob(d)
		if err != nil {
			return freed, err
		}
		freed += n
	}
	return freed, nil
}

// reach adds what a record reaches. An image with missing blobs counts as far as it goes.
func (s *Store) reach(r Record, into map[digest.Digest]bool) {
	roots := []v1.Descriptor{r.Manifest}
	for _, p := range r.Images {
		roots = append(roots, v1.Descriptor{Digest: p.Digest, MediaType: p.MediaType})
	}
	for _, root := range roots {
		into[root.Digest] = true
		blobs, _ := s.Walk(root)
		for _, b := range blobs {
			into[b.Digest] = true
		}
	}
}

// exclusively runs fn while no other process has the store open.
func (s *Store) exclusively(fn func() error) error {
	// Converting a lock may lose it, so it is taken shared again either way.
	defer func() { _ = flock(s.lock, unix.LOCK_SH) }()
	if err := flock(s.lock, unix.LOCK_EX|unix.LOCK_NB); err != nil {
		if errors.Is(err, unix.EWOULDBLOCK) {
			return fmt.Errorf("remove from %s: %w; try again when it has ended", s.root, ErrBusy)
		}
		return fmt.Errorf("lock image store: %w", err)
	}
	return fn()
}
