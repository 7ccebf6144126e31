package scan

import (
	"bytes"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"
)

// manifests reads manifests/: every file that may hold YAML or JSON. A chart that lies there is left to charts.
func (s *scanner) manifests(src sources) error {
	for _, dir := range src.manifests {
		err := s.walk(dir, func(file string) error {
			switch {
			case s.inChart(dir, file):
				return nil
			case isArchive(file):
				if !s.beginsAsChart(file) {
					s.fail(file, 0, packedManifests)
				}
				return nil
			case !mayBeManifest(file):
				return nil
			}
			content, ok := s.readBytes(file)
			if !ok {
				return nil
			}
			if content, ok = plainText(content); !ok {
				if isManifest(file, nil) {
					s.fail(file, 0, noText)
				}
				return nil
			}
			switch kind := path.Ext(strings.ToLower(file)); {
			case kind == ".sh" || bytes.HasPrefix(content, []byte("#!")):
				s.script(file, string(content))
			case isManifest(file, content):
				s.manifest(file, string(content), rendered{})
			default:
				s.configuration(file, string(content))
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// mayBeManifest leaves out by name what surely holds no objects.
func mayBeManifest(file string) bool {
	switch strings.ToLower(path.Ext(file)) {
	case ".md", ".txt", ".rst", ".py", ".go", ".png", ".svg", ".jpg", ".crt", ".key", ".pem":
		return false
	}
	return true
}

// isManifest tells by name or by content.
func isManifest(file string, content []byte) bool {
	switch strings.ToLower(path.Ext(file)) {
	case ".yaml", ".yml", ".json", ".tmpl", ".tpl", ".gotmpl", ".j2":
		return true
	}
	return bytes.Contains(content, []byte("apiVersion"))
}

// configuration looks through a file that is no manifest: what reads like an image in it is suspected.
func (s *scanner) configuration(file, content string) {
	w := walker{
		emit: func(f finding) { s.add(file, f) }, warn: func(int, string) {}, lineOf: func(line int) int { return line },
		env: s.env, demote: "of a configuration file", texts: 1,
	}
	w.text(content)
}

// script takes the manifests that a script has in here-documents, and the
// images that it has kubectl run. Its other commands run on the host.
func (s *scanner) script(file, content string) {
	env := maps.Clone(s.env)
	var document []string
	end, first := "", 0
	for n, line := range strings.Split(content, "\n") {
		if end != "" {
			if strings.TrimSpace(line) != end {
				document = append(document, line)
				continue
			}
			if text := strings.Join(document, "\n"); strings.Contains(text, "apiVersion") {
				s.manifest(file, text, rendered{lineOf: func(line int) int { return first + line }, env: env})
			}
			end, document = "", nil
			continue
		}
		if m := hereDocument.FindStringSubmatch(line); m != nil && !strings.HasPrefix(strings.TrimSpace(line), "#") {
			end, first = m[1], n+1
		}
	}
	env = maps.Clone(s.env)
	for _, l := range shellLines(content) {
		if assign(l.text, env) || !strings.Contains(l.text, "kubectl") {
			continue
		}
		for _, words := range shellCommands(l.text, env) {
			s.kubectl(words, Place{File: file, Line: l.line})
		}
	}
}

// hereDocument finds what ends a here-document. Read-only after start.
var hereDocument = regexp.MustCompile(`<<-?\s*["'\\]?([A-Za-z_][A-Za-z0-9_]*)`)

// kubectl takes --image of kubectl run, create and debug.
func (s *scanner) kubectl(words []string, at Place) {
	if len(words) < 2 || path.Base(words[0]) != "kubectl" || !slices.ContainsFunc(words, func(w string) bool { return w == "run" || w == "create" || w == "debug" }) {
		return
	}
	for i, w := range words {
		value, ok := strings.CutPrefix(w, "--image=")
		if w == "--image" && i+1 < len(words) {
			value, ok = words[i+1], true
		}
		if ok && strings.Contains(value, unresolved) {
			s.warn(at.File, at.Line, "the image "+shown(value)+" of kubectl is known at run time only: list it in images/shim")
		} else if _, is := shapeOf(value); ok && is {
			s.add(at.File, finding{text: value, line: at.Line, certainty: Suspected, reason: "kubectl --image"})
		}
	}
}

// inChart tells whether file lies in a chart at or below dir.
func (s *scanner) inChart(dir, file string) bool {
	for d := path.Dir(file); d == dir || strings.HasPrefix(d, dir+"/"); d = path.Dir(d) {
		if info, err := fs.Stat(s.fsys, path.Join(d, "Chart.yaml")); err == nil && info.Mode().IsRegular() {
			return true
		}
	}
	return false
}

// rendered says that a stream was made from a file and is not the file.
type rendered struct {
	lineOf  func(line int) int // the line of the file that made a line
	demote  string             // as in walker
	quiet   bool               // warnings say nothing about what will happen
	patched bool               // values that are missing were left empty
	env     map[string]string  // of the script around it; nil: the Kubefile's
}

// manifest looks through one stream of objects that is, or was made from, file.
func (s *scanner) manifest(file, content string, r rendered) {
	template := isTemplate(file) && r.lineOf == nil
	if template {
		content = neutralize(content, s.env)
	}
	lineOf := r.lineOf
	if lineOf == nil {
		lineOf = func(line int) int { return line }
	}
	for _, doc := range documents(content) {
		w := walker{
			emit:   func(f finding) { s.add(file, f) },
			warn:   func(line int, message string) { s.warn(file, line, message) },
			fail:   func(line int, message string) { s.fail(file, line, message) },
			lineOf: func(line int) int { return lineOf(doc.first - 1 + line) },
			env:    s.env,
			demote: r.demote,

			doubt:   func(line int, message, text, known string) { s.doubt(file, line, message, text, known) },
			patched: r.patched,
		}
		if r.env != nil {
			w.env = r.env
		}
		if w.quiet = r.quiet; r.quiet {
			w.warn, w.fail = func(int, string) {}, nil
		}
		node, err := parseYAML(doc.text)
		if err != nil && !template && strings.Contains(doc.text, "{{") {
			// A template without a template's name.
			doc.text = neutralize(doc.text, s.env)
			node, err = parseYAML(doc.text)
		}
		if err != nil {
			w.warn(w.lineOf(yamlErrorLine(err)), fmt.Sprintf("not valid YAML (%v): searched line by line", yamlMessage(err)))
			w.lines(doc.text)
			continue
		}
		w.run(node, data)
	}
}

func isTemplate(file string) bool {
	switch strings.ToLower(path.Ext(file)) {
	case ".tmpl", ".tpl", ".gotmpl", ".j2":
		return true
	}
	return false
}
