package assemble

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/containers/storage/pkg/archive"
	"github.com/containers/storage/pkg/fileutils"

	"github.com/sealbuild/sealbuild/bundle/assemble/build"
	"github.com/sealbuild/sealbuild/kubefile"
)

// Check says of a context what a build of it would: whether its Kubefile is one, and whether what it copies is there.
func Check(r BuildRequest, opts ...kubefile.Option) error {
	c, err := openContext(r.Context, r.Kubefile, opts...)
	if err != nil {
		return err
	}
	return c.check(r)
}

// check refuses a source that is not there, before anything is fetched or built. What only the builder can tell it leaves alone.
func (c *buildContext) check(r BuildRequest) error {
	edits, exclude := c.edits()
	ignored := map[string]*fileutils.PatternMatcher{}
	for _, s := range c.file.Sources() {
		dir := c.dir
		if s.Context != "" {
			dir = r.Contexts[s.Context].Dir
		} else if c.isRegistry(s.Text) && edited(edits, s.In) {
			continue
		}
		if s.Guess {
			continue
		}
		if _, ok := ignored[s.Context]; !ok {
			patterns, err := build.Ignored(dir, c.path, append(exclude, r.Exclude...))
			if s.Context != "" {
				patterns, err = build.Ignored(dir, "", r.Contexts[s.Context].Exclude)
			}
			if err != nil {
				return err
			}
			if ignored[s.Context], err = fileutils.NewPatternMatcher(patterns); err != nil {
				return fmt.Errorf("read the ignore file of %s: %w", dir, err)
			}
		}
		if why := missing(dir, s.Path, ignored[s.Context]); why != nil {
			return c.missing(s, dir, why)
		}
	}
	for _, chmod := range c.file.Chmods() {
		for _, s := range chmod.Sources {
			if s.In.Name == "ADD" && archive.IsArchivePath(filepath.Join(c.dir, filepath.FromSlash(s.Path))) {
				return c.file.ErrorAt(s.In, s.Text, "no --chmod, or COPY", fmt.Errorf("ADD unpacks %q, whose files have modes of their own", s.Path))
			}
		}
	}
	return nil
}

// edited tells whether one of the edits is of an instruction.
func edited(edits []build.Edit, in kubefile.Instruction) bool {
	for _, e := range edits {
		if e.First == in.Line && e.Last == in.EndLine {
			return true
		}
	}
	return false
}

// missing says why a source cannot be copied; nil if it can, or if only the builder knows.
func missing(dir, source string, ignored *fileutils.PatternMatcher) error {
	clean := path.Clean(source)
	if clean == ".." || strings.HasPrefix(clean, "../") {
		return fmt.Errorf("%q leads out of %s (name that directory with --build-context NAME=DIR, and take it by COPY --from=NAME)", source, dir)
	}
	clean = strings.TrimPrefix(path.Clean("/"+source), "/")
	if clean == "" {
		return nil
	}
	found := []string{clean}
	if pattern := strings.ContainsAny(clean, `*?[\`); pattern {
		var err error
		if found, err = fs.Glob(os.DirFS(dir), clean); err != nil || strings.Contains(clean, "**") {
			return nil
		}
		if len(found) == 0 {
			return fmt.Errorf("nothing in %s is called %q", dir, source)
		}
	}
	for _, name := range found {
		info, err := os.Lstat(path.Join(dir, name))
		if errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("there is no %q in %s", source, dir)
		}
		left, matchErr := ignored.IsMatch(name)
		if err != nil || info.IsDir() || matchErr != nil || !left {
			return nil
		}
	}
	return fmt.Errorf("%q of %s is left out by its ignore file, or as the file to be written", source, dir)
}

// missing is the error about a source that cannot be copied.
func (c *buildContext) missing(s kubefile.Source, dir string, why error) error {
	want := "a path in " + dir
	for _, v := range s.Unset {
		want += fmt.Sprintf(", and ARG %s above: it has no value in this stage", v)
	}
	if s.In.Base != "" {
		return c.file.ErrorAt(s.In, "", want, fmt.Errorf("ONBUILD %s of the base image %s: %w", s.In.Original, s.In.Base, why))
	}
	return c.file.ErrorAt(s.In, s.Text, want, fmt.Errorf("%s: %w", s.In.Name, why))
}
