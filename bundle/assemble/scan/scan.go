// Package scan finds the container images that a build context needs, and
// says where each was found. It pulls nothing and never uses the network.
//
// It looks at images/shim/* lists, images/skopeo/tar.txt and other archives in images/, manifests/, and charts wherever they lie.
// Charts are rendered by Helm's own engine, with the values files beside them and the literal Helm options of the Kubefile's
// commands and of scripts; then once more with what is off switched on, and their values and annotations are read.
//
// What is found is certain where a field is defined to hold an image and names one in full: a PodSpec (wherever it is embedded), a
// list, an image key or a registry, repository and tag of a custom resource, a variable or a flag that is called an image.
// Suspected is what only looks like an image (values of ConfigMaps, loose strings), what is not complete (a tag that is added at
// run time), and what is off: parts of charts, operands, tests. Comments, prose, commands, file names, ports and versions are never
// taken for images.
//
// One bad file stops nothing: it becomes a warning or an error of the Result, with its line, and the search goes on. A template
// that does not render is left out, named with the value it lacks, and read as text.
package scan

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"mvdan.cc/sh/v3/syntax"

	"github.com/sealbuild/sealbuild/kubefile"
)

// Certainty tells how sure it is that a reference is needed.
type Certainty string

const (
	// Certain: the field is defined to hold an image. It must be pulled.
	Certain Certainty = "certain"
	// Suspected: it reads like an image. It is worth pulling if it exists.
	Suspected Certainty = "suspected"
)

// DefaultKubeVersion is what charts are rendered for when nothing says.
const DefaultKubeVersion = "v1.36.0"

// Place is a line of a file. Line is 0 when it is not known.
type Place struct {
	File string `json:"file"` // slash path in the context; inside a packed chart: charts/x-1.tgz/templates/y.yaml
	Line int    `json:"line"`
}

// Found is one image, at the place that says most surely that it is needed.
type Found struct {
	Ref       string    `json:"ref"`      // full and normalised: docker.io/library/nginx:1.27; name:tag@digest keeps both
	Original  string    `json:"original"` // as written there
	Certainty Certainty `json:"certainty"`
	Test      bool      `json:"test,omitempty"` // only pods of "helm test" name it
	Place
	Reason string  `json:"reason"`         // why it was taken, for a person
	Also   []Place `json:"also,omitempty"` // other places that name it
}

// Archive is an image archive that lies in the context.
type Archive struct {
	Path      string `json:"path"`      // slash path in the context
	Transport string `json:"transport"` // docker-archive or oci-archive
	Ref       string `json:"ref"`       // what to name it; empty: the names inside the archive
	Place
}

// Warning is something worth a look that loses no image for sure.
type Warning struct {
	Place
	Message string `json:"message"`
}

// Error is something that may have lost images: a chart that does not render, an unreadable list.
type Error struct {
	Place
	Message string `json:"message"`
}

func (e Error) Error() string {
	if e.Line > 0 {
		return fmt.Sprintf("%s:%d: %s", e.File, e.Line, e.Message)
	}
	return e.File + ": " + e.Message
}

// Result of a scan. Everything is in a stable order.
type Result struct {
	Images   []Found   `json:"images"` // one for each Ref, sorted
	Archives []Archive `json:"archives,omitempty"`
	Warnings []Warning `json:"warnings,omitempty"`
	Errors   []Error   `json:"errors,omitempty"`
	Charts   *Charts   `json:"charts,omitempty"` // nil: there are none
}

// Charts is for which Kubernetes charts were rendered.
type Charts struct {
	KubeVersion string `json:"kubeVersion"` // v1.36.0
	Depends     bool   `json:"depends"`     // a template asks for the version, or for what it serves
}

// Options say how a directory is scanned.
type Options struct {
	Env   []string // KEY=VALUE that the image's environment gets beside what the Kubefile says
	Kube  string   // the Kubernetes version of the site; empty: the one that the Kubefile names, else DefaultKubeVersion
	Whole bool     // the directory holds all files of an image: what its commands name and it does not hold is an error
}

// Dir scans a directory, as [Scan] does. Links that leave the directory are not followed.
func Dir(ctx context.Context, dir string, k *kubefile.File, o Options) (*Result, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("open build context: %w", err)
	}
	defer root.Close()
	return scan(ctx, root.FS(), k, o)
}

// Scan scans a build context. k is its Kubefile, nil if it has none: its ENV gives templates their values, its COPY instructions
// say which other directories become charts/, manifests/ and images/shim in the image, and its version label says for which
// Kubernetes charts are rendered. The error is about the context as a whole or ctx; what is wrong with single files is in the
// Result.
func Scan(ctx context.Context, fsys fs.FS, k *kubefile.File) (*Result, error) {
	return scan(ctx, fsys, k, Options{})
}

