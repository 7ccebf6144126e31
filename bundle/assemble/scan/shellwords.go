package scan

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"mvdan.cc/sh/v3/expand"
	"mvdan.cc/sh/v3/syntax"
)

// variables are what a shell has, by name. They are what the expansion reads and sets.
type variables map[string]shellVariable

type shellVariable struct {
	expand.Variable
	site   string          // the variable of the image that its value comes from: a site may give another
	others []shellVariable // all values that branches give it, this one among them
}

// ofImage gives the variables that a command of an image begins with.
func ofImage(env map[string]string) variables {
	vars := variables{"@": {Variable: expand.Variable{Set: true, Kind: expand.Indexed}}}
	for name, value := range env {
		vars.put(name, value)
		v := vars[name]
		v.Exported, v.site = true, name
		vars[name] = v
	}
	return vars
}

func (v variables) put(name, value string) {
	if len(value) > maxValue {
		value = unresolved
	}
	v[name] = shellVariable{Variable: expand.Variable{Set: true, Kind: expand.String, Str: value, Exported: v[name].Exported}}
}

// Get, Each and Set are expand's; it asks for homes by "HOME user".
func (v variables) Get(name string) expand.Variable {
	if found, ok := v[name]; ok || !strings.HasPrefix(name, "HOME") {
		return found.Variable
	}
	return expand.Variable{Set: true, Kind: expand.String, Str: unresolved}
}

func (v variables) Each(do func(string, expand.Variable) bool) {
	for name, value := range v {
		if !do(name, value.Variable) {
			return
		}
	}
}

func (v variables) Set(name string, value expand.Variable) error {
	v.put(name, value.String())
	return nil
}

// exported are those that a program is given, with the arguments it is called with.
func (v variables) exported(args []string) variables {
	out := variables{}
	for name, value := range v {
		if value.Exported {
			out[name] = value
		}
	}
	return out.arguments(args)
}

// arguments sets $1, $2 and so on, and $@.
func (v variables) arguments(args []string) variables {
	for name := range v {
		if name[0] >= '0' && name[0] <= '9' {
			delete(v, name)
		}
	}
	for i, arg := range args {
		v.put(fmt.Sprint(i+1), arg)
	}
	v["@"] = shellVariable{Variable: expand.Variable{Set: true, Kind: expand.Indexed, List: args}}
	v.put("#", fmt.Sprint(len(args)))
	return v
}

// strings are the values as templates and manifests take them.
func (v variables) strings() map[string]string {
	out := map[string]string{}
	for name, value := range v {
		if value.Kind == expand.String {
			out[name] = value.Str
		}
	}
	return out
}

// assign sets a variable. A name alone is exported, or declared.
func (sh *shell) assign(a *syntax.Assign, export bool) {
	if a.Name == nil {
		return
	}
	name := a.Name.Value
	v := sh.vars[name]
	switch {
	case a.Naked:
	case a.Array != nil:
		var list []string
		for _, e := range a.Array.Elems {
			if e.Value != nil {
				list = append(list, sh.fields([]*syntax.Word{e.Value})...)
			}
		}
		if a.Append {
			list = slices.Concat(v.List, list)
		}
		if len(list) > maxWords {
			list = []string{unresolved}
		}
		v.Variable = expand.Variable{Set: true, Kind: expand.Indexed, List: list}
	case a.Index != nil:
		sh.vars.put(name, unresolved)
		return
	default:
		value := sh.literal(a.Value)
		if a.Append {
			value = v.String() + value
		}
		sh.vars.put(name, value)
		v = sh.vars[name]
		if a.Value != nil {
			if sites := sh.sitesOf(a.Value); len(sites) > 0 {
				v.site = sites[0]
			}
		}
	}
	v.Exported = v.Exported || export
	sh.vars[name] = v
}

// sitesOf are the variables of the image that the words of a node depend on.
func (sh *shell) sitesOf(n syntax.Node) []string {
	var sites []string
	syntax.Walk(n, func(n syntax.Node) bool {
		if p, ok := n.(*syntax.ParamExp); ok && p.Param != nil && sh.vars[p.Param.Value].site != "" {
			sites = append(sites, sh.vars[p.Param.Value].site)
		}
		return true
	})
	return sites
}

