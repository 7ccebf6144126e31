package scan

import (
	"cmp"
	"fmt"
	"io/fs"
	"path"
	"path/filepath"
	"reflect"
	"slices"
	"strings"

	"github.com/sealbuild/sealbuild/kubefile"
)

// helmUse is one "helm install" or "helm upgrade" of the Kubefile or of a script, with the options that change what is rendered.
type helmUse struct {
	Place
	chart string       // as given, relative to the context
	files []string     // of -f, as given
	made  []valuesFile // those of them that a here-document is written to
	sets  []helmSet
	later []string // keys of options that are known at run time only

	repository string // of --repo
	renderer   string // of --post-renderer

	unknown bool   // the chart's name needs a value that is known at run time only
	lacks   string // which
	runs    bool   // as in command
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

// commands reads the commands of the Kubefile, with the scripts that they call, and then the scripts that nothing calls.
func (s *scanner) commandsOf(k *kubefile.File) {
	line := func(instruction string) int {
		at := 0
		for _, in := range k.Instructions[k.Stages[len(k.Stages)-1].First:] {
			if in.Name == instruction {
				at = in.Line
			}
		}
		return at
	}
	for _, part := range []struct {
		name  string
		lines []string
	}{{"ENTRYPOINT", k.Entrypoint()}, {"CMD", k.Cmd()}} {
		at := Place{File: filepath.Base(k.Name), Line: line(part.name)}
		for _, text := range part.lines {
			c := substituted(text, s.env)
			sh := &shell{scanner: s, at: at, runs: true, vars: ofImage(s.env), line: &c}
			if err := sh.interpret(c.words[0], true); err != nil {
				s.unread(at, true, c.words[0], err)
			}
		}
	}
	for _, dir := range scriptDirs {
		entries, err := fs.ReadDir(s.fsys, dir)
		if err != nil {
			continue
		}
		for _, e := range entries {
			// init.sh fetches charts on the connected machine.
			if file := path.Join(dir, e.Name()); path.Ext(file) == ".sh" && e.Type().IsRegular() && file != "init.sh" && dir != "manifests" {
				if text, ok := s.textOf(file); ok {
					s.script(file, text)
				}
			}
		}
	}
	if s.commands > maxCommands {
		s.fail(filepath.Base(k.Name), 0, fmt.Sprintf("the scripts run more than %d commands: not all of them are searched for images", maxCommands))
	}
}

// script reads one that no command was found to call.
func (s *scanner) script(file, text string) {
	if s.scripts[file] {
		return
	}
	s.scripts[file] = true
	if m := hashBang.FindStringSubmatch(text); m != nil && !shellName.MatchString(m[1]) && !shellName.MatchString(m[2]) {
		s.foreign(file, text)
		return
	}
	sh := &shell{scanner: s, at: Place{File: file}, vars: ofImage(s.env), kept: strings.HasPrefix(file, "manifests/")}
	if err := sh.interpret(text, true); err != nil {
		s.unread(sh.at, false, text, err)
	}
}

func (s *scanner) helmCommand(c command, words []string) {
	use := helmUse{Place: c.Place}
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
		s.helmOption(&use, c, flag, value)
	}
	if len(operands) == 0 || !slices.Contains([]string{"install", "upgrade", "template", "pull"}, operands[0]) {
		return
	}
	// Options that are known at run time only may stand between the release and the chart, or behind both.
	for i := len(operands) - 1; i > 0 && len(operands) > 3; i-- {
		if operands[i] == unresolved {
			operands = slices.Delete(operands, i, i+1)
		}
	}
	chart := operands[min(len(operands)-1, 2)]
	use.chart, use.unknown = knownPath(chart), strings.Contains(path.Base(chart), unresolved)
	switch {
	case len(operands) < 2:
	case use.repository != "" || remote(chart):
		s.outOfReach(c.Place, c.runs, "helm would fetch "+shown(cmp.Or(use.repository, chart))+
			", which no site can: put the chart into charts/, and install it from there")
	case use.unknown:
		use.runs, use.lacks = c.runs, lacking(c, chart)
	case operands[0] != "template" && (strings.HasPrefix(chart, ".") || strings.Contains(chart, "/") || strings.HasSuffix(chart, ".tgz")):
		s.named = append(s.named, named{Place: c.Place, path: chart, chart: true, runs: c.runs})
	}
	if operands[0] == "pull" {
		return
	}
	if use.renderer != "" {
		s.outOfReach(c.Place, c.runs, "what the post-renderer "+shown(use.renderer)+" adds is not searched: "+listThem)
	}
	slices.SortStableFunc(use.sets, func(a, b helmSet) int { return slices.Index(helmSets, a.flag) - slices.Index(helmSets, b.flag) })
	if len(use.later) > 0 {
		s.warn(use.File, use.Line, "Helm options known at run time only, charts are rendered without them: "+shown(strings.Join(use.later, ", ")))
	}
	if !slices.ContainsFunc(s.uses, func(o helmUse) bool { return reflect.DeepEqual(o, use) }) {
		s.uses = append(s.uses, use)
	}
}

// listThem is the remedy for images that no search can see.
const listThem = "list its images in a file below images/shim/, and go on with --ignore-scan-errors"

