package scan

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"

	"helm.sh/helm/v4/pkg/chart/loader/archive"
	"helm.sh/helm/v4/pkg/ignore"
)

// loadChart reads a chart's files, as Helm's own loader would: a directory's
// .helmignore counts, a packed chart's does not.
func (s *scanner) loadChart(c chartFile) ([]*archive.BufferedFile, error) {
	if c.packed {
		f, err := s.fsys.Open(c.path)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		info, err := f.Stat()
		if err != nil {
			return nil, err
		}
		if info.Size() > maxPacked {
			return nil, fmt.Errorf("larger than %d MiB", maxPacked>>20)
		}
		files, err := archive.LoadArchiveFiles(f)
		if err != nil {
			return nil, fmt.Errorf("not a packed chart: %w", err)
		}
		return files, nil
	}
	rules := ignore.Empty()
	if f, err := s.fsys.Open(path.Join(c.path, ignore.HelmIgnore)); err == nil {
		parsed, err := ignore.Parse(io.LimitReader(f, maxManifest))
		f.Close()
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", ignore.HelmIgnore, err)
		}
		rules = parsed
	}
	rules.AddDefaults()
	l := &chartLoader{scanner: s, rules: rules, left: archive.MaxDecompressedChartSize}
	if err := l.dir(c.path, "", 0); err != nil {
		return nil, err
	}
	return l.files, nil
}

type chartLoader struct {
	*scanner
	rules *ignore.Rules
	files []*archive.BufferedFile
	left  int64
}

// dir loads base/rel.
func (l *chartLoader) dir(base, rel string, depth int) error {
	if err := l.ctx.Err(); err != nil {
		return err
	}
	if depth > maxDepth {
		return errors.New("directories nested too deep")
	}
	entries, err := fs.ReadDir(l.fsys, path.Join(base, rel))
	if err != nil {
		return err
	}
	for _, e := range entries {
		name := path.Join(rel, e.Name())
		info, err := fs.Stat(l.fsys, path.Join(base, name))
		if err != nil {
			return err
		}
		switch {
		case l.rules.Ignore(name, info):
		case info.IsDir():
			if err := l.dir(base, name, depth+1); err != nil {
				return err
			}
		case info.Mode().IsRegular():
			if err := l.file(base, name, info); err != nil {
				return err
			}
		}
	}
	return nil
}

func (l *chartLoader) file(base, name string, info fs.FileInfo) error {
	if l.left -= info.Size(); l.left < 0 {
		return fmt.Errorf("larger than %d MiB", archive.MaxDecompressedChartSize>>20)
	}
	content, err := fs.ReadFile(l.fsys, path.Join(base, name))
	if err != nil {
		return err
	}
	l.files = append(l.files, &archive.BufferedFile{Name: name, Data: trimBOM(content)})
	return nil
}

// valuesFile is a set of values that a chart may be installed with.
type valuesFile struct {
	path string
	text []byte
}

// chartValues are the files beside a chart.
type chartValues struct {
	main   *valuesFile // NAME.values.yaml
	extras []valuesFile
}

// valuesBeside gives the values files that lie beside a chart and belong to
// it or to no chart in particular.
func (s *scanner) valuesBeside(c chartFile, chartName string, siblings []string) chartValues {
	var out chartValues
	if c.path == "." {
		return out
	}
	dirs := []string{path.Dir(c.path)}
	for _, dir := range []string{".", "values"} {
		if !slices.Contains(dirs, dir) {
			dirs = append(dirs, dir)
		}
	}
	for i, dir := range dirs {
		s.valuesIn(dir, c, chartName, siblings, i > 0, &out)
	}
	return out
}

// valuesIn adds a directory's values files; named takes only those that are
// named after the chart.
func (s *scanner) valuesIn(dir string, c chartFile, chartName string, siblings []string, named bool, out *chartValues) {
	entries, err := fs.ReadDir(s.fsys, dir)
	if err != nil {
		return
	}
	for _, e := range entries {
		name := strings.TrimSuffix(e.Name(), ".tmpl")
		ext := path.Ext(name)
		if (ext != ".yaml" && ext != ".yml") || !strings.Contains(strings.ToLower(name), "values") || strings.HasPrefix(name, ".") {
			continue
		}
		if owner := longestOwner(name, siblings, chartName); owner != c.name() && owner != chartName && (owner != "" || named) {
			continue
		}
		p := path.Join(dir, e.Name())
		text, ok := s.read(p)
		if !ok {
			continue
		}
		if name != e.Name() {
			text = []byte(neutralize(string(text), s.env))
		}
		v := valuesFile{path: p, text: trimBOM(text)}
		stem := strings.TrimSuffix(name, ext)
		if out.main == nil && (stem == c.name()+".values" || stem == chartName+".values") {
			out.main = &v
			continue
		}
		out.extras = append(out.extras, v)
	}
}

// longestOwner gives the chart that a values file is named after.
func longestOwner(file string, charts []string, chartName string) string {
	owner := ""
	for _, name := range slices.Concat(charts, []string{chartName}) {
		rest, ok := strings.CutPrefix(file, name)
		if ok && name != "" && strings.ContainsAny(rest[:min(1, len(rest))], ".-_") && len(name) > len(owner) {
			owner = name
		}
	}
	return owner
}