// taken is 0 where a condition is known to be what is wanted, 1 where it is known not to be, else -1. Known is whether a variable
// is empty: [ -z "$X" ].
func (sh *shell) taken(st *syntax.Stmt, wanted bool) int {
	op, value := "", ""
	switch c := st.Cmd.(type) {
	case *syntax.CallExpr:
		if words := sh.fields(c.Args); len(words) > 2 && (words[0] == "[" || words[0] == "test") {
			op, value = words[1], words[2]
		}
	case *syntax.TestClause:
		if test, ok := c.X.(*syntax.UnaryTest); ok {
			if word, ok := test.X.(*syntax.Word); ok {
				op, value = test.Op.String(), sh.literal(word)
			}
		}
	}
	if op != "-z" && op != "-n" || strings.Contains(value, unresolved) {
		return -1
	}
	if holds := (value == "") == (op == "-z"); (holds != st.Negated) == wanted {
		return 0
	}
	return 1
}

// embedded takes a manifest that a script has in a text.
func (sh *shell) embedded(text string, lineOf func(int) int) {
	if !strings.Contains(text, "apiVersion") || !strings.Contains(text, "\n") {
		return
	}
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		if loneAction.MatchString(line) { // a variable that may be empty
			lines[i] = ""
		}
	}
	r := rendered{lineOf: lineOf, env: sh.vars.strings()}
	if sh.at.Line > 0 {
		r.lineOf = func(int) int { return sh.at.Line }
	}
	if !sh.runs && !sh.kept {
		r.demote = "of a script that nothing calls"
	}
	sh.manifest(sh.at.File, strings.Join(lines, "\n"), r)
}

// fields are the words as the command gets them.
func (sh *shell) fields(words []*syntax.Word) []string {
	var out []string
	for _, w := range words {
		n := len(out)
		for field, err := range expand.FieldsSeq(&expand.Config{Env: sh.vars}, &syntax.Word{Parts: sh.parts(w.Parts)}) {
			if err != nil || len(out) > maxWords || len(field) > maxValue {
				out = append(out[:n], unresolved)
				break
			}
			out = append(out, field)
		}
	}
	return out
}

