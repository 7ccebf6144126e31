package scan

import (
	"cmp"
	"io/fs"
	"maps"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/sealbuild/sealbuild/kubefile"
)

// helmUse is one "helm install" or "helm upgrade" of the Kubefile or of a script, with the options that change what is rendered.
type helmUse struct {
	Place
	chart string   // as given, relative to the context
	files []string // of -f, as given
	sets  []helmSet
	later []string // keys of options that are known at run time only

	repository string // of --repo
	renderer   string // of --post-renderer
}

// helmSet is one of helmSets.
type helmSet struct{ flag, text string }

// helmSets are the options that set values, in the order in which Helm takes them wherever they stand. Read-only after start.
var helmSets = []string{"--set-json", "--set", "--set-string", "--set-literal"}

// helmBooleans are the options without a value. Read-only after start.
var helmBooleans = map[string]bool{
	"-i": true, "--install": true, "--create-namespace": true, "--wait": true, "--wait-for-jobs": true, "--atomic": true,
	"--debug": true, "--dry-run": true, "--force": true, "--reset-values": true, "--reuse-values": true,
	"--dependency-update": true, "--devel": true, "--generate-name": true, "-g": true, "--no-hooks": true, "--skip-crds": true,
	"--replace": true, "--render-subchart-notes": true, "--cleanup-on-fail": true, "--disable-openapi-validation": true,
	"--verify": true, "--skip-schema-validation": true, "--hide-notes": true, "--insecure-skip-tls-verify": true,
	"--plain-http": true, "--take-ownership": true, "--reset-then-reuse-values": true, "--rollback-on-failure": true,
	"--force-replace": true, "--force-conflicts": true, "--server-side": true, "--enable-dns": true, "--pass-credentials": true,
}

// helmUses reads the commands of the Kubefile and of the context's scripts.
func (s *scanner) helmUses(k *kubefile.File) {
	env := maps.Clone(s.env)
	line := func(instruction string) int {
		at := 0
		for _, in := range k.Instructions[k.Stages[len(k.Stages)-1].First:] {
			if in.Name == instruction {
				at = in.Line
			}
		}
		return at
	}
	for _, command := range k.Entrypoint() {
		s.helmLine(command, env, Place{File: filepath.Base(k.Name), Line: line("ENTRYPOINT")}, true)
	}
	for _, command := range k.Cmd() {
		s.helmLine(command, env, Place{File: filepath.Base(k.Name), Line: line("CMD")}, true)
	}
	for _, dir := range []string{".", "scripts", "manifests", "opt", "bin"} {
		entries, err := fs.ReadDir(s.fsys, dir)
		if err != nil {
			continue
		}
		for _, e := range entries {
			// init.sh fetches charts on the connected machine.
			if path.Ext(e.Name()) == ".sh" && e.Type().IsRegular() && path.Join(dir, e.Name()) != "init.sh" {
				called := slices.ContainsFunc(slices.Concat(k.Entrypoint(), k.Cmd()), func(command string) bool { return strings.Contains(command, e.Name()) })
				s.helmScript(path.Join(dir, e.Name()), called)
			}
		}
	}
}

func (s *scanner) helmScript(file string, runs bool) {
	text, ok := s.read(file)
	if !ok {
		return
	}
	env := maps.Clone(s.env)
	for _, l := range shellLines(string(text)) {
		if !assign(l.text, env) {
			s.helmLine(l.text, env, Place{File: file, Line: l.line}, runs)
		}
	}
}

// helmLine looks at the commands of a line. runs tells that they are run at the site for sure.
func (s *scanner) helmLine(line string, env map[string]string, at Place, runs bool) {
	if !runs && !strings.Contains(line, "helm") && !strings.Contains(line, "kubectl") && !strings.Contains(line, "cd ") {
		return
	}
	for _, words := range shellCommands(line, env) {
		s.command(words, env, at, runs)
	}
}

