package facts

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"slices"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/sealbuild/sealbuild/installer/agent"
)

// What etcd's documentation measures with fio: writes of the size of an entry of its log, each made durable. So many
// writes, and so long at most, are made here.
const (
	syncSize   = 2300
	syncWrites = 100
	syncLimit  = 2 * time.Second
)

// syncTimes measures how long a small write takes until it is durable where a directory lies or would lie: the middle,
// and what 99 of 100 stay below. It writes into a file without a name, of which nothing is left however this ends.
func (m machine) syncTimes(dir string) (middle, p99 time.Duration) {
	fd := -1
	for at := dir; fd < 0; at = filepath.Dir(at) {
		var err error
		fd, err = unix.Open(m.Path(at), unix.O_TMPFILE|unix.O_WRONLY|unix.O_CLOEXEC, 0o600)
		if at == "/" || err != nil && !os.IsNotExist(err) {
			break // a file system that knows no files without names: nothing is told of it
		}
	}
	if fd < 0 {
		return 0, 0
	}
	defer unix.Close(fd)
	entry := make([]byte, syncSize)
	var took []time.Duration
	for started := time.Now(); len(took) < syncWrites && time.Since(started) < syncLimit; {
		before := time.Now()
		if _, err := unix.Write(fd, entry); err != nil {
			return 0, 0
		}
		if err := unix.Fdatasync(fd); err != nil {
			return 0, 0
		}
		took = append(took, time.Since(before))
	}
	return quantiles(took)
}

// quantiles gives the middle, and what 99 of 100 stay below. The longest alone decides nothing.
func quantiles(took []time.Duration) (middle, p99 time.Duration) {
	if len(took) == 0 {
		return 0, 0
	}
	took = slices.Sorted(slices.Values(took))
	return took[len(took)/2], took[max(0, len(took)*99/100-1)]
}

// The kernel's names for asking an XFS what it is like, and the bit that says that directories know the type of each
// file, which overlayfs needs. The structure is the oldest form, that every kernel answers in.
const (
	xfsGeometry     = 0x80705864 // XFS_IOC_FSGEOMETRY_V1
	xfsGeometrySize = 112
	xfsFlagsAt      = 92
	xfsFileTypes    = 1 << 16 // XFS_FSOP_GEOM_FLAGS_FTYPE
)

// withoutFileTypes lists those of the paths that lie on an XFS made with ftype=0.
func (m machine) withoutFileTypes(disks map[string]agent.Mount) []string {
	var out []string
	for path, mount := range disks {
		if mount.Type != "xfs" {
			continue
		}
		dir, err := os.Open(m.Path(mount.Path))
		if err != nil {
			continue
		}
		var answer [xfsGeometrySize]byte
		_, _, failed := unix.Syscall(unix.SYS_IOCTL, dir.Fd(), xfsGeometry, uintptr(unsafe.Pointer(&answer)))
		dir.Close()
		if failed == 0 && !knowsFileTypes(answer[:]) {
			out = append(out, path)
		}
	}
	slices.Sort(out)
	return out
}

func knowsFileTypes(geometry []byte) bool {
	return binary.NativeEndian.Uint32(geometry[xfsFlagsAt:])&xfsFileTypes != 0
}