// literal is the value of one word.
func (sh *shell) literal(w *syntax.Word) string {
	if w == nil {
		return ""
	}
	parts := sh.parts(w.Parts)
	for i, p := range parts {
		if lit, ok := p.(*syntax.Lit); ok && strings.Contains(lit.Value, `\`) {
			parts[i] = &syntax.SglQuoted{Value: escaped.ReplaceAllString(lit.Value, "$1")}
		}
	}
	value, err := expand.Literal(&expand.Config{Env: sh.vars}, &syntax.Word{Parts: parts})
	if err != nil {
		return unresolved
	}
	return value
}

// escaped is a character behind a backslash. Read-only after start.
var escaped = regexp.MustCompile(`(?s)\\(.)`)

// parts puts the unresolved mark in the place of what only running can tell, and goes through the commands there.
func (sh *shell) parts(list []syntax.WordPart) []syntax.WordPart {
	out := make([]syntax.WordPart, 0, len(list))
	for _, p := range list {
		switch p := p.(type) {
		case *syntax.Lit, *syntax.SglQuoted:
			out = append(out, p)
			continue
		case *syntax.DblQuoted:
			out = append(out, &syntax.DblQuoted{Parts: sh.parts(p.Parts)})
			continue
		case *syntax.ParamExp:
			out = append(out, sh.parameter(p)...)
			continue
		case *syntax.CmdSubst:
			sh.sub().statements(p.Stmts)
			if len(p.Stmts) == 1 { // $(NAME) is a variable of the image, had it a value
				if c, ok := p.Stmts[0].Cmd.(*syntax.CallExpr); ok && len(c.Args) == 1 && len(c.Assigns) == 0 {
					sh.lacks = append(sh.lacks, c.Args[0].Lit())
				}
			}
		case *syntax.ProcSubst:
			sh.sub().statements(p.Stmts)
			out = append(out, &syntax.Lit{Value: "-"}) // read as standard input is
			continue
		}
		out = append(out, &syntax.Lit{Value: unresolved})
	}
	return out
}

// parameter is an expansion whose values are known, or the mark.
func (sh *shell) parameter(p *syntax.ParamExp) []syntax.WordPart {
	lacking := []syntax.WordPart{&syntax.Lit{Value: unresolved}}
	if p.Param == nil || p.Excl || p.Width || p.Names != 0 {
		return lacking
	}
	known := *p
	if p.Repl != nil {
		known.Repl = &syntax.Replace{All: p.Repl.All, Orig: sh.known(p.Repl.Orig), With: sh.known(p.Repl.With)}
	}
	_, set := sh.vars[p.Param.Value]
	if p.Exp == nil {
		if !set {
			sh.lacks = append(sh.lacks, p.Param.Value)
			return lacking
		}
		return []syntax.WordPart{&known}
	}
	switch p.Exp.Op {
	case syntax.OtherParamOps:
		return lacking
	case syntax.DefaultUnset, syntax.DefaultUnsetOrNull, syntax.AssignUnset, syntax.AssignUnsetOrNull, syntax.AlternateUnset, syntax.AlternateUnsetOrNull:
	default:
		if !set {
			sh.lacks = append(sh.lacks, p.Param.Value)
			return lacking
		}
	}
	known.Exp = &syntax.Expansion{Op: p.Exp.Op, Word: sh.known(p.Exp.Word)}
	return []syntax.WordPart{&known}
}

// known is a word with the mark in the place of what is not.
func (sh *shell) known(w *syntax.Word) *syntax.Word {
	if w == nil {
		return nil
	}
	return &syntax.Word{Parts: sh.parts(w.Parts)}
}

// builtin does what commands of the shell do to its variables; false for other commands.
func (v variables) builtin(name string, args []string) bool {
	switch name {
	case "shift":
		list := v["@"].List
		v.arguments(list[min(1, len(list)):])
	case "set":
		if i := slices.Index(args, "--"); i >= 0 {
			v.arguments(args[i+1:])
		}
	case "unset":
		for _, name := range args {
			delete(v, name)
		}
	case "read", "mapfile", "readarray":
		for _, name := range args {
			if syntax.ValidName(name) {
				v.put(name, unresolved)
			}
		}
	case "export", "readonly", "local": // as POSIX has them
		for _, arg := range args {
			if key, value, ok := strings.Cut(arg, "="); ok {
				v[key] = shellVariable{Variable: expand.Variable{Exported: name == "export"}}
				v.put(key, value)
			}
		}
	default:
		return false
	}
	return true
}

// variable is $(NAME), ${NAME} or $NAME in a command of an image. Read-only after start.
var variable = regexp.MustCompile(`\\.|\$\$|\$\(([A-Za-z_][A-Za-z0-9_]*)\)|\$\{([A-Za-z_][A-Za-z0-9_]*)\}|\$([A-Za-z_][A-Za-z0-9_]*)`)

// substituted is a command of an image as the installer hands it to the shell: with the values of the image's variables as text. It
// notes which there were, and which had none.
func substituted(line string, env map[string]string) command {
	c := command{source: line}
	text := variable.ReplaceAllStringFunc(line, func(ref string) string {
		m := variable.FindStringSubmatch(ref)
		name := m[1] + m[2] + m[3]
		value, ok := env[name]
		switch {
		case ref == "$$":
			return "$"
		case ok:
			c.site = append(c.site, name)
			return value
		case m[1] != "":
			c.lacks = append(c.lacks, name)
			return unresolved
		}
		return ref
	})
	c.words = []string{text}
	return c
}

// expandedText is a text with the variables that are known, as a shell has them and Kubernetes; others become the mark.
func expandedText(text string, env map[string]string) string {
	text = substituted(text, env).words[0]
	w, err := syntax.NewParser().Document(strings.NewReader(text))
	if err == nil {
		sh := &shell{vars: ofImage(env)}
		text, err = expand.Document(&expand.Config{Env: sh.vars}, sh.known(w))
	}
	if before, _, ok := strings.Cut(text, "$"); ok && err != nil {
		return before + unresolved
	}
	return text
}
