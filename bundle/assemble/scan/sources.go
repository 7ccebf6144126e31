package scan

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"mvdan.cc/sh/v3/syntax"

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

// Below: what the commands of an image run and reach for, besides charts that lie in it. Scripts are read and files of kubectl
// searched, wherever they lie; what no site can fetch is an error, since nobody knows which images it names.

// command is a simple command with its words as the shell would hand them over.
type command struct {
	Place
	words  []string
	runs   bool     // at the site for sure: the command, or what calls its script, is in the Kubefile
	source string   // as it is written
	lacks  []string // variables without a value in it
	site   []string // variables of the image in it: a site may give them other values
}

// wrappers run the command behind them: their options that take a value. Read-only after start.
var wrappers = map[string]string{
	"exec": "-a", "command": "", "builtin": "", "nohup": "", "env": "-u -C --unset --chdir", "sudo": "-u -g -h -p -C -r -t -D -R -T --user --group",
	"doas": "-u -C", "timeout": "-k -s --kill-after --signal", "time": "-f -o", "nice": "-n", "ionice": "-c -n", "setsid": "", "stdbuf": "-i -o -e",
	"busybox": "",
}

// Read-only after start.
var (
	shellName   = regexp.MustCompile(`^(ba|da|a|k|mk|z)?sh$`)
	interpreter = regexp.MustCompile(`^(python|perl|ruby|node|php|lua|pwsh)[0-9.]*$`)
	hashBang    = regexp.MustCompile(`^#!\s*(?:\S*/)?([^/\s]+)(?:\s+(?:-S\s+)?(\S+))?`)
)

// command looks at one command: what it changes of the shell, what it runs, and what it names.
func (sh *shell) command(c command, wrapped bool) {
	name, args := path.Base(c.words[0]), c.words[1:]
	valued, wraps := wrappers[name]
	switch {
	case wraps:
		sh.wrapper(c, name, args, strings.Fields(valued))
		return
	case shellName.MatchString(name):
		sh.shell(c, args)
		return
	}
	switch name {
	case "cp", "mv", "ln": // of helm and kubectl themselves, too
		sh.others = append(sh.others, c.words)
		return
	case "cd", "pushd":
		if len(args) > 0 {
			sh.goes(args[len(args)-1])
		}
		return
	case "source", ".":
		if len(args) > 0 {
			sh.calls(c, args[0], args[1:], name)
		}
		return
	case "eval":
		if f, err := parseShell(strings.Join(args, " ")); err == nil && sh.depth < maxShells {
			one := *sh
			one.at, one.text = c.Place, strings.Join(args, " ")
			one.depth++
			one.statements(f.Stmts)
			sh.vars = one.vars
		}
		return
	}
	if sh.vars.builtin(name, args) {
		return
	}
	if fn := sh.funcs[c.words[0]]; fn != nil && !wrapped {
		sh.function(fn, args)
	}
	for i, w := range c.words {
		switch path.Base(w) {
		case "helm":
			sh.helmCommand(c, c.words[i+1:])
			return
		case "kubectl":
			sh.kubectlCommand(c, c.words[i+1:])
			return
		case "helmfile":
			if i == 0 {
				sh.outOfReach(c.Place, c.runs, "the charts of a helmfile are not searched: install each with helm upgrade --install, from charts/")
			}
			return
		}
	}
	if c.runs {
		sh.others = append(sh.others, c.words)
	}
	switch {
	case interpreter.MatchString(name):
		if i := slices.IndexFunc(args, func(a string) bool { return !strings.HasPrefix(a, "-") }); i >= 0 {
			sh.calls(c, args[i], nil, name)
		}
	case strings.Contains(c.words[0], "/"):
		sh.calls(c, c.words[0], args, "")
	}
}

// calls reads the file that a command runs, if the image has it, whatever it is called. by is sh, source, the name of another
// interpreter, or empty: then the file says itself what runs it.
func (sh *shell) calls(c command, name string, args []string, by string) {
	file, text, ok := sh.find(name, sh.at.File)
	if !ok || sh.depth >= maxShells {
		sh.others = append(sh.others, c.words)
		return
	}
	sh.scripts[file] = true
	if m := hashBang.FindStringSubmatch(text); by == "" && m != nil {
		if by = m[1]; by == "env" {
			by = m[2]
		}
	}
	if by != "" && by != "source" && by != "." && !shellName.MatchString(by) {
		sh.foreign(file, text)
		return
	}
	one := *sh
	one.at, one.line = Place{File: file}, nil
	one.depth++
	sources := by == "source" || by == "."
	if !sources {
		one.vars, one.funcs = sh.vars.exported(args), map[string]*function{}
	}
	if err := one.interpret(text, !sources); err != nil {
		sh.unread(Place{File: file}, c.runs, text, err)
	} else if sources {
		sh.vars = one.vars
	}
}

