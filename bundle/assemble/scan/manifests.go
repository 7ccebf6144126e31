package scan

import (
	"bytes"
	"fmt"
	"io/fs"
	"path"
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
