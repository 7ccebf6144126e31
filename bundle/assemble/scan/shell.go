package scan

import (
	"fmt"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"mvdan.cc/sh/v3/expand"
	"mvdan.cc/sh/v3/syntax"
)

const (
	// maxScript is the longest script read, in bytes. The parser's stack grows with what stands in each other.
	maxScript = 256 << 10
	// maxValue bounds a variable's value, in bytes: X=$X$X doubles with every line.
	maxValue = 64 << 10
	// maxWords bounds the words of a command, and how often a loop is gone through.
	maxWords = 1 << 10
	// maxShells bounds shells in shells: scripts, functions and -c may name themselves.
	maxShells = 6
	// maxCommands bounds the commands of all scripts of an image, each counted as often as it is met.
	maxCommands = 400_000
	// maxPasses bounds how often a script is read, each time with another of the values that its branches give.
	maxPasses = 32
)

// shell reads a script as a shell would, without running anything: every branch is gone through, and every loop and function for
// what it is given. What only running could tell is the unresolved mark.
type shell struct {
	*scanner
	at     Place // of the commands; Line 0: where they stand in File
	runs   bool  // at the site for sure: the command, or what calls the script, is in the Kubefile
	kept   bool  // in manifests/: what it holds counts without a call
	text   string
	vars   variables
	funcs  map[string]*function
	cwd    string   // where cd went, in the image
	input  string   // the here-document of the command
	output string   // the file that it is written to
	line   *command // of the Kubefile, before its variables were put in
	depth  int
	pass   int      // which of the values go on that branches give a variable
	most   *int     // the most that there are of one
	lacks  []string // names without a value that the words of the command need
}

// function is one that a script declares.
type function struct {
	body   *syntax.Stmt
	at     Place
	text   string
	called bool
}

// parseShell reads a script as bash, and else as POSIX has it.
func parseShell(text string) (*syntax.File, error) {
	if len(text) > maxScript {
		return nil, fmt.Errorf("larger than %d KiB", maxScript>>10)
	}
	f, err := syntax.NewParser(syntax.Variant(syntax.LangBash)).Parse(strings.NewReader(text), "")
	if err != nil {
		if posix, err := syntax.NewParser(syntax.Variant(syntax.LangPOSIX)).Parse(strings.NewReader(text), ""); err == nil {
			return posix, nil
		}
	}
	return f, err
}

// interpret goes through a script; the first shell does once for each value that branches may leave in a variable. whole tells that
// functions which nothing calls by their names are to be gone through, too.
func (sh *shell) interpret(text string, whole bool) error {
	f, err := parseShell(text)
	if err != nil {
		return err
	}
	if sh.most != nil {
		sh.file(text, f, whole)
		return nil
	}
	most := 1
	for pass := 0; pass < min(most, maxPasses); pass++ {
		one := *sh
		one.vars, one.funcs, one.pass, one.most = maps.Clone(sh.vars), map[string]*function{}, pass, &most
		one.file(text, f, whole)
	}
	if most > maxPasses {
		sh.outOfReach(sh.at, sh.runs, fmt.Sprintf("more than %d branches give a variable other values: not all of them are searched for images", maxPasses))
	}
	return nil
}

func (sh *shell) file(text string, f *syntax.File, whole bool) {
	sh.text = text
	sh.statements(f.Stmts)
	if !whole {
		return
	}
	sh.runs = false
	for _, name := range slices.Sorted(maps.Keys(sh.funcs)) {
		if fn := sh.funcs[name]; !fn.called {
			sh.function(fn, nil)
		}
	}
}

// sub is a shell whose variables end with it.
func (sh *shell) sub() *shell {
	one := *sh
	one.vars, one.lacks = maps.Clone(sh.vars), nil
	return &one
}

func (sh *shell) function(fn *function, args []string) {
	if sh.depth >= maxShells {
		return
	}
	fn.called = true
	one := *sh
	one.depth++
	one.at, one.text, one.vars = fn.at, fn.text, maps.Clone(sh.vars).arguments(args)
	one.statement(fn.body)
	for name, v := range one.vars {
		if syntax.ValidName(name) { // a function sets the variables of its caller, and not its arguments
			sh.vars[name] = v
		}
	}
}

func (sh *shell) statements(list []*syntax.Stmt) {
	for _, st := range list {
		sh.statement(st)
	}
}

