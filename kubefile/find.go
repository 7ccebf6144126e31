package kubefile

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
)

// DefaultNames lists the file names looked for when none is given, in order.
// The array type keeps it from being changed by a caller's append.
var DefaultNames = [...]string{"Kubefile", "Sealfile", "Dockerfile"}

// Find gives the first of DefaultNames that is a regular file at the root of fsys. If none is there the error says which were
// looked for and matches fs.ErrNotExist.
func Find(fsys fs.FS) (string, error) {
	for _, name := range DefaultNames {
		info, err := fs.Stat(fsys, name)
		switch {
		case err == nil && info.Mode().IsRegular():
			return name, nil
		case err != nil && !errors.Is(err, fs.ErrNotExist):
			return "", fmt.Errorf("look for %s: %w", name, err)
		}
	}
	return "", fmt.Errorf("none of %s is there: %w", strings.Join(DefaultNames[:], ", "), fs.ErrNotExist)
}