func (s *scanner) helmCommand(words []string, at Place, runs bool) {
	use := helmUse{Place: at}
	var operands []string
	for i := 0; i < len(words); i++ {
		flag, value, joined := strings.Cut(words[i], "=")
		if !strings.HasPrefix(flag, "-") {
			operands = append(operands, words[i])
			continue
		}
		if helmBooleans[flag] {
			continue
		}
		if !joined && len(flag) > 2 && strings.HasPrefix(flag, "-f") && flag[1] != '-' {
			flag, value, joined = "-f", flag[2:], true
		}
		if !joined {
			if i++; i >= len(words) {
				break
			}
			value = words[i]
		}
		s.helmOption(&use, flag, value)
	}
	if len(operands) == 0 || !slices.Contains([]string{"install", "upgrade", "template"}, operands[0]) {
		return
	}
	use.chart = operands[len(operands)-1]
	switch {
	case len(operands) < 2 || strings.Contains(use.chart, unresolved):
	case use.repository != "" || remote(use.chart):
		s.outOfReach(at, runs, "helm would fetch "+shown(cmp.Or(use.repository, use.chart))+", which no site can: put the chart into charts/, and install it from there")
	case operands[0] != "template" && (strings.HasPrefix(use.chart, ".") || strings.Contains(use.chart, "/") || strings.HasSuffix(use.chart, ".tgz")):
		s.named = append(s.named, named{Place: at, path: use.chart, chart: true, runs: runs})
	}
	slices.SortStableFunc(use.sets, func(a, b helmSet) int { return slices.Index(helmSets, a.flag) - slices.Index(helmSets, b.flag) })
	if use.renderer != "" {
		s.outOfReach(at, runs, "what the post-renderer "+shown(use.renderer)+" adds is not searched: "+
			"list its images in a file below images/shim/, and go on with --ignore-scan-errors")
	}
	if len(use.later) > 0 {
		s.warn(use.File, use.Line, "Helm options known at run time only, charts are rendered without them: "+shown(strings.Join(use.later, ", ")))
	}
	s.uses = append(s.uses, use)
}

func (s *scanner) helmOption(use *helmUse, flag, value string) {
	switch flag {
	case "-f", "--values":
		for file := range strings.SplitSeq(value, ",") {
			if strings.Contains(file, unresolved) {
				s.warn(use.File, use.Line, "the values file "+shown(file)+" is known at run time only: charts are rendered without it")
				continue
			}
			use.files = append(use.files, file)
		}
	case "--set", "--set-string", "--set-json", "--set-literal":
		kept := value
		if strings.Contains(value, unresolved) && flag != "--set-json" && flag != "--set-literal" {
			var known []string
			for _, part := range splitSets(value) {
				if key, _, ok := strings.Cut(part, "="); ok && strings.Contains(part, unresolved) {
					use.later = append(use.later, key)
				} else if !strings.Contains(part, unresolved) {
					known = append(known, part)
				}
			}
			kept = strings.Join(known, ",")
		}
		if kept != "" && !strings.Contains(kept, unresolved) {
			use.sets = append(use.sets, helmSet{flag, kept})
		}
	case "--repo":
		use.repository = value
	case "--post-renderer":
		use.renderer = value
	case "--set-file":
		s.warn(use.File, use.Line, "the Helm option --set-file "+shown(value)+" is not followed: charts are rendered without it")
	}
}

// splitSets takes A=1,B={x,y} apart at the commas between options.
func splitSets(text string) []string {
	var out []string
	depth, start := 0, 0
	for i := 0; i < len(text); i++ {
		switch text[i] {
		case '\\':
			i++
		case '{', '[':
			depth++
		case '}', ']':
			depth--
		case ',':
			if depth == 0 {
				out, start = append(out, text[start:i]), i+1
			}
		}
	}
	return append(out, text[start:])
}

// shown is text with its unresolved parts as a person reads them.
func shown(text string) string { return strings.ReplaceAll(text, unresolved, "$…") }

// usesOf gives the uses of a chart; only tells that it is the only one there.
func (s *scanner) usesOf(c chartFile, chartName string, only bool) []helmUse {
	var out []helmUse
	for _, use := range s.uses {
		if matchesChart(use.chart, c, chartName) || only && strings.Contains(use.chart, unresolved) {
			out = append(out, use)
		}
	}
	return out
}

func matchesChart(given string, c chartFile, chartName string) bool {
	given = fromContext(given)
	if given == c.path {
		return true
	}
	if ok, err := path.Match(given, c.path); err == nil && ok {
		return true
	}
	base := path.Base(given)
	return base == c.name() || base == chartName || base == path.Base(c.path)
}

// fromContext makes a path of a command relative to the context: scripts go to their own directory and back.
func fromContext(given string) string {
	given = path.Clean(given)
	for strings.HasPrefix(given, "../") {
		given = given[3:]
	}
	return strings.TrimPrefix(given, "/")
}

// valuesFileOf reads a file of -f: where it is said to lie, or where charts and values lie.
func (s *scanner) valuesFileOf(use helmUse, given string) (valuesFile, bool) {
	p := fromContext(given)
	for _, candidate := range []string{p, path.Join("charts", p), path.Join("charts", path.Base(p)), path.Base(p), path.Join(path.Dir(use.File), p)} {
		for _, file := range []string{candidate, candidate + ".tmpl"} {
			info, err := fs.Stat(s.fsys, file)
			if err != nil || !info.Mode().IsRegular() {
				continue
			}
			text, ok := s.read(file)
			if !ok {
				return valuesFile{}, false
			}
			if file != candidate {
				text = []byte(neutralize(string(text), s.env))
			}
			return valuesFile{path: file, text: trimBOM(text)}, true
		}
	}
	s.warn(use.File, use.Line, "the values file "+given+" is not in the context: charts are rendered without it")
	return valuesFile{}, false
}
