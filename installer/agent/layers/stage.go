package layers

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

const stagePrefix = "stage-"

// stage is a directory inside the one that is unpacked into, where files are made before they are renamed to their
// places. Its process holds a lock on it, so that the next process can tell and remove the stage of a killed one.
type stage struct {
	root *os.Root
	dir  string
	lock *os.File
	n    int
}

func openStage(root *os.Root) (*stage, error) {
	if err := root.Mkdir(layersDir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	sweepStages(root)
	for {
		dir := path.Join(layersDir, fmt.Sprintf("%s%08x", stagePrefix, rand.Uint32()))
		err := root.Mkdir(dir, 0o700)
		if errors.Is(err, fs.ErrExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		lock, err := lockDir(root, dir)
		if errors.Is(err, unix.EWOULDBLOCK) || errors.Is(err, fs.ErrNotExist) {
			continue // another process that sweeps was faster
		}
		if err != nil {
			return nil, err
		}
		return &stage{root: root, dir: dir, lock: lock}, nil
	}
}

func lockDir(root *os.Root, dir string) (*os.File, error) {
	f, err := root.Open(dir)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// sweepStages removes stages that nobody has locked. One that cannot be removed is left for the next call.
func sweepStages(root *os.Root) {
	entries, _ := fs.ReadDir(root.FS(), layersDir)
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), stagePrefix) {
			continue
		}
		dir := path.Join(layersDir, e.Name())
		if lock, err := lockDir(root, dir); err == nil {
			root.RemoveAll(dir)
			lock.Close()
		}
	}
}

// name gives a new name in the stage.
func (s *stage) name() string {
	s.n++
	return path.Join(s.dir, fmt.Sprint(s.n))
}

func (s *stage) close() {
	s.root.RemoveAll(s.dir)
	s.lock.Close()
}
