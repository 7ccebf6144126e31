package files

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/sealbuild/sealbuild/ground/durable"
	"github.com/sealbuild/sealbuild/installer/agent"
)

// Versions of this program lie beside each other on a host, each named after its digest: a run uses the one that it brought.
// Units and scripts use a name without a digest. It is a second name of one version, and changes in one step.

// versionName is what follows the name that units use in the name of a version.
var versionName = regexp.MustCompile(`^-[0-9a-f]{12}$`)

// Installer gives a version of this program the name that units use, or removes it, and removes versions that nothing uses.
func (m Machine) Installer(_ context.Context, q agent.InstallerRequest) (agent.InstallerResult, error) {
	for _, p := range append([]string{q.Name, q.Own}, q.Dirs...) {
		if err := CheckPath(p); err != nil {
			return agent.InstallerResult{}, err
		}
	}
	if tail, ok := strings.CutPrefix(q.Own, q.Name); !ok || !versionName.MatchString(tail) {
		return agent.InstallerResult{}, &agent.Error{Code: agent.CodeRefused, Message: fmt.Sprintf("%s is no version of %s", q.Own, q.Name)}
	}
	running := m.executables()
	res := agent.InstallerResult{Busy: running[path.Base(q.Own)]}
	if q.Use {
		same, err := m.sameContent(q.Own, q.Name)
		if err != nil {
			return agent.InstallerResult{}, fmt.Errorf("use %s: %w", q.Own, err)
		}
		if !same {
			if err := m.Disk.Put(q.Name, func() error { return m.useInstaller(q.Own, q.Name) }); err != nil {
				return agent.InstallerResult{}, fmt.Errorf("use %s: %w", q.Own, err)
			}
		}
		res.Changed = !same
	}
	if err := m.sweepInstallers(q, running); err != nil {
		return agent.InstallerResult{}, err
	}
	for _, dir := range q.Dirs {
		if err := m.removeEmpty(dir); err != nil { // a link that the site made stays, too
			return agent.InstallerResult{}, fmt.Errorf("leave %s: %w", dir, err)
		}
	}
	return res, nil
}

// useInstaller gives a version a second name, which another may have: a hard link, so that the file keeps its SELinux label.
func (m Machine) useInstaller(own, name string) error {
	temp := path.Join(path.Dir(name), tempPrefix+"use")
	if err := os.Remove(m.Path(temp)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.Link(m.Path(own), m.Path(temp)); err != nil {
		// A file system without hard links.
		text, rerr := os.ReadFile(m.Path(own))
		if rerr != nil {
			return errors.Join(err, rerr)
		}
		return atomicWrite(m.Path(name), 0o755, text, nil, nil)
	}
	defer os.Remove(m.Path(temp)) // gone after the rename
	return durable.Rename(m.Path(temp), m.Path(name))
}

// sameContent tells whether two names have one file, or files with the same content.
func (m Machine) sameContent(own, name string) (bool, error) {
	a, err := os.Lstat(m.Path(own))
	if err != nil {
		return false, err
	}
	b, err := os.Stat(m.Path(name))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if b.IsDir() {
		return false, fmt.Errorf("%s is a directory", name)
	}
	if os.SameFile(a, b) {
		return true, nil
	}
	if a.Size() != b.Size() || b.Mode().Perm()&0o100 == 0 {
		return false, nil
	}
	left, err := os.ReadFile(m.Path(own))
	if err != nil {
		return false, err
	}
	right, err := os.ReadFile(m.Path(name))
	return bytes.Equal(left, right), err
}

// tempAge is how old the last write to a transfer's temporary file must be for the file to count as abandoned.
const tempAge = time.Minute

// sweepInstallers removes versions that are not in use and that no process runs, and temporary files of transfers that were cut
// off.
func (m Machine) sweepInstallers(q agent.InstallerRequest, running map[string]bool) error {
	dir := path.Dir(q.Name)
	entries, err := os.ReadDir(m.Path(dir))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look for versions of this program: %w", err)
	}
	for _, e := range entries {
		name := path.Join(dir, e.Name())
		tail, _ := strings.CutPrefix(name, q.Name)
		info, err := e.Info()
		switch {
		case errors.Is(err, fs.ErrNotExist):
			continue
		case err != nil:
			return fmt.Errorf("look for versions of this program: %w", err)
		case strings.HasPrefix(e.Name(), tempPrefix) && time.Since(info.ModTime()) > tempAge:
		case !versionName.MatchString(tail), name == q.Own && q.Use, running[e.Name()] && (name != q.Own || q.Idle):
			continue
		default:
			same, err := m.sameContent(name, q.Name)
			if err != nil {
				return fmt.Errorf("look for versions of this program: %w", err)
			}
			if same {
				continue
			}
		}
		if _, err := m.RemoveFile(name); err != nil {
			return fmt.Errorf("remove a version of this program that nothing uses: %w", err)
		}
	}
	return nil
}

// executables gives the names, without directories, of the files that other processes run. A directory may be a link, and no
// other file has the name of a version.
func (m Machine) executables() map[string]bool {
	found := map[string]bool{}
	links, _ := filepath.Glob(m.Path("/proc/[0-9]*/exe"))
	for _, link := range links {
		if path.Base(path.Dir(link)) == strconv.Itoa(os.Getpid()) {
			continue
		}
		if exe, err := os.Readlink(link); err == nil { // else it ended meanwhile, or is the kernel's
			found[path.Base(strings.TrimSuffix(exe, " (deleted)"))] = true
		}
	}
	return found
}
