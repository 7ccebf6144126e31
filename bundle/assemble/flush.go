package assemble

import (
	"golang.org/x/sys/unix"
)

// flushEvery is after how many bytes what was written is sent to the disk, so
// that little is left to wait for at the end.
const flushEvery = 16 << 20

// flushing makes the disk work while a bundle is written.
type flushing struct {
	files
	n int64 // bytes since
}

func (f *flushing) Write(p []byte) (int, error) {
	n, err := f.files.Write(p)
	if f.n += int64(n); f.n >= flushEvery {
		f.n = 0
		all := f.Files()
		// Nothing waits for it, and nothing depends on it.
		_ = unix.SyncFileRange(int(all[len(all)-1].Fd()), 0, 0, unix.SYNC_FILE_RANGE_WRITE)
	}
	return n, err
}
