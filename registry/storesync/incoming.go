package storesync

import (
	"errors"
	"os"

	"github.com/sealbuild/sealbuild/registry/disk"
)

// maxPartials is how many interrupted blobs are gone on with; each is an open file.
const maxPartials = 256

// incoming is a blob on its way into the store.
type incoming struct {
	index int
	path  string // of the temporary file
	file  *os.File
	size  int64 // bytes in the file when the session found it
}

// holdPartials locks what interrupted sessions left of the missing blobs, so that nobody else goes on with it.
func (rc *receiver) holdPartials() {
	rc.partial = map[int]*incoming{}
	if !rc.store.HasPartials() {
		return
	}
	for i, e := range rc.table {
		if len(rc.partial) == maxPartials {
			return
		}
		if !rc.missing[i] {
			continue
		}
		// One that is in use is sent from the beginning, into a file of this session.
		if f, size := rc.store.HoldPartial(e.blob()); f != nil {
			rc.partial[i] = &incoming{index: i, path: f.Name(), file: f, size: size}
		}
	}
}

func (rc *receiver) held(i int) int64 {
	if in := rc.partial[i]; in != nil {
		return in.size
	}
	return 0
}

func (rc *receiver) dropPartials() {
	for _, in := range rc.partial {
		in.file.Close()
	}
}

// create opens the file a blob is written to: the shared partial, or one of this session when another holds that.
func (rc *receiver) create(i int) (*incoming, error) {
	if in := rc.partial[i]; in != nil {
		delete(rc.partial, i)
		return in, nil
	}
	f, err := rc.store.CreatePartial(rc.table[i].key.digest())
	if errors.Is(err, disk.ErrLocked) {
		f, err = rc.session.Create()
	}
	if err != nil {
		return nil, err
	}
	return &incoming{index: i, path: f.Name(), file: f}, nil
}