func (sh *shell) statement(st *syntax.Stmt) {
	if sh.scanner == nil || sh.commands > maxCommands { // the text is no script, or one of too many commands
		return
	}
	for _, r := range st.Redirs {
		sh.redirect(r)
	}
	switch c := st.Cmd.(type) {
	case *syntax.CallExpr:
		if sh.input != "" && sh.output != "" {
			sh.made[fromContext(sh.output)] = sh.input
		}
		sh.call(c)
		sh.input, sh.output = "", ""
	case *syntax.DeclClause:
		for _, a := range c.Args {
			sh.assign(a, c.Variant.Value == "export" || len(c.Args) > 0 && c.Args[0].Value != nil && c.Args[0].Value.Lit() == "-x")
		}
	case *syntax.BinaryCmd:
		if c.Op == syntax.Pipe || c.Op == syntax.PipeAll {
			sh.sub().statement(c.X)
			sh.sub().statement(c.Y)
			return
		}
		sh.statement(c.X)
		sh.branches(sh.taken(c.X, c.Op == syntax.AndStmt), []*syntax.Stmt{c.Y}, nil)
	case *syntax.IfClause:
		sh.ifs(c)
	case *syntax.CaseClause:
		items := [][]*syntax.Stmt{nil}
		for _, item := range c.Items {
			items = append(items, item.Stmts)
		}
		sh.fields([]*syntax.Word{c.Word})
		sh.branches(-1, items...)
	case *syntax.WhileClause:
		sh.statements(c.Cond)
		sh.statements(c.Do)
	case *syntax.ForClause:
		sh.loop(c)
	case *syntax.FuncDecl:
		if c.Name != nil {
			sh.funcs[c.Name.Value] = &function{body: c.Body, at: sh.at, text: sh.text}
		}
	case *syntax.Block:
		sh.statements(c.Stmts)
	case *syntax.Subshell:
		sh.sub().statements(c.Stmts)
	case *syntax.TimeClause:
		if c.Stmt != nil {
			sh.statement(c.Stmt)
		}
	case *syntax.CoprocClause:
		sh.sub().statement(c.Stmt)
	}
}

func (sh *shell) ifs(c *syntax.IfClause) {
	taken := -1
	var lists [][]*syntax.Stmt
	for link := c; ; link = link.Else {
		if link == nil {
			lists = append(lists, nil)
			break
		}
		sh.statements(link.Cond)
		lists = append(lists, link.Then)
		if len(link.Cond) == 0 { // else
			break
		}
		if link == c && len(c.Cond) == 1 {
			taken = sh.taken(c.Cond[0], true)
		}
	}
	if taken > 0 && len(lists) > 2 {
		taken = -1
	}
	sh.branches(taken, lists...)
}

// branches goes through statements of which a run takes one list. The variables of the taken one go on, where that is known, and
// else, pass by pass, each value. What only some of them set is set: a value that is missing otherwise is seldom meant.
func (sh *shell) branches(taken int, lists ...[]*syntax.Stmt) {
	before := sh.vars
	after := make([]variables, len(lists))
	for i, list := range lists {
		sh.vars = maps.Clone(before)
		sh.statements(list)
		after[i] = sh.vars
	}
	values := map[string][]shellVariable{}
	for i, vars := range after {
		for name, v := range vars {
			if taken >= 0 && i != taken && after[taken][name].Set {
				continue
			}
			several := v.others
			if v.others = nil; several == nil {
				several = []shellVariable{v}
			}
			for _, one := range several {
				if !slices.ContainsFunc(values[name], func(o shellVariable) bool { return reflect.DeepEqual(o, one) }) {
					values[name] = append(values[name], one)
				}
			}
		}
	}
	sh.vars = variables{}
	for name, several := range values {
		*sh.most = max(*sh.most, len(several))
		v := several[sh.pass%len(several)]
		if len(several) > 1 {
			v.others = several
		}
		sh.vars[name] = v
	}
}

func (sh *shell) loop(c *syntax.ForClause) {
	each, ok := c.Loop.(*syntax.WordIter)
	if !ok {
		sh.statements(c.Do)
		return
	}
	values := sh.fields(each.Items)
	if !each.InPos.IsValid() {
		values = sh.vars["@"].List
	}
	for _, value := range values {
		sh.vars.put(each.Name.Value, value)
		sh.statements(c.Do)
	}
}

