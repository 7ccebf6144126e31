package layers

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/sealbuild/sealbuild/ground/durable"
	"github.com/sealbuild/sealbuild/installer/agent"
	"github.com/sealbuild/sealbuild/installer/agent/files"
)

// Layers that extend those in a directory are unpacked upon them. Other layers are unpacked into a directory beside, and the
// two directories are exchanged in one step. Before that the list of the directory in use is removed: so the directory beside
// has the list of the new layers or, after the exchange, none. The call after one that was killed goes on or begins anew by
// that. How a directory is kept when it is exchanged: keep.go.

// machine is a host with directories of layers.
type machine struct{ files.Machine }

// places are the directories that hold layers, with links resolved.
type places struct {
	dir    string // in use
	next   string // where other layers are unpacked
	before string // what was in use before a switch that kept it
	away   string // where the one in use lies for a moment, if two cannot be exchanged in one step
	inside bool   // a file system is mounted on dir, so its content is exchanged
}

func (m machine) placesOf(dir string) (places, error) {
	real, err := m.real(dir)
	if err != nil {
		return places{}, fmt.Errorf("layers of %s: %w", dir, err)
	}
	mounts, err := m.MountPoints()
	if err != nil {
		return places{}, fmt.Errorf("layers of %s: %w", dir, err)
	}
	p := places{dir: real, next: real + ".next", before: real + agent.LayersKept, away: real + ".old"}
	if slices.Contains(mounts, real) {
		p.inside, p.next = true, path.Join(real, layersDir, nextInside)
	}
	return p, nil
}

// real resolves the links of a path, as far as that exists.
func (m machine) real(name string) (string, error) {
	resolved, err := filepath.EvalSymlinks(m.Path(name))
	if errors.Is(err, fs.ErrNotExist) && name != "/" {
		if info, lerr := os.Lstat(m.Path(name)); lerr == nil && info.Mode()&fs.ModeSymlink != 0 {
			return "", &agent.Error{Code: agent.CodeRefused, Message: name + " is a link to what is not there"}
		}
		dir, err := m.real(path.Dir(name))
		return path.Join(dir, path.Base(name)), err
	}
	if err != nil {
		return "", err
	}
	root, err := filepath.EvalSymlinks(m.Path("/"))
	if err != nil {
		return "", err
	}
	return path.Join("/", strings.TrimPrefix(resolved, root)), nil
}

// Prepare finds out where to unpack layers, and how many of them lie there. It removes what killed processes left, and leaves
// alone what is in use.
func Prepare(on files.Machine, q agent.Layers) (agent.LayersPlace, error) {
	m := machine{on}
	if err := check(q); err != nil {
		return agent.LayersPlace{}, err
	}
	p, err := m.placesOf(q.Dir)
	if err != nil {
		return agent.LayersPlace{}, err
	}
	if err := m.settle(p, q); err != nil {
		return agent.LayersPlace{}, err
	}
	q.Dir = p.dir
	have, known, err := m.layersIn(p.dir)
	if err != nil {
		return agent.LayersPlace{}, err
	}
	fresh := false
	switch {
	case q.Aside:
		if err := m.keepable(p, have); err != nil {
			return agent.LayersPlace{}, err
		}
	case known:
	case m.hasMarks(q):
		have, known = layerList{settings: settingsOf(q), layers: q.Digests}, true
		if err := m.writeList(p.dir, have); err != nil {
			return agent.LayersPlace{}, err
		}
		for _, d := range q.Digests {
			if _, err := m.RemoveFile(path.Join(p.dir, layersDir, d.String())); err != nil {
				return agent.LayersPlace{}, err
			}
		}
	default:
		if fresh, err = m.isFresh(p.dir, q.Exclude); err != nil {
			return agent.LayersPlace{}, err
		}
	}
	if fresh || have.is(q) || known && have.begins(q) && !q.Aside {
		m.sweepStages(p.dir)
		return agent.LayersPlace{Have: len(have.layers), At: p.dir}, m.clear(p, q)
	}
	if err := m.unmounted(p.dir); err != nil {
		return agent.LayersPlace{}, err
	}
	have, known, err = m.layersIn(p.next)
	if err != nil || known && have.begins(q) && (q.Aside || !m.Exists(path.Join(p.next, agent.LayersNote))) {
		m.sweepStages(p.next)
		return agent.LayersPlace{Beside: true, Have: len(have.layers), At: p.next}, err
	}
	return agent.LayersPlace{Beside: true, At: p.next}, m.clear(p, q)
}

// Switch replaces the directory in use by the one beside, and removes or keeps the old one.
func Switch(on files.Machine, q agent.Layers) error {
	m := machine{on}
	if err := check(q); err != nil {
		return err
	}
	p, err := m.placesOf(q.Dir)
	if err != nil {
		return err
	}
	if err := m.settle(p, q); err != nil {
		return err
	}
	have, _, err := m.layersIn(p.dir)
	if err != nil {
		return err
	}
	if have.is(q) { // done by a call whose answer was lost
		return m.clear(p, q)
	}
	former := have
	if have, _, err = m.layersIn(p.next); err != nil {
		return err
	}
	if !have.is(q) {
		return &agent.Error{Code: agent.CodeRefused, Message: "switch " + q.Dir + ": the layers are not all there"}
	}
	if err := m.unmounted(p.dir); err != nil {
		return err
	}
	if q.Keep {
		return m.switchKeeping(p, q, former)
	}
	if err := m.dropList(p.dir); err != nil {
		return fmt.Errorf("switch %s: %w", q.Dir, err)
	}
	if p.inside {
		err = m.exchangeInside(p, q, have)
	} else {
		err = m.exchange(p, p.next)
	}
	if err != nil {
		return fmt.Errorf("switch %s: %w", q.Dir, err)
	}
	return m.clear(p, q)
}

