package build

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Secret is what RUN --mount=type=secret may read while it runs. It is in no image, no record and no key; the id is in the key.
type Secret struct {
	ID   string
	Data []byte
}

// NamedContext is a further build context, as --build-context names it.
type NamedContext struct {
	Name  string
	Dir   string // a directory, or
	Image string // the name of an image of Request.Preload

	Exclude []string // of a directory: what is not copied of it, in .dockerignore syntax
}

// secretFiles puts secrets where buildah reads them: into memory, under names that only this process can open. The names are what
// buildah is told.
func secretFiles(secrets []Secret) (specs []string, closeAll func() error, err error) {
	var files []*os.File
	closeAll = func() error {
		var failures []error
		for _, f := range files {
			failures = append(failures, f.Close())
		}
		return errors.Join(failures...)
	}
	for _, s := range secrets {
		fd, err := unix.MemfdCreate("secret", unix.MFD_CLOEXEC)
		if err != nil {
			return nil, nil, errors.Join(fmt.Errorf("keep secret %s: %w", s.ID, err), closeAll())
		}
		f := os.NewFile(uintptr(fd), "secret "+s.ID)
		files = append(files, f)
		if _, err := f.Write(s.Data); err != nil {
			return nil, nil, errors.Join(fmt.Errorf("keep secret %s: %w", s.ID, err), closeAll())
		}
		specs = append(specs, fmt.Sprintf("id=%s,src=/proc/self/fd/%d,type=file", s.ID, fd))
	}
	return specs, closeAll, nil
}

// sshSources puts an id without paths, which means the agent of the caller, first: buildah gives it the paths of the one before it.
func sshSources(given []string) []string {
	all := slices.Clone(given)
	slices.SortStableFunc(all, func(a, b string) int {
		return cmp.Compare(strings.Count(a, "="), strings.Count(b, "="))
	})
	return all
}

// ids are the names of what is given to RUN instructions, without what they stand for.
func ids(secrets []Secret, ssh []string) []string {
	var all []string
	for _, s := range secrets {
		all = append(all, "secret "+s.ID)
	}
	for _, s := range ssh {
		id, _, _ := strings.Cut(s, "=")
		all = append(all, "ssh "+id)
	}
	slices.Sort(all)
	return all
}
