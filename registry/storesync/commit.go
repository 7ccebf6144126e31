package storesync

import (
	"context"
	"fmt"

	"golang.org/x/sync/errgroup"

	"github.com/sealbuild/sealbuild/registry/disk"
)

const (
	commitsAtOnce = 4         // fsyncs, or batches, under way
	smallBlob     = 256 << 10 // bytes up to which blobs are made durable many at a time
	batchSize     = 128       // blobs in a batch, each an open file
)

// committer makes whole and verified blobs durable and gives them their names, several at once.
//
// An fsync costs a journal commit and a flush of the disk's cache, however small the file, and even when there is nothing left to
// write. So small blobs wait for each other, and one syncfs writes them all. Older kernels do not tell what went wrong in it;
// each file is asked for that, which costs nothing.
type committer struct {
	rc    *receiver
	group *errgroup.Group
	named chan int // indexes of the blobs that have their names
	batch []*incoming
}

// newCommitter returns a committer, and a context that ends when a commit fails.
func newCommitter(ctx context.Context, rc *receiver) (*committer, context.Context) {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(commitsAtOnce)
	return &committer{rc: rc, group: group, named: make(chan int, batchSize)}, ctx
}

// add takes over a blob and its file. It waits when too much is under way.
func (c *committer) add(in *incoming) {
	if c.rc.table[in.index].size > smallBlob {
		c.group.Go(func() error { return c.commit(in) })
		return
	}
	if c.batch = append(c.batch, in); len(c.batch) == batchSize {
		c.flush()
	}
}

func (c *committer) flush() {
	batch := c.batch
	c.batch = nil
	if len(batch) == 0 {
		return
	}
	c.group.Go(func() (err error) {
		together := len(batch) > 2
		if together {
			err = c.rc.store.Sync()
		}
		for _, in := range batch {
			switch {
			case err != nil:
			case together:
				err = disk.WrittenBack(in.file)
			default:
				err = in.file.Sync()
			}
			if err == nil {
				err = c.name(in)
			}
			in.file.Close()
		}
		return err
	})
}

// close waits for everything under way.
func (c *committer) close() error {
	c.flush()
	err := c.group.Wait()
	close(c.named)
	return err
}

func (c *committer) commit(in *incoming) error {
	defer in.file.Close() // the lock is held until the file has its name
	if err := in.file.Sync(); err != nil {
		return fmt.Errorf("sync blob: %w", err)
	}
	return c.name(in)
}

// name gives a durable blob its name.
func (c *committer) name(in *incoming) error {
	if err := c.rc.store.PutInPlace(in.path, c.rc.table[in.index].key.digest()); err != nil {
		return err
	}
	c.named <- in.index
	return nil
}
