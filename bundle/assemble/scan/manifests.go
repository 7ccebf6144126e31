package scan

import (
	"bytes"
	"fmt"
	"io/fs"
	"path"
	"strings"
	"unicode/utf8"
)

// manifests reads manifests/: every file that may hold YAML or JSON. A chart
// that lies there is left to charts.
func (s *scanner) manifests(src sources) error {
	for _, dir := range src.manifests {
		err := s.walk(dir, func(file string) error {
			if s.inChart(dir, file) || !mayBeManifest(file) {
				return nil
			}
			if content, ok := s.read(file); ok && isManifest(file, content) {
				s.manifest(file, string(content), rendered{})
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
	case ".md", ".txt", ".sh", ".py", ".go", ".tgz", ".gz", ".tar", ".zst", ".xz", ".zip", ".png", ".svg", ".jpg", ".crt", ".key", ".pem":
		return false
	}
	return true
}

// isManifest tells by name or by content.
func isManifest(file string, content []byte) bool {
	if !utf8.Valid(content) || bytes.IndexByte(content, 0) >= 0 {
		return false
	}
	switch strings.ToLower(path.Ext(file)) {
	case ".yaml", ".yml", ".json", ".tmpl", ".tpl", ".gotmpl", ".j2":
		return true
	}
	return bytes.Contains(content, []byte("apiVersion"))
}

// inChart: a directory of file, at or below dir, is a chart.
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
	lineOf func(line int) int // the line of the file that made a line
	demote string             // as in walker
	quiet  bool               // warnings say nothing about what will happen
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
			lineOf: func(line int) int { return lineOf(doc.first - 1 + line) },
			env:    s.env,
			demote: r.demote,
		}
		if r.quiet {
			w.warn = func(int, string) {}
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
