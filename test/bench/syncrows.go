package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/sealbuild/sealbuild/registry/storesync"
)

// Limits of the project's goals.
const (
	nothingLimit = 0.1 // s
	manyLimit    = 0.5 // s
	manyWire     = 0.5 // MB
	catShare     = 0.85
)

// one measures one image that is missing among forty, then nothing, then all.
func (s *syncing) one(ctx context.Context) (err error) {
	images := append(applications(madeImages), madeImage{newImage, []madeBlob{{1, newLayer}, {2, newSmall}}})
	s.say("the input of the sync measurements")
	c, err := s.compare(ctx, "forty", images, newImage)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.close()) }()
	var ours, theirs, wire, limit, rsynced, nothing, nothingWire, rsyncNothing, rsyncNothingWire series
	var missing, known float64
	for i := range s.runs {
		s.say("sync, run %d of %d", i+1, s.runs)
		if err := c.take(ctx); err != nil {
			return err
		}
		r, err := s.round(ctx, c)
		if err != nil {
			return err
		}
		if r.receipt.BlobsMissing != 4 {
			return fmt.Errorf("%d blobs were missing, not those of one image: %+v", r.receipt.BlobsMissing, r.receipt)
		}
		ours, theirs, wire, rsynced = append(ours, r.ours), append(theirs, r.theirs), append(wire, r.wire), append(rsynced, r.rsynced)
		missing, known = float64(r.receipt.BytesMissing)/1e6, float64(r.receipt.BlobsKnown)
		limit = append(limit, 1.01*missing+40*known/1e6)
		if r, err = s.round(ctx, c); err != nil {
			return err
		}
		if r.receipt.BlobsMissing != 0 {
			return fmt.Errorf("blobs were missing: %+v", r.receipt)
		}
		nothing, nothingWire = append(nothing, r.ours), append(nothingWire, r.wire)
		rsyncNothing, rsyncNothingWire = append(rsyncNothing, r.theirs), append(rsyncNothingWire, r.rsynced)
	}
	t := &s.table
	t.command = fmt.Sprintf("one image of %.1f MB in 4 blobs is missing, %.0f blobs are known; over an open ssh connection, the bundle's manifests are read, the other end is started; all durable", missing, known)
	t.add("sync/one-image", "s", ours)
	t.most("sync/one-image-wire", "MB", wire, median(limit))
	t.command = "rsync -a of the same directory to an rsync daemon; nothing is verified or synced to the disk"
	t.add("sync/one-image-rsync", "s", theirs)
	t.add("sync/one-image-rsync-wire", "MB", rsynced)
	t.most("sync/one-image-to-rsync", "ratio", ratios(ours, theirs), 1)
	t.command = "the same with nothing missing"
	t.most("sync/nothing", "s", nothing, nothingLimit)
	t.add("sync/nothing-wire", "MB", nothingWire)
	t.add("sync/nothing-rsync", "s", rsyncNothing)
	t.add("sync/nothing-rsync-wire", "MB", rsyncNothingWire)
	return s.everything(ctx, c)
}

// many measures a store of ten thousand blobs of which none is missing.
func (s *syncing) many(ctx context.Context) (err error) {
	c, err := s.compare(ctx, "many", small(manyImages), "")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.close()) }()
	var ours, theirs, wire, rsynced, known series
	for i := range s.runs {
		s.say("sync of many blobs, run %d of %d", i+1, s.runs)
		r, err := s.round(ctx, c)
		if err != nil {
			return err
		}
		if r.receipt.BlobsMissing != 0 {
			return fmt.Errorf("blobs were missing: %+v", r.receipt)
		}
		ours, theirs, wire, rsynced = append(ours, r.ours), append(theirs, r.theirs), append(wire, r.wire), append(rsynced, r.rsynced)
		known = append(known, float64(r.receipt.BlobsKnown))
	}
	t := &s.table
	t.command = "a store of many small blobs, nothing missing"
	t.add("sync/many-blobs", "blobs", known)
	t.most("sync/many-nothing", "s", ours, manyLimit)
	t.most("sync/many-nothing-wire", "MB", wire, manyWire)
	t.add("sync/many-nothing-rsync", "s", theirs)
	t.add("sync/many-nothing-rsync-wire", "MB", rsynced)
	return nil
}

// everything measures an empty host, beside the same bytes through ssh. Both log
// in first.
func (s *syncing) everything(ctx context.Context, c *compared) error {
	info, err := os.Stat(c.file.path)
	if err != nil {
		return err
	}
	var ours, cat, synced series
	copied, root := filepath.Join(s.dir, "copied"), filepath.Join(s.dir, "empty")
	rate := func(bytes int64, seconds float64) float64 { return float64(bytes) / 1e6 / seconds }
	for i := range s.runs {
		s.say("sync of everything, run %d of %d", i+1, s.runs)
		for _, sync := range []bool{false, true} {
			if err := s.settle(ctx); err != nil {
				return err
			}
			u, err := s.ssh.cat(ctx, s.dir, c.file.path, copied, sync)
			if err := errors.Join(err, os.Remove(copied)); err != nil {
				return err
			}
			if sync {
				synced = append(synced, rate(info.Size(), u.seconds))
			} else {
				cat = append(cat, rate(info.Size(), u.seconds))
			}
		}
		if err := s.settle(ctx); err != nil {
			return err
		}
		r, seconds, err := s.wholly(ctx, c, root)
		if err := errors.Join(err, os.RemoveAll(root)); err != nil {
			return err
		}
		ours = append(ours, rate(r.BytesSent, seconds))
	}
	t := &s.table
	t.command = "everything is missing: login, then the whole bundle; every byte verified and synced to the disk"
	t.add("sync/everything", "MB/s", ours)
	t.command = "ssh host 'cat > file' of the bundle; nothing is verified or synced"
	t.add("sync/ssh-cat", "MB/s", cat)
	t.least("sync/everything-to-ssh-cat", "ratio", ratios(ours, cat), catShare)
	t.command = "ssh host 'cat > file && sync file'"
	t.add("sync/ssh-cat-sync", "MB/s", synced)
	t.add("sync/everything-to-ssh-cat-sync", "ratio", ratios(ours, synced))
	return nil
}

func (s *syncing) wholly(ctx context.Context, c *compared, root string) (r storesync.Receipt, seconds float64, err error) {
	login, err := s.loggedIn(ctx)
	if err != nil {
		return r, 0, err
	}
	defer func() { err = errors.Join(err, login.Close()) }()
	r, took, err := s.push(ctx, login, c.file, root, storesync.PushOptions{})
	return r, took.Seconds() + login.seconds, err
}
