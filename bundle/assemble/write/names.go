package write

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/sealbuild/sealbuild/bundle"
	"github.com/sealbuild/sealbuild/ground/durable"
)

// A bundle that is written lies beside its destination as .NAME.new-ID, and .NAME.new-ID.002 and so on, with a lock on the first
// file. Several files cannot get their names at once. So the first one is called .NAME.ready-ID.COUNT before: from there on the new
// bundle is whole, and whoever finds it without a lock gives the files their names.
const (
	written  = ".new-"
	ready    = ".ready-"
	replaced = ".old-"
	idLength = 10
)

// States are what the names of files beside an output .NAME are continued with, before an ID.
var States = []string{written, ready, replaced}

// rename is os.Rename, where a test may end the program.
var rename = os.Rename

// beside is how the names of files begin that stand for an output.
func beside(output, state string) string {
	dir, base := filepath.Split(output)
	return filepath.Join(dir, "."+base+state)
}

// giveNames renames the n files of a written bundle to those of the output, the first one last: it is what people start. Of a
// bundle that is replaced, parts that are too many go. After an error everything is as it was.
func giveNames(output, id string, n int) ([]string, error) {
	first := beside(output, written) + id
	if n == 1 {
		old := partsOf(output)
		if err := rename(first, output); err != nil {
			return nil, unchanged(err)
		}
		return []string{output}, untidy(errors.Join(removeOthers(old, []string{output}), durable.SyncDir(filepath.Dir(output))))
	}
	whole := fmt.Sprintf("%s%s.%03d", beside(output, ready), id, n)
	if err := errors.Join(rename(first, whole), durable.SyncDir(filepath.Dir(output))); err != nil {
		return nil, unchanged(err)
	}
	names, err := finish(output, id, n)
	if err != nil && names == nil {
		return nil, unchanged(errors.Join(err, rename(whole, first)))
	}
	return names, untidy(err)
}

func unchanged(err error) error { return fmt.Errorf("%w (what was there before is as it was)", err) }

// untidy is what went wrong once the new bundle was in its place.
func untidy(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("the new bundle is in its place, and what it replaced is not all gone: %w", err)
}

// finish gives the n files of a whole bundle their names. After an error without names they have those of before; with names, the
// bundle is in its place and something of the old one is left.
func finish(output, id string, n int) (names []string, err error) {
	old := partsOf(output)
	kept := beside(output, replaced) + id
	type step struct{ from, to string }
	var done []step
	move := func(from, to string) error {
		err := rename(from, to)
		if err == nil {
			done = append(done, step{from, to})
		}
		return err
	}
	defer func() {
		if err == nil {
			return
		}
		for _, s := range slices.Backward(done) {
			err = errors.Join(err, rename(s.to, s.from))
		}
	}()
	for i := n; i >= 2; i-- {
		part, name := bundle.PartName(beside(output, written)+id, i), bundle.PartName(output, i)
		names = append(names, name)
		if _, err := os.Lstat(part); errors.Is(err, fs.ErrNotExist) {
			continue // it has its name
		}
		if err := move(name, bundle.PartName(kept, i)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		if err := move(part, name); err != nil {
			return nil, err
		}
	}
	if err := move(fmt.Sprintf("%s%s.%03d", beside(output, ready), id, n), output); err != nil {
		return nil, err
	}
	done = nil // there is no way back, and none is needed
	names = append(names, output)
	slices.Reverse(names)
	var left []string
	for i := 2; i <= n; i++ {
		left = append(left, bundle.PartName(kept, i))
	}
	return names, errors.Join(removeOthers(append(old, left...), names), durable.SyncDir(filepath.Dir(output)))
}

// partsOf are the files of a bundle that is to be replaced.
func partsOf(output string) []string {
	f, err := bundle.OpenFile(output)
	if err != nil {
		return nil
	}
	defer func() { _ = f.Close() }()
	return f.Parts()
}

// removeOthers removes the files that are not to stay.
func removeOthers(files, stay []string) error {
	var errs []error
	for _, name := range files {
		if !slices.Contains(stay, name) {
			if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
				errs = append(errs, err)
			}
		}
	}
	return errors.Join(errs...)
}

// sweep ends what a sealbuild that was killed has begun for the same output: a bundle that was whole gets its names, what was not
// goes. What another one is writing stays.
func sweep(output string) error {
	entries, err := os.ReadDir(filepath.Dir(output))
	if err != nil {
		return err
	}
	var errs []error
	busy := map[string]bool{} // whole, and getting its names
	for _, e := range entries {
		name := filepath.Join(filepath.Dir(output), e.Name())
		id, ok := strings.CutPrefix(name, beside(output, ready))
		if !ok || len(id) != idLength+len(".002") {
			continue
		}
		n, err := strconv.Atoi(id[idLength+1:])
		if err != nil || n < 2 || !unused(name) {
			busy[id[:idLength]] = true
			continue
		}
		if _, err := finish(output, id[:idLength], n); err != nil {
			busy[id[:idLength]] = true
			errs = append(errs, err)
		}
	}
	for _, e := range entries {
		name := filepath.Join(filepath.Dir(output), e.Name())
		for _, state := range []string{written, replaced} {
			id, ok := strings.CutPrefix(name, beside(output, state))
			if !ok || len(id) < idLength || busy[id[:idLength]] || !unused(beside(output, written)+id[:idLength]) {
				continue
			}
			if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
				errs = append(errs, err)
			}
		}
	}
	return errors.Join(errs...)
}

// unused tells whether nobody writes a bundle: the first file is not locked, or is not there.
func unused(first string) bool {
	f, err := os.Open(first)
	if err != nil {
		return errors.Is(err, fs.ErrNotExist)
	}
	defer func() { _ = f.Close() }()
	return unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) == nil
}
