package agent

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
)

// Versions of this program lie beside each other on a host, each named after its digest: a run uses the one it brought.
// Units and scripts use a name without a digest, which is another name of one of them, and changes in one step.

// versionName is how a version's name goes on behind the name that units use.
var versionName = regexp.MustCompile(`^-[0-9a-f]{12}$`)

type installerRequest struct {
	Name string `json:"name"` // that units use; versions are <name>-<12 hex digits>
	Own  string `json:"own"`  // the version that asks
	// Use makes the own version the one in use; else it goes, unless it is that.
	Use bool `json:"use,omitempty"`
	// Idle: the own version goes only where no other process runs it.
	Idle bool     `json:"idle,omitempty"`
	Dirs []string `json:"dirs,omitempty"` // go when they are empty, in this order
}

type installerResult struct {
	Changed bool `json:"changed"` // another version is in use now
	Busy    bool `json:"busy"`    // another process runs the own version
}

func (m machine) installer(_ context.Context, q installerRequest, _ *answers) (any, error) {
	for _, p := range append([]string{q.Name, q.Own}, q.Dirs...) {
		if err := checkPath(p); err != nil {
			return nil, err
		}
	}
	if tail, ok := strings.CutPrefix(q.Own, q.Name); !ok || !versionName.MatchString(tail) {
		return nil, &Error{Code: CodeRefused, Message: fmt.Sprintf("%s is no version of %s", q.Own, q.Name)}
	}
	running := m.executables()
	res := installerResult{Busy: running[path.Base(q.Own)]}
	if q.Use {
		same, err := m.sameContent(q.Own, q.Name)
		if err != nil {
			return nil, fmt.Errorf("use %s: %w", q.Own, err)
		}
		if !same {
			if err := m.change(q.Name, Before, func() error { return m.useInstaller(q.Own, q.Name) }); err != nil {
				return nil, fmt.Errorf("use %s: %w", q.Own, err)
			}
		}
		res.Changed = !same
	}
	if err := m.sweepInstallers(q, running); err != nil {
		return nil, err
	}
	for _, dir := range q.Dirs {
		if err := m.removeEmpty(dir); err != nil { // a link that the site made stays, too
			return nil, fmt.Errorf("leave %s: %w", dir, err)
		}
	}
	return res, nil
}

// useInstaller gives a version a second name in the place of whatever has that: the file keeps what SELinux knows of it.
func (m machine) useInstaller(own, name string) error {
	temp := path.Join(path.Dir(name), tempPrefix+"use")
	if err := os.Remove(m.path(temp)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.Link(m.path(own), m.path(temp)); err != nil {
		// A file system without hard links.
		text, rerr := os.ReadFile(m.path(own))
		if rerr != nil {
			return errors.Join(err, rerr)
		}
		return atomicWrite(m.path(name), 0o755, text, nil, nil)
	}
	defer os.Remove(m.path(temp)) // gone after the rename
	return durable.Rename(m.path(temp), m.path(name))
}

// sameContent tells whether two names are of one file, or of files that are equal.
func (m machine) sameContent(own, name string) (bool, error) {
	a, err := os.Lstat(m.path(own))
	if err != nil {
		return false, err
	}
	b, err := os.Stat(m.path(name))
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
	left, err := os.ReadFile(m.path(own))
	if err != nil {
		return false, err
	}
	right, err := os.ReadFile(m.path(name))
	return bytes.Equal(left, right), err
}

// tempAge is how long nothing was written to a transfer's temporary file that nobody writes any more.
const tempAge = time.Minute

// sweepInstallers removes versions that are not in use and that no process runs, and what transfers left that were cut off.
func (m machine) sweepInstallers(q installerRequest, running map[string]bool) error {
	dir := path.Dir(q.Name)
	entries, err := os.ReadDir(m.path(dir))
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
		if _, err := m.removeFile(File{Path: name}); err != nil {
			return fmt.Errorf("remove a version of this program that nothing uses: %w", err)
		}
	}
	return nil
}

// executables are the names of the files that processes other than this one run. Without their directories, as one of
// those may be a link: a version's name is of no other file.
func (m machine) executables() map[string]bool {
	found := map[string]bool{}
	links, _ := filepath.Glob(m.path("/proc/[0-9]*/exe"))
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

// UseInstaller makes the stub that this agent runs the one that has the given name on the host, in one step: units and
// scripts run that. Versions that nothing uses are removed. It tells whether another one was in use.
func (a *Agent) UseInstaller(ctx context.Context, name string) (changed bool, err error) {
	var res installerResult
	err = a.call(ctx, verbInstaller, installerRequest{Name: name, Own: a.path, Use: true}, &res, nil)
	return res.Changed, err
}

// LeaveInstaller removes the stub that this agent runs, unless it is the one that has the given name; other versions that
// nothing uses go, too, and then directories that are empty. With idle the stub stays where another process runs it,
// which busy tells. No call can be made afterwards.
func (a *Agent) LeaveInstaller(ctx context.Context, name string, idle bool, dirs ...string) (busy bool, err error) {
	var res installerResult
	err = a.call(ctx, verbInstaller, installerRequest{Name: name, Own: a.path, Idle: idle, Dirs: dirs}, &res, nil)
	return res.Busy, err
}
