package assemble

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/sealbuild/sealbuild/bundle/assemble/build"
	"github.com/sealbuild/sealbuild/kubefile"
)

// buildContext is a context directory with its Kubefile, read and checked.
type buildContext struct {
	dir  string // as given
	path string // of the Kubefile
	rel  string // the same, for messages and records
	text []byte
	file *kubefile.File
}

// openContext finds and parses the Kubefile. name may be empty, a path, or a path relative to the context.
func openContext(dir, name string, opts ...kubefile.Option) (*buildContext, error) {
	fi, err := os.Stat(dir)
	if err != nil {
		return nil, fmt.Errorf("open context: %w", err)
	}
	if !fi.IsDir() {
		return nil, fmt.Errorf("open context: %s is not a directory", dir)
	}
	c := &buildContext{dir: dir}
	switch {
	case name == "":
		if c.rel, err = kubefile.Find(os.DirFS(dir)); err != nil {
			if at, ok := OldPackage(dir); ok {
				return nil, oldPackageError(at)
			}
			return nil, fmt.Errorf("find the Kubefile of %s: %w (name another with -f)", dir, err)
		}
		c.path = filepath.Join(dir, c.rel)
	default:
		c.path, c.rel = name, name
		if _, err := os.Stat(c.path); errors.Is(err, fs.ErrNotExist) && !filepath.IsAbs(name) {
			c.path = filepath.Join(dir, name)
		}
	}
	if c.text, err = os.ReadFile(c.path); err != nil {
		return nil, fmt.Errorf("read Kubefile: %w", err)
	}
	if c.file, err = kubefile.Parse(bytes.NewReader(c.text), c.path, opts...); err != nil {
		return nil, err
	}
	if _, err := c.file.Type(); err != nil {
		return nil, err
	}
	return c, nil
}

// registryEdits deals with registry/, which other builders generate into the context before they build. Here images go into the
// bundle, so an instruction that copies a registry/ which does not exist is dropped, and a registry/ that holds a registry's files
// is left out of the image: contextImages takes what it holds.
func (c *buildContext) registryEdits() (edits []build.Edit, exclude []string) {
	dir := filepath.Join(c.dir, "registry")
	if fi, err := os.Stat(dir); err == nil {
		if !fi.IsDir() {
			return nil, nil // a file, whatever it is
		}
		if _, err := os.Stat(filepath.Join(dir, "docker", "registry", "v2")); err != nil {
			return nil, nil // the user's own files
		}
		exclude = []string{"registry"}
	}
	for _, in := range c.file.Instructions {
		if (in.Name != "COPY" && in.Name != "ADD") || len(in.Args) < 2 || len(in.Heredocs) > 0 ||
			slices.ContainsFunc(in.Flags, func(f string) bool { return strings.HasPrefix(f, "--from=") }) {
			continue
		}
		sources, target := in.Args[:len(in.Args)-1], in.Args[len(in.Args)-1]
		kept := slices.DeleteFunc(slices.Clone(sources), c.isRegistry)
		if len(kept) == len(sources) {
			continue
		}
		e := build.Edit{First: in.Line, Last: in.EndLine}
		if len(kept) > 0 {
			e.Text = copyLine(in, append(kept, target))
		}
		edits = append(edits, e)
	}
	return edits, exclude
}

// isRegistry tells whether a COPY source is the generated registry directory, and nothing else.
func (c *buildContext) isRegistry(source string) bool {
	p := strings.TrimPrefix(path.Clean("/"+source), "/")
	if p == "registry" || strings.HasPrefix(p, "registry/") {
		return true
	}
	matches, err := filepath.Glob(filepath.Join(c.dir, filepath.FromSlash(p)))
	return err == nil && len(matches) == 1 && matches[0] == filepath.Join(c.dir, "registry")
}

// copyLine writes an instruction again, with other arguments.
func copyLine(in kubefile.Instruction, args []string) string {
	words := append([]string{in.Name}, in.Flags...)
	if !in.JSON {
		return strings.Join(append(words, args...), " ")
	}
	array, err := json.Marshal(args)
	if err != nil { // strings always encode
		return in.Original
	}
	return strings.Join(append(words, string(array)), " ")
}
