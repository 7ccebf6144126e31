package scan

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/sealbuild/sealbuild/kubefile"
)

const (
	// maxManifest is the largest manifest, list or values file read, in bytes.
	maxManifest = 8 << 20
	// maxDepth bounds how deep directories are walked; links may make loops.
	maxDepth = 16
)

// sources are the directories of the context to look into.
type sources struct {
	lists, manifests, charts []string
}

// places gives the conventional directories and those that the Kubefile's COPY puts in their place (COPY deploy manifests).
func (s *scanner) places(k *kubefile.File) sources {
	src := sources{lists: []string{"images/shim"}, manifests: []string{"manifests"}, charts: []string{"charts"}}
	if k == nil {
		return src
	}
	for _, stage := range k.Final() {
		for _, c := range stage.Copies {
			dest := strings.TrimPrefix(path.Clean("/"+c.Dest), "/")
			for _, from := range c.Sources {
				from = strings.TrimPrefix(path.Clean("/"+from), "/")
				if matches, err := fs.Glob(s.fsys, from); err == nil {
					for _, m := range matches {
						src.add(dest, m)
					}
				}
			}
		}
	}
	return src
}

// kubefileEnv takes the images that the Kubefile's own ENV names in full, as
// the sandbox image that a rootfs configures its container runtime with.
func (s *scanner) kubefileEnv(k *kubefile.File) {
	for _, in := range k.Instructions[k.Final()[0].First:] {
		if in.Name != "ENV" {
			continue
		}
		for _, arg := range in.Args {
			key, _, _ := strings.Cut(arg, "=")
			if value := s.env[key]; strict(value) {
				s.add(filepath.Base(k.Name), finding{text: trimRef(value), line: in.Line, certainty: Suspected, reason: "ENV " + key})
			}
		}
	}
}

// add puts a copied path where its destination says, unless it is there.
func (src *sources) add(dest, from string) {
	for _, kind := range []struct {
		dir   string
		paths *[]string
	}{{"images/shim", &src.lists}, {"manifests", &src.manifests}, {"charts", &src.charts}} {
		if dest != kind.dir && !strings.HasPrefix(dest, kind.dir+"/") {
			continue
		}
		within := func(dir string) bool { return from == dir || strings.HasPrefix(from, dir+"/") }
		if from != "" && from != "registry" && !slices.ContainsFunc(*kind.paths, within) {
			*kind.paths = append(*kind.paths, from)
		}
	}
}

// walk calls fn for every regular file below dir, sorted; dir may be a file. A missing dir is nothing; registry/ is never entered.
func (s *scanner) walk(dir string, fn func(file string) error) error {
	return s.walkDepth(dir, 0, fn)
}

func (s *scanner) walkDepth(p string, depth int, fn func(file string) error) error {
	if err := s.ctx.Err(); err != nil {
		return err
	}
	info, err := fs.Stat(s.fsys, p)
	switch {
	case errors.Is(err, fs.ErrNotExist) && depth == 0:
		return nil
	case err != nil:
		s.warn(p, 0, "not read: "+err.Error())
		return nil
	case info.Mode().IsRegular():
		return fn(p)
	case !info.IsDir() || p == "registry" || depth > maxDepth:
		return nil
	}
	entries, err := fs.ReadDir(s.fsys, p)
	if err != nil {
		s.warn(p, 0, "not read: "+err.Error())
		return nil
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), ".") {
			continue
		}
		if err := s.walkDepth(path.Join(p, e.Name()), depth+1, fn); err != nil {
			return err
		}
	}
	return nil
}

// read gives a file's content; false if it is missing, or too large or not to be read (errors of the result).
func (s *scanner) read(file string) ([]byte, bool) {
	f, err := s.fsys.Open(file)
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			s.fail(file, 0, "not read: "+err.Error())
		}
		return nil, false
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxManifest+1))
	switch {
	case err != nil:
		s.fail(file, 0, "not read: "+err.Error())
		return nil, false
	case len(text) > maxManifest:
		s.fail(file, 0, fmt.Sprintf("larger than %d MiB: not searched for images", maxManifest>>20))
		return nil, false
	}
	return text, true
}