// lacking names the variables without a value that a word of a command may need.
func lacking(c command, word string) string {
	if len(c.lacks) == 0 {
		return shown(word) + " is known at run time only"
	}
	return shown(word) + " needs a value of " + strings.Join(slices.Compact(slices.Clone(c.lacks)), ", ")
}

// image judges a part of a reference that an option gives: it must be known, and a site may not be free to give another.
func (s *scanner) image(c command, option, value string) {
	plain := strings.NewReplacer(`"`, "", "'", "", "=", " ").Replace(c.source)
	switch {
	case strings.Contains(value, unresolved):
		s.outOfReach(c.Place, c.runs, lacking(c, option+"="+value)+", which says what image is needed: give it in the Kubefile's ENV, or "+listThem)
	case value != "" && len(c.site) > 0 && !strings.Contains(plain, " "+value):
		names := slices.DeleteFunc(slices.Clone(c.site), func(name string) bool {
			is := s.env[name]
			return is == "" || !strings.Contains(is, value) && !strings.Contains(value, is)
		})
		if len(names) == 0 { // a part of the value only
			names = c.site
		}
		s.warn(c.File, c.Line, option+"="+value+" follows from "+strings.Join(slices.Compact(names), ", ")+
			" of the image's ENV: the image is gathered that this value names, and no other that a site may set with --env")
	}
}

// saysImage tells whether a value under a key is a part of a reference.
func saysImage(key string) bool {
	_, r := roleOf(key)
	return r != noRole && r != versionRole
}

func (s *scanner) helmOption(use *helmUse, c command, flag, value string) {
	switch flag {
	case "-f", "--values":
		for file := range strings.SplitSeq(value, ",") {
			if strings.Contains(file, unresolved) {
				s.warn(use.File, use.Line, "the values file "+shown(file)+" is known at run time only: charts are rendered without it")
				continue
			}
			use.files = append(use.files, file)
			if text, ok := s.made[fromContext(file)]; ok {
				use.made = append(use.made, valuesFile{path: file, text: []byte(text)})
			}
		}
	case "--set", "--set-string", "--set-json", "--set-literal":
		parts := []string{value}
		if flag == "--set" || flag == "--set-string" {
			parts = splitSets(value)
		}
		var known []string
		for _, part := range parts {
			key, text, ok := strings.Cut(part, "=")
			if ok && (saysImage(key) || flag == "--set-json" && strings.Contains(part, `mage"`)) {
				s.image(c, flag+" "+key, text)
			}
			if !strings.Contains(part, unresolved) {
				known = append(known, part)
			} else if ok {
				use.later = append(use.later, key)
			}
		}
		if len(known) > 0 {
			use.sets = append(use.sets, helmSet{flag, strings.Join(known, ",")})
		}
	case "--repo":
		use.repository = value
	case "--post-renderer":
		use.renderer = value
	case "--set-file":
		s.warn(use.File, use.Line, "the Helm option --set-file "+shown(value)+" is not followed: charts are rendered without it")
	}
}

// kubectlFiles are the options of kubectl that name files; directories of kustomize are among them. Read-only after start.
var kubectlFiles = []string{"-f", "--filename", "-k", "--kustomize"}

func (s *scanner) kubectlCommand(c command, words []string) {
	verb := slices.IndexFunc(words, func(w string) bool {
		return slices.Contains([]string{"apply", "create", "replace", "run", "debug", "set"}, w)
	})
	if verb < 0 {
		return
	}
	for i := verb + 1; i < len(words); i++ {
		flag, value, joined := strings.Cut(words[i], "=")
		if words[verb] == "set" {
			if words[verb+1] == "image" && joined && !strings.HasPrefix(flag, "-") {
				s.kubectlImage(c, value)
			}
			continue
		}
		if !joined && len(flag) > 2 && (flag[:2] == "-f" || flag[:2] == "-k") {
			flag, value, joined = flag[:2], flag[2:], true
		}
		if flag != "--image" && !slices.Contains(kubectlFiles, flag) {
			continue
		}
		if !joined {
			if value = unresolved; i+1 < len(words) { // else xargs gives it
				i++
				value = words[i]
			}
		}
		if flag == "--image" {
			s.kubectlImage(c, value)
			continue
		}
		for file := range strings.SplitSeq(value, ",") {
			switch {
			case file == "-":
			case remote(file):
				s.outOfReach(c.Place, c.runs, "kubectl would fetch "+shown(file)+", which no site can: put it into manifests/")
			default:
				s.named = appendNew(s.named, []named{{Place: c.Place, path: strings.ReplaceAll(file, "{}", unresolved), runs: c.runs}})
			}
		}
	}
}

func (s *scanner) kubectlImage(c command, ref string) {
	s.image(c, "kubectl --image", ref)
	if _, is := shapeOf(ref); is {
		s.add(c.File, finding{text: ref, line: c.Line, certainty: Suspected, reason: "kubectl --image"})
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
		if matchesChart(use.chart, c, chartName) || only && use.unknown {
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
	if ok, err := path.Match(base, path.Base(c.path)); err == nil && ok && base != "*" {
		return true
	}
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
	if i := slices.IndexFunc(use.made, func(v valuesFile) bool { return v.path == given }); i >= 0 {
		return use.made[i], true
	}
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