func scan(ctx context.Context, fsys fs.FS, k *kubefile.File, o Options) (*Result, error) {
	if _, err := fs.ReadDir(fsys, "."); err != nil {
		return nil, fmt.Errorf("read build context: %w", err)
	}
	c := newCollector(readIgnore(fsys))
	s := &scanner{
		ctx: ctx, fsys: fsys, collector: c, env: map[string]string{}, scripts: map[string]bool{}, made: map[string]string{},
		kubeVersion: cmp.Or(o.Kube, DefaultKubeVersion), whole: o.Whole,
	}
	if k != nil {
		s.env, s.kubeVersion = k.Env(), cmp.Or(o.Kube, kubeVersionOf(k), DefaultKubeVersion)
		for _, kv := range o.Env {
			name, value, _ := strings.Cut(kv, "=")
			s.env[name] = value
		}
		s.kubefileEnv(k)
		s.commandsOf(k)
	}
	places := s.places(k)
	s.follow(&places)
	for _, step := range []func(sources) error{s.lists, s.archives, s.manifests, s.charts} {
		if err := step(places); err != nil {
			return nil, err
		}
	}
	return c.result(), nil
}

// kubernetesVersion is what a version label or a tag looks like that means
// Kubernetes, and not an application. Read-only after start.
var kubernetesVersion = regexp.MustCompile(`^v?1\.[1-9][0-9](\.[0-9]+)?([-+.].*)?$`)

// KubeVersion is a version label if it is one of Kubernetes, and empty for that of an application.
func KubeVersion(label string) string {
	if kubernetesVersion.MatchString(label) {
		return label
	}
	return ""
}

// kubeVersionOf is the Kubernetes version that a Kubefile names: the version
// label of a rootfs, else the tag of the Kubernetes image it is built from.
func kubeVersionOf(k *kubefile.File) string {
	if v := KubeVersion(k.Labels()["version"]); v != "" {
		return v
	}
	for _, stage := range slices.Backward(k.Stages) {
		name, tag, _ := strings.Cut(path.Base(stage.Base), ":")
		if strings.HasPrefix(name, "kubernetes") && kubernetesVersion.MatchString(tag) {
			tag, _, _ = strings.Cut(tag, "-")
			return tag
		}
	}
	return ""
}

// scanner is one run over one context.
type scanner struct {
	*collector
	ctx         context.Context
	fsys        fs.FS
	env         map[string]string // of the Kubefile, for templates
	uses        []helmUse
	named       []named
	scripts     map[string]bool   // that were read
	commands    int               // of scripts, each as often as it was met
	made        map[string]string // files that scripts write a here-document to
	dirs        []string          // that commands go to
	others      [][]string        // commands of the Kubefile that are none of helm or kubectl
	whole       bool              // all files of the image are there
	kubeVersion string
}

// Plan is what a build of a context would do: the parsed Kubefile and every image found. Nothing is pulled to make it.
type Plan struct {
	Kubefile     string            `json:"kubefile"` // the file read
	Instructions []PlanInstruction `json:"instructions"`
	Type         kubefile.Type     `json:"type"`
	Labels       map[string]string `json:"labels"`
	Env          map[string]string `json:"env"`
	Entrypoint   []string          `json:"entrypoint"`
	Cmd          []string          `json:"cmd"`
	*Result
}

// PlanInstruction is one instruction of the Kubefile, as written.
type PlanInstruction struct {
	Name  string   `json:"name"`
	Args  []string `json:"args"`
	Flags []string `json:"flags,omitempty"`
	Line  int      `json:"line"`
}

// MakePlan parses the context's Kubefile and scans the context. name is the Kubefile's path, taken as it is and else inside dir;
// empty means the first of kubefile.DefaultNames in dir. A mistake in the Kubefile is a *kubefile.Error.
func MakePlan(ctx context.Context, dir, name string, o Options, args ...kubefile.Option) (*Plan, error) {
	k, err := ParseKubefile(dir, name, args...)
	if err != nil {
		return nil, err
	}
	typ, err := k.Type()
	if err != nil {
		return nil, err
	}
	result, err := Dir(ctx, dir, k, o)
	if err != nil {
		return nil, err
	}
	p := &Plan{ // no list is null in JSON
		Kubefile: k.Name, Type: typ, Labels: k.Labels(), Env: k.Env(),
		Entrypoint: append([]string{}, k.Entrypoint()...), Cmd: append([]string{}, k.Cmd()...), Result: result,
	}
	for _, in := range k.Instructions {
		p.Instructions = append(p.Instructions, PlanInstruction{Name: in.Name, Args: append([]string{}, in.Args...), Flags: in.Flags, Line: in.Line})
	}
	return p, nil
}

// ParseKubefile reads the Kubefile that MakePlan would.
func ParseKubefile(dir, name string, args ...kubefile.Option) (*kubefile.File, error) {
	path := name
	if name == "" {
		found, err := kubefile.Find(os.DirFS(dir))
		if err != nil {
			return nil, fmt.Errorf("build context %s: %w", dir, err)
		}
		path = filepath.Join(dir, found)
	} else if _, err := os.Stat(name); err != nil && !filepath.IsAbs(name) {
		path = filepath.Join(dir, name)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open Kubefile: %w", err)
	}
	defer f.Close()
	return kubefile.Parse(f, path, args...)
}

