package scan

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
)

const (
	// maxPacked is the largest packed chart read, in bytes.
	maxPacked = 64 << 20
	// maxChartNesting is how deep below charts/ a chart may lie.
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
	if err := s.otherCharts(".", 0, add); err != nil {
		return err
	}
	names := map[string][]string{} // directory -> names of its charts
	for _, c := range found {
		dir := path.Dir(c.path)
		names[dir] = append(names[dir], c.name())
	}
	for _, c := range found {
		if err := s.ctx.Err(); err != nil {
			return err
		}
		s.chart(c, names[path.Dir(c.path)], len(found) == 1)
	}
	return nil
}

// findCharts walks down to charts and not into them. Packed ones count where
// charts are kept.
func (s *scanner) findCharts(p string, depth int, packed bool, add func(chartFile)) error {
	if err := s.ctx.Err(); err != nil {
		return err
	}
	info, err := fs.Stat(s.fsys, p)
	if err != nil {
		return nil // not there
	}
	if !info.IsDir() {
		if packed && isPacked(p) {
			add(chartFile{path: p, packed: true})
		}
		return nil
	}
	if s.isChart(p) {
		add(chartFile{path: p})
		return nil
	}
	entries, err := fs.ReadDir(s.fsys, p)
	if err != nil || depth >= maxChartNesting {
		return nil
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), ".") {
			continue
		}
		if err := s.findCharts(path.Join(p, e.Name()), depth+1, packed, add); err != nil {
			return err
		}
	}
	return nil
}

// otherCharts takes the charts that lie elsewhere in the context. Archives of
// other things lie there too: only those that begin as a packed chart does are
// taken.
func (s *scanner) otherCharts(dir string, depth int, add func(chartFile)) error {
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
		case isPacked(name):
			if s.beginsAsChart(name) {
				add(chartFile{path: name, packed: true})
			}
		case e.IsDir() && depth < maxChartNesting:
			if err := s.otherCharts(name, depth+1, add); err != nil {
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

// chart renders one chart with every set of values that lies beside it, and
// looks through what comes out.
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

// trimBOM: editors leave it, YAML trips over it.
func trimBOM(text []byte) []byte { return bytes.TrimPrefix(text, []byte("\ufeff")) }
