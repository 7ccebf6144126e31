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
	case !info.IsDir() || p == "registry":
		return nil
	case depth > maxDepth:
		s.fail(p, 0, tooDeep)
		return nil
	}
	entries, err := fs.ReadDir(s.fsys, p)
	if err != nil {
		s.warn(p, 0, "not read: "+err.Error())
		return nil
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), ".") || !s.validName(p, e) {
			continue
		}
		if err := s.walkDepth(path.Join(p, e.Name()), depth+1, fn); err != nil {
			return err
		}
	}
	return nil
}

// readBytes gives a file's content; false if it is missing, or too large or not to be read (errors of the result).
func (s *scanner) readBytes(file string) ([]byte, bool) {
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

// Below: what the commands of an image reach for, besides charts that lie in it. Files of kubectl are searched; what no site can
// fetch is an error, since nobody knows which images it names.

// named is a file or directory that a command names.
type named struct {
	Place
	path  string
	chart bool // of helm, else of kubectl
	runs  bool // at the site for sure: the command, or the script that it stands in, is in the Kubefile
}

// maxShells bounds shells in shells: a variable may hold a command that names it.
const maxShells = 4

// command looks at one command of a Kubefile or script. It notes what it names.
func (s *scanner) command(words []string, env map[string]string, at Place, runs bool) {
	switch path.Base(words[0]) {
	case "cp", "mv", "ln": // of helm and kubectl themselves, too
		s.others = append(s.others, words)
		return
	case "cd", "pushd":
		if len(words) > 1 && !strings.Contains(words[1], unresolved) {
			s.dirs = append(s.dirs, fromContext(words[1]))
		}
	case "sh", "bash":
		if len(words) > 2 && strings.HasPrefix(words[1], "-") && strings.HasSuffix(words[1], "c") && s.shells < maxShells {
			s.shells++
			s.helmLine(words[2], env, at, runs)
			s.shells--
			return
		}
	}
	for i, w := range words {
		switch path.Base(w) {
		case "helm":
			s.helmCommand(words[i+1:], at, runs)
			return
		case "kubectl":
			s.kubectlCommand(words[i+1:], at, runs)
			return
		case "helmfile":
			if i == 0 {
				s.outOfReach(at, runs, "the charts of a helmfile are not searched: install each with helm upgrade --install, from charts/")
			}
			return
		}
	}
	if runs {
		s.others = append(s.others, words)
	}
}

// kubectlFiles are the options of kubectl that name files; directories of kustomize are among them. Read-only after start.
var kubectlFiles = []string{"-f", "--filename", "-k", "--kustomize"}

func (s *scanner) kubectlCommand(words []string, at Place, runs bool) {
	verb := slices.IndexFunc(words, func(w string) bool { return slices.Contains([]string{"apply", "create", "replace"}, w) })
	if verb < 0 {
		return
	}
	for i := verb + 1; i < len(words); i++ {
		flag, value, joined := strings.Cut(words[i], "=")
		if !joined && len(flag) > 2 && (flag[:2] == "-f" || flag[:2] == "-k") {
			flag, value, joined = flag[:2], flag[2:], true
		}
		if !slices.Contains(kubectlFiles, flag) {
			continue
		}
		if !joined {
			if i++; i >= len(words) {
				return
			}
			value = words[i]
		}
		for file := range strings.SplitSeq(value, ",") {
			switch {
			case file == "-" || strings.Contains(file, unresolved):
			case remote(file):
				s.outOfReach(at, runs, "kubectl would fetch "+file+", which no site can: put it into manifests/")
			default:
				s.named = append(s.named, named{Place: at, path: file, runs: runs})
			}
		}
	}
}

// remote tells whether a file or chart is fetched from somewhere else.
func remote(name string) bool {
	return strings.Contains(name, "://") || strings.HasPrefix(name, "github.com/") || strings.HasPrefix(name, "git@")
}

// outOfReach tells of what cannot be had at a site. A script that nothing calls may be for another place.
func (s *scanner) outOfReach(at Place, runs bool, message string) {
	if runs {
		s.fail(at.File, at.Line, message)
	} else {
		s.warn(at.File, at.Line, message)
	}
}

// follow adds the files that kubectl names to the manifests, where they lie. One that a command of a whole image names and that is
// not in it is an error: nobody knows which images it would name.
func (s *scanner) follow(src *sources) {
	for _, n := range s.named {
		found := false
		for _, dir := range append([]string{".", path.Dir(n.File)}, s.dirs...) {
			p := path.Join(dir, fromContext(n.path))
			if n.chart {
				found = found || s.exists(p) || s.exists(path.Join("charts", path.Base(p)))
				continue
			}
			if _, err := fs.Stat(s.fsys, p); err == nil && !found {
				found = true
				if within := func(dir string) bool { return p == dir || strings.HasPrefix(p, dir+"/") }; !slices.ContainsFunc(src.manifests, within) {
					src.manifests = append(src.manifests, p)
				}
			}
			found = found || s.exists(p)
		}
		if !found && s.whole && n.runs && !s.mayBeMade(n.path) {
			s.fail(n.File, n.Line, n.path+" is not in the image, and so not searched: copy it into the image, or name it as it lies there")
		}
	}
}

// exists tells whether a path, which may be a pattern, is in the image, or will be once templates are rendered.
func (s *scanner) exists(p string) bool {
	for _, name := range []string{p, p + ".tmpl"} {
		if matches, err := fs.Glob(s.fsys, name); err != nil || len(matches) > 0 {
			return true
		}
	}
	return false
}

// mayBeMade tells whether another command of the Kubefile may make a file: it names it, or its directory, or runs a script.
func (s *scanner) mayBeMade(file string) bool {
	top, _, _ := strings.Cut(fromContext(file), "/")
	return slices.ContainsFunc(s.others, func(words []string) bool {
		return slices.ContainsFunc(words, func(w string) bool {
			return strings.Contains(w, unresolved) || strings.Contains(w, top) || strings.HasSuffix(w, ".sh") || strings.Contains(w, ".tar") || strings.HasSuffix(w, ".tgz")
		})
	})
}