// redirect takes the manifest or the script that a here-document is, and notes the file that is written.
func (sh *shell) redirect(r *syntax.Redirect) {
	switch r.Op {
	case syntax.RdrOut, syntax.AppOut, syntax.RdrClob, syntax.RdrAll, syntax.AppAll:
		sh.output = sh.literal(r.Word)
		sh.others = append(sh.others, []string{sh.output})
	case syntax.Hdoc, syntax.DashHdoc:
		if r.Hdoc == nil || len(r.Hdoc.Parts) == 0 {
			return
		}
		text := strings.TrimSuffix(sh.written(r.Hdoc), sh.literal(r.Word))
		if r.Op == syntax.DashHdoc {
			text = indented.ReplaceAllString(text, "")
		}
		if r.Word.Lit() == sh.literal(r.Word) { // not quoted
			value, err := expand.Document(&expand.Config{Env: sh.vars}, sh.known(r.Hdoc))
			if err == nil && strings.Count(value, "\n") == strings.Count(text, "\n") { // else lines would lose their numbers
				text = value
			}
		}
		sh.input = text
		first := sh.place(r.Hdoc.Pos()).Line - 1
		sh.embedded(text, func(line int) int { return first + line })
	}
}

// indented is what <<- takes away. Read-only after start.
var indented = regexp.MustCompile(`(?m)^\t+`)

// written is the text of a node.
func (sh *shell) written(n syntax.Node) string {
	end := min(int(n.End().Offset()), len(sh.text))
	return sh.text[min(int(n.Pos().Offset()), end):end]
}

func (sh *shell) place(pos syntax.Pos) Place {
	if sh.at.Line > 0 {
		return sh.at
	}
	return Place{File: sh.at.File, Line: int(pos.Line())}
}

func (sh *shell) call(c *syntax.CallExpr) {
	if len(c.Args) == 0 {
		for _, a := range c.Assigns {
			sh.assign(a, false)
		}
		return
	}
	one := sh
	if len(c.Assigns) > 0 { // for this command only
		one = sh.sub()
		for _, a := range c.Assigns {
			one.assign(a, true)
		}
	}
	one.lacks = nil
	words := one.fields(c.Args)
	if sh.commands++; len(words) == 0 || sh.commands > maxCommands {
		return
	}
	at := sh.place(c.Pos())
	for _, w := range words {
		one.embedded(w, func(int) int { return at.Line })
	}
	cmd := command{words: words, Place: at, runs: sh.runs, source: sh.written(c), lacks: one.lacks, site: one.sitesOf(c)}
	if sh.line != nil {
		cmd.source, cmd.lacks, cmd.site = sh.line.source, slices.Concat(cmd.lacks, sh.line.lacks), slices.Concat(cmd.site, sh.line.site)
	}
	one.command(cmd, false)
}

// wrapper looks at the command behind sudo, env X=y, timeout 60 and their like.
func (sh *shell) wrapper(c command, name string, args, valued []string) {
	sh = sh.sub()
	waits := name == "timeout"
	for ; len(args) > 0; args = args[1:] {
		key, value, is := strings.Cut(args[0], "=")
		switch {
		case strings.HasPrefix(args[0], "-"):
			if slices.Contains(valued, args[0]) && len(args) > 1 {
				args = args[1:]
			}
		case is && syntax.ValidName(key):
			sh.vars[key] = shellVariable{Variable: expand.Variable{Exported: true}}
			sh.vars.put(key, value)
		case waits:
			waits = false
		default:
			c.words = args
			sh.command(c, true)
			return
		}
	}
}

// shell looks at bash FILE and bash -c TEXT.
func (sh *shell) shell(c command, args []string) {
	for len(args) > 0 && len(args[0]) > 1 && strings.ContainsAny(args[0][:1], "-+") {
		option := args[0]
		args = args[1:]
		switch short := !strings.HasPrefix(option, "--"); {
		case short && strings.Contains(option, "c") && len(args) > 0:
			sh.inner(c, args[0], args[min(2, len(args)):])
			return
		case short && strings.HasSuffix(strings.ToLower(option), "o") && len(args) > 0:
			args = args[1:]
		}
	}
	switch {
	case len(args) > 0:
		sh.calls(c, args[0], args[1:], "sh")
	case sh.input != "":
		sh.inner(c, sh.input, nil)
	}
}

// inner reads a text that a shell of its own runs.
func (sh *shell) inner(c command, text string, args []string) {
	one := sh.sub()
	one.at, one.vars, one.funcs = c.Place, sh.vars.exported(args), map[string]*function{}
	if one.depth++; one.depth <= maxShells {
		if err := one.interpret(text, true); err != nil {
			sh.unread(c.Place, c.runs, text, err)
		}
	}
}
