package scan

import (
	"archive/tar"
	"compress/gzip"
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

const (
	// maxPacked is the largest packed chart read, in bytes.
	maxPacked = 64 << 20
	// maxChartNesting is how deep charts may lie in each other.
	maxChartNesting = 4
)

// chartFile is a chart of the context: a directory or a packed one.
type chartFile struct {
	path   string
	packed bool
}

// name is what files beside the chart are named after.
func (c chartFile) name() string {
	base := path.Base(c.path)
	if c.packed {
		base = strings.TrimSuffix(strings.TrimSuffix(base, ".tar.gz"), ".tgz")
	}
	return base
}

// charts renders every chart of the context.
func (s *scanner) charts(src sources) error {
	var found []chartFile
	add := func(c chartFile) {
		if !slices.Contains(found, c) {
			found = append(found, c)
		}
	}
	for _, dir := range slices.Concat(src.charts, src.manifests) {
		if err := s.findCharts(dir, 0, slices.Contains(src.charts, dir), add); err != nil {
			return err
		}
	}
	if err := s.otherCharts(".", add); err != nil {
		return err
	}
	for _, n := range s.named { // hidden, behind a link, or of another ending
		for _, dir := range append([]string{".", path.Dir(n.File)}, s.dirs...) {
			p := path.Join(dir, fromContext(n.path))
			if n.chart && s.isChart(p) {
				add(chartFile{path: p})
			} else if n.chart && s.beginsAsChart(p) {
				add(chartFile{path: p, packed: true})
			}
		}
	}
	names := map[string][]string{} // directory -> names of its charts
	for _, c := range found {
		dir := path.Dir(c.path)
		names[dir] = append(names[dir], c.name())
	}
	s.unknownCharts(found)
	for _, c := range found {
		if err := s.ctx.Err(); err != nil {
			return err
		}
		s.chart(c, names[path.Dir(c.path)], len(found) == 1)
	}
	return nil
}

// unknownCharts tells of commands that install a chart whose name is known at run time only. There is no doubt where one fits.
func (s *scanner) unknownCharts(found []chartFile) {
	for _, use := range s.uses {
		fits := 0
		for _, c := range found {
			if matchesChart(use.chart, c, c.name()) {
				fits++
			}
		}
		if use.lacks != "" && fits != 1 && len(found) != 1 {
			s.outOfReach(use.Place, use.runs && (s.whole || len(found) > 0), use.lacks+", which says what chart is installed: its options are not "+
				"looked at; name the chart as it lies in the image, or "+listThem)
		}
	}
}

// findCharts walks down to charts and not into them. Packed ones count where charts are kept.
func (s *scanner) findCharts(p string, depth int, packed bool, add func(chartFile)) error {
	if err := s.ctx.Err(); err != nil {
		return err
	}
	info, err := fs.Stat(s.fsys, p)
	if err != nil {
		return nil // not there
	}
	if !info.IsDir() {
		switch {
		case packed && isPacked(p):
			add(chartFile{path: p, packed: true})
		case packed && isArchive(p):
			s.fail(p, 0, notPacked)
		}
		return nil
	}
	if s.isChart(p) {
		add(chartFile{path: p})
		return nil
	}
	entries, err := fs.ReadDir(s.fsys, p)
	if err != nil {
		return nil
	}
	if depth > maxDepth {
		s.fail(p, 0, tooDeep)
		return nil
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), ".") || !s.validName(p, e) {
			continue
		}
		if err := s.findCharts(path.Join(p, e.Name()), depth+1, packed, add); err != nil {
			return err
		}
	}
	return nil
}

// otherCharts takes the charts that lie elsewhere in the context. Archives of other things lie there too: only those that begin as
// a packed chart does are taken.
func (s *scanner) otherCharts(dir string, add func(chartFile)) error {
	if err := s.ctx.Err(); err != nil {
		return err
	}
	if s.isChart(dir) {
		add(chartFile{path: dir})
		if dir != "." {
			return nil
		}
	}
	entries, err := fs.ReadDir(s.fsys, dir)
	if err != nil {
		if dir == "." {
			return err
		}
		return nil
	}
	for _, e := range entries {
		name := path.Join(dir, e.Name())
		switch {
		case strings.HasPrefix(e.Name(), "."), name == "registry", name == "charts", dir == "." && s.isChart(".") && e.Name() == "templates":
		case (isPacked(name) || e.IsDir()) && !s.validName(dir, e):
		case isPacked(name):
			if s.beginsAsChart(name) {
				add(chartFile{path: name, packed: true})
			}
		case e.IsDir():
			if err := s.otherCharts(name, add); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *scanner) isChart(dir string) bool {
	info, err := fs.Stat(s.fsys, path.Join(dir, "Chart.yaml"))
	return err == nil && info.Mode().IsRegular()
}

func isPacked(name string) bool {
	return strings.HasSuffix(name, ".tgz") || strings.HasSuffix(name, ".tar.gz")
}

// beginsAsChart looks for NAME/Chart.yaml among the first entries.
func (s *scanner) beginsAsChart(name string) bool {
	f, err := s.fsys.Open(name)
	if err != nil {
		return false
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		return false
	}
	entries := tar.NewReader(io.LimitReader(z, maxManifest))
	for range 64 {
		h, err := entries.Next()
		if err != nil {
			return false
		}
		parts := strings.Split(strings.TrimPrefix(h.Name, "./"), "/")
		if len(parts) == 2 && parts[1] == "Chart.yaml" {
			return true
		}
	}
	return false
}

// chart renders one chart with every set of values that lies beside it, and looks through what comes out.
func (s *scanner) chart(c chartFile, siblings []string, only bool) {
	files, err := s.loadChart(c)
	if err != nil {
		s.fail(c.path, 0, "chart not read: "+err.Error())
		return
	}
	r := &chartRun{scanner: s, file: c, files: files, scanned: map[string]bool{}, rendered: map[string]bool{}}
	if !r.inspect() {
		return
	}
	r.renderAll(s.valuesBeside(c, r.chartName, siblings), r.valuesInside(), s.usesOf(c, r.chartName, only))
}

// trimBOM takes off a byte order mark, which editors leave and YAML trips over. Text in another encoding becomes UTF-8.
func trimBOM(content []byte) []byte {
	if text, ok := plainText(content); ok {
		return text
	}
	return content
}

// loadChart reads a chart's files, as Helm's own loader would: a directory's .helmignore counts, a packed chart's does not.
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
		for _, f := range files {
			f.Data = trimBOM(f.Data)
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
		if !l.validName(path.Join(base, rel), e) {
			continue
		}
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

// valuesBeside gives the values files that lie beside a chart and belong to it or to no chart in particular.
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

// valuesIn adds a directory's values files; named takes only those that are named after the chart.
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