// sweepStages removes the stages that killed processes left in a directory.
func (m machine) sweepStages(dir string) {
	root, err := os.OpenRoot(m.Path(dir))
	if err != nil {
		return // it does not exist, or a later step reports the error
	}
	defer root.Close()
	sweepStages(root)
}

// exchange exchanges the directory in use for another, in one step if the file system can.
func (m machine) exchange(p places, other string) error {
	err := m.Disk.Put(p.dir, func() error {
		return unix.Renameat2(unix.AT_FDCWD, m.Path(other), unix.AT_FDCWD, m.Path(p.dir), unix.RENAME_EXCHANGE)
	})
	if !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOSYS) {
		return errors.Join(err, durable.SyncDir(m.Path(path.Dir(p.dir))))
	}
	return m.exchangeInSteps(p, other)
}

// exchangeInSteps is for file systems that cannot exchange two directories, such as NFS.
func (m machine) exchangeInSteps(p places, other string) error {
	for _, step := range [][2]string{{p.dir, p.away}, {other, p.dir}, {p.away, other}} {
		if err := m.Disk.Put(step[1], func() error { return os.Rename(m.Path(step[0]), m.Path(step[1])) }); err != nil {
			return err
		}
	}
	return durable.SyncDir(m.Path(path.Dir(p.dir)))
}

// exchangeInside replaces the content of a directory. Meanwhile there is no list: if it is cut off, all is done again.
func (m machine) exchangeInside(p places, q agent.Layers, list layerList) error {
	if err := m.dropList(p.next); err != nil {
		return err
	}
	entries, err := os.ReadDir(m.Path(p.dir))
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.Name() == layersDir || e.Name() == "lost+found" || slices.ContainsFunc(q.Exclude, func(x string) bool { return x == e.Name() }) {
			continue
		}
		if err := m.RemoveAll(path.Join(p.dir, e.Name())); err != nil {
			return err
		}
	}
	if entries, err = os.ReadDir(m.Path(p.next)); err != nil {
		return err
	}
	for _, e := range entries {
		if e.Name() == layersDir {
			continue
		}
		to := path.Join(p.dir, e.Name())
		if err := m.Disk.Put(to, func() error { return os.Rename(m.Path(path.Join(p.next, e.Name())), m.Path(to)) }); err != nil {
			return err
		}
	}
	if err := durable.SyncDir(m.Path(p.dir)); err != nil {
		return err
	}
	return m.writeList(p.dir, list)
}

// clear removes the directory beside one that is as it should be.
func (m machine) clear(p places, q agent.Layers) error {
	if !m.Exists(p.next) {
		return nil
	}
	return m.discard(p.next, p, q)
}

// discard removes a directory of layers that is not in use. What is left out of layers goes to the one in use before.
func (m machine) discard(old string, p places, q agent.Layers) error {
	if err := m.carry(old, p, q); err != nil {
		return err
	}
	for _, list := range []string{listName, listBefore, listFailed} { // what is left of it is not to be taken for whole
		if _, err := m.RemoveFile(path.Join(old, layersDir, list)); err != nil {
			return fmt.Errorf("remove %s: %w", old, err)
		}
	}
	if err := m.unmounted(old); err != nil {
		return err
	}
	if err := m.RemoveAll(old); err != nil {
		return fmt.Errorf("remove what was in use before: %w", err)
	}
	return nil
}

// carry moves what is left out of layers, which others have made, from a directory that is not in use to the one that is.
func (m machine) carry(old string, p places, q agent.Layers) error {
	for _, e := range q.Exclude {
		from, to := path.Join(old, e), path.Join(p.dir, e)
		if !m.Exists(from) || m.Exists(to) {
			continue
		}
		if err := files.MakeParents(m.Path(to)); err != nil {
			return fmt.Errorf("keep %s: %w", to, err)
		}
		if err := m.Disk.Put(to, func() error { return os.Rename(m.Path(from), m.Path(to)) }); err != nil {
			return fmt.Errorf("keep %s: %w", to, err)
		}
	}
	return nil
}

// unmounted refuses to replace or remove a directory below which a file system is mounted.
func (m machine) unmounted(dir string) error {
	mounts, err := m.MountPoints()
	if err != nil {
		return fmt.Errorf("look for mounts: %w", err)
	}
	for _, mount := range mounts {
		if strings.HasPrefix(mount, dir+"/") {
			return &agent.Error{
				Code: agent.CodeRefused, Message: fmt.Sprintf("the files in %s are to be replaced, and a file system is mounted on %s", dir, mount),
				Remedy: "look at what it holds, unmount it, and run the same command again",
			}
		}
	}
	return nil
}