// find gives the text file that a command means: where it is said to lie, in a directory that commands go to, or where scripts are
// kept.
func (s *scanner) find(name, from string) (file, text string, ok bool) {
	p := fromContext(knownPath(name))
	var places []string
	for _, dir := range append([]string{".", path.Dir(from)}, s.dirs...) {
		places = append(places, path.Join(dir, p))
	}
	for _, dir := range scriptDirs {
		places = append(places, path.Join(dir, path.Base(p)))
	}
	for _, place := range places {
		for _, file := range []string{place, place + ".tmpl"} {
			if text, ok := s.textOf(file); ok {
				return file, text, true
			}
		}
	}
	return "", "", false
}

// textOf gives a script's text. A program is none, and what is too long an error.
func (s *scanner) textOf(file string) (string, bool) {
	info, err := fs.Stat(s.fsys, file)
	if err != nil || !info.Mode().IsRegular() {
		return "", false
	}
	f, err := s.fsys.Open(file)
	if err != nil {
		s.fail(file, 0, "not read: "+err.Error())
		return "", false
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxScript+1))
	switch {
	case err != nil:
		s.fail(file, 0, "not read: "+err.Error())
		return "", false
	case bytes.IndexByte(text, 0) >= 0:
		return "", false
	case len(text) > maxScript:
		s.fail(file, 0, fmt.Sprintf("larger than %d KiB: its commands are not searched for images", maxScript>>10))
		return "", false
	}
	if strings.HasSuffix(file, ".tmpl") {
		return neutralize(string(text), s.env), true
	}
	return string(text), true
}

// scriptDirs is where scripts are looked for that nothing says the place of. Read-only after start.
var scriptDirs = []string{".", "scripts", "manifests", "opt", "bin"}

// Read-only after start.
var (
	installs = regexp.MustCompile(`\b(helm|kubectl|helmfile)\b`)
	quoted   = regexp.MustCompile(`[rfbu]?(?:"((?:\\.|[^"\\])*)"|'((?:\\.|[^'\\])*)')|[A-Za-z_][A-Za-z0-9_.]*\s*[=(]?|\S`)
	filled   = regexp.MustCompile(`%[sdv]|#?\$?\{[A-Za-z0-9_.:! ]*\}`)
)

// foreign looks through a script in another language: helm and kubectl count with the words that stand in quotes beside them, or
// as a line of a shell in quotes. Values that the language puts in are not known.
func (s *scanner) foreign(file, text string) {
	lines := strings.Split(text, "\n")
	told := false
	for i := 0; i < len(lines); i++ {
		first, line := i, lines[i]
		if !installs.MatchString(line) && !(strings.HasSuffix(strings.TrimSpace(line), "[") || strings.HasSuffix(strings.TrimSpace(line), "(")) {
			continue
		}
		open := func() bool {
			return strings.Count(line, "(")+strings.Count(line, "[") > strings.Count(line, ")")+strings.Count(line, "]")
		}
		for i+1 < len(lines) && i-first < maxStatement && (strings.HasSuffix(line, `\`) || open()) {
			i++
			line = strings.TrimSuffix(line, `\`) + " " + lines[i]
		}
		if comment := strings.TrimSpace(line); !installs.MatchString(line) || strings.HasPrefix(comment, "#") || strings.HasPrefix(comment, "//") {
			continue
		}
		if !told {
			s.warn(file, first+1, "no script of a shell: of what it has helm and kubectl do, only what stands in quotes beside them is seen")
			told = true
		}
		sh := &shell{scanner: s, at: Place{File: file, Line: first + 1}, vars: ofImage(s.env), most: new(int), funcs: map[string]*function{}}
		if err := sh.interpret(filled.ReplaceAllString(line, unresolved), true); err == nil {
			continue
		}
		if words := sh.quoted(line); len(words) > 0 {
			sh.command(command{Place: sh.at, words: words, source: line}, false)
		}
	}
}

// maxStatement is how many lines a statement of another language goes on for.
const maxStatement = 50

// quoted gives the words of a list of texts, as exec takes them, from helm or kubectl on. A text of several words is read as a line
// of a shell.
func (sh *shell) quoted(line string) []string {
	var words []string
	joined, skip := false, false
	for _, m := range quoted.FindAllStringSubmatch(line, -1) {
		value := filled.ReplaceAllString(m[1]+m[2], unresolved)
		isText := strings.HasSuffix(m[0], `"`) || strings.HasSuffix(m[0], "'")
		switch {
		case isText && len(words) == 0 && strings.ContainsAny(value, " \t") && installs.MatchString(value):
			_ = sh.interpret(value, true)
		case isText && joined && len(words) > 0:
			words[len(words)-1] += value
		case isText && (len(words) > 0 || installs.MatchString(value)):
			words = append(words, value)
		case isText || skip || len(m[0]) == 1 && !isName(m[0]) || strings.ContainsAny(m[0], "=("):
		case joined && len(words) > 0:
			words[len(words)-1] += unresolved
		case len(words) > 0:
			words = append(words, unresolved)
		}
		joined, skip = m[0] == "+", strings.HasSuffix(m[0], "=")
	}
	return words
}

func isName(s string) bool { return syntax.ValidName(s) }