// goes notes the directory that commands go to.
func (sh *shell) goes(dir string) {
	known := knownPath(dir)
	if strings.HasPrefix(known, "*") {
		sh.others = append(sh.others, []string{dir})
		return
	}
	if sh.cwd = path.Join(sh.cwd, known); path.IsAbs(known) || len(sh.cwd) > maxRef {
		sh.cwd = known
	}
	sh.dirs = appendNew(sh.dirs, []string{fromContext(sh.cwd), fromContext(known)})
}

// unread tells of a text that is no shell script, after looking for what can be seen of it all the same.
func (s *scanner) unread(at Place, runs bool, text string, err error) {
	file := at.Line == 0
	var parse syntax.ParseError
	if errors.As(err, &parse) && file {
		at.Line, err = int(parse.Pos.Line()), errors.New(parse.Text)
	}
	s.outOfReach(at, runs && installs.MatchString(text), "not read as a shell script ("+err.Error()+"): what its commands name is not searched; "+listThem)
	if file {
		s.foreign(at.File, text)
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

// named is a file or directory that a command names.
type named struct {
	Place
	path  string
	chart bool // of helm, else of kubectl
	runs  bool // as in command
}

// follow adds the files that kubectl names to the manifests, where they lie. One that a command of a whole image names and that is
// not in it is an error: nobody knows which images it would name.
func (s *scanner) follow(src *sources) {
	for _, n := range s.named {
		found := false
		given := fromContext(knownPath(n.path))
		for _, dir := range append([]string{".", path.Dir(n.File)}, s.dirs...) {
			p := path.Join(dir, given)
			if n.chart {
				found = found || s.exists(p) || s.exists(path.Join("charts", path.Base(p)))
				continue
			}
			if !found && given != "*" {
				for _, m := range s.matches(p) {
					found = true
					if within := func(dir string) bool { return m == dir || strings.HasPrefix(m, dir+"/") }; !slices.ContainsFunc(src.manifests, within) {
						src.manifests = append(src.manifests, m)
					}
				}
			}
		}
		switch {
		case found:
		case s.whole && n.runs && !s.mayBeMade(n.path):
			s.fail(n.File, n.Line, shown(n.path)+" is not in the image, and so not searched: copy it into the image, or name it as it lies there")
		case !n.chart && strings.Contains(n.path, unresolved):
			s.warn(n.File, n.Line, "the file "+shown(n.path)+" of kubectl is known at run time only: put it into manifests/, where all is searched")
		}
	}
}

// knownPath is a path without the directory that is known at run time only. What else is not known may be anything.
func knownPath(p string) string {
	if i := strings.LastIndex(p, unresolved+"/"); i == 0 || i > 0 && !strings.Contains(p[:i], "/") {
		p = p[i+len(unresolved)+1:]
	}
	return strings.ReplaceAll(p, unresolved, "*")
}

// matches are the files of a path, which may be a pattern: that of the shell, or one of a template that is rendered at the site.
func (s *scanner) matches(p string) []string {
	for _, name := range []string{p, p + ".tmpl"} {
		if matches, err := fs.Glob(s.fsys, name); err == nil && len(matches) > 0 {
			return matches
		}
	}
	return nil
}

// exists tells whether a path, which may be a pattern, is in the image, or will be once templates are rendered.
func (s *scanner) exists(p string) bool { return len(s.matches(p)) > 0 }

// mayBeMade tells whether another command of the Kubefile may make a file: it names it, or its directory, or runs a script.
func (s *scanner) mayBeMade(file string) bool {
	top, _, _ := strings.Cut(fromContext(knownPath(file)), "/")
	return slices.ContainsFunc(s.others, func(words []string) bool {
		return slices.ContainsFunc(words, func(w string) bool {
			return strings.Contains(w, unresolved) || strings.Contains(w, top) || strings.HasSuffix(w, ".sh") || strings.Contains(w, ".tar") ||
				strings.HasSuffix(w, ".tgz")
		})
	})
}
