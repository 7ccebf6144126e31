package oldpackage

import (
	"cmp"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"mvdan.cc/sh/v3/syntax"
)

// initScript makes a host ready in a package; everything else in shell/ is called by it, or has no meaning any more.
const initScript = "shell/init.sh"

// script is one of shell/.
type script struct {
	name, text string // shell/init.sh
	calls      []call
	quiet      []call // those that are to do nothing
}

// call is a simple command of a script.
type call struct {
	words  []string
	offset int
	line   int
	reads  [][2]int // where it says what it reads from: < FILE
}

func (c call) String() string { return strings.Join(c.words, " ") }

// program is the command that is called and its arguments, without what only starts it.
func (c call) program() (string, []string) {
	words, starts := c.words, false
	for len(words) > 1 && (slices.Contains([]string{"sudo", "env", "bash", "sh", "source", ".", "nohup", "exec"}, words[0]) ||
		starts && (strings.HasPrefix(words[0], "-") || strings.Contains(words[0], "="))) {
		words, starts = words[1:], true
	}
	return base(words[0]), words[1:]
}

func (p *reader) readScripts() error {
	files, err := filepath.Glob(p.path("shell/*.sh"))
	if err != nil {
		return err
	}
	for _, file := range files {
		s := script{name: "shell/" + filepath.Base(file)}
		var ok bool
		if s.text, ok = p.text(s.name); !ok { // told
			p.scripts = append(p.scripts, s)
			continue
		}
		parsed, err := syntax.NewParser(syntax.Variant(syntax.LangBash)).Parse(strings.NewReader(s.text), s.name)
		if err != nil {
			p.note("%v: the script runs as it is", err)
		} else {
			s.calls = callsOf(parsed, s.text)
		}
		p.scripts = append(p.scripts, s)
	}
	if !slices.ContainsFunc(p.scripts, func(s script) bool { return s.name == initScript }) {
		p.problem("%s is missing: it makes a host ready for kubeadm", initScript)
	}
	return nil
}

func callsOf(f *syntax.File, text string) []call {
	var all []call
	syntax.Walk(f, func(n syntax.Node) bool {
		stmt, ok := n.(*syntax.Stmt)
		if !ok {
			return true
		}
		c, ok := stmt.Cmd.(*syntax.CallExpr)
		if !ok || len(c.Args) == 0 {
			return true
		}
		one := call{offset: int(c.Args[0].Pos().Offset()), line: int(c.Pos().Line())}
		for _, w := range c.Args {
			one.words = append(one.words, text[w.Pos().Offset():w.End().Offset()])
		}
		for _, r := range stmt.Redirs {
			if r.Op == syntax.RdrIn {
				one.reads = append(one.reads, [2]int{int(r.Pos().Offset()), int(r.End().Offset())})
			}
		}
		all = append(all, one)
		return true
	})
	return all
}

// named tells whether a script speaks of a file or directory of the package.
func (p *reader) named(name string) bool {
	return slices.ContainsFunc(p.scripts, func(s script) bool { return strings.Contains(s.text, "/"+name) })
}

// called tells whether the init script calls another one.
func (p *reader) called(name string) bool {
	for _, s := range p.scripts {
		if s.name == initScript && strings.Contains(s.text, base(name)) {
			return true
		}
	}
	return false
}

// before is the script of the runtime where the init script does not call it itself.
func (p *reader) before() string {
	for _, s := range p.scripts {
		if s.name == "shell/containerd.sh" && !p.called(s.name) {
			return s.name
		}
	}
	return ""
}

// quieten keeps the scripts that run from what others do now: images come from the registry, kubeadm is run by the installer, and
// Docker is not there. It tells which scripts do not run at all.
func (p *reader) quieten() {
	for i := range p.scripts {
		s := &p.scripts[i]
		if s.name != initScript && s.name != p.before() && (!p.called(s.name) || p.instead(call{words: []string{base(s.name)}}) != "") {
			p.note("%s has no meaning any more: %s", s.name, p.unused(*s))
			continue
		}
		for _, c := range s.calls {
			if why := p.instead(c); why != "" {
				s.quiet = append(s.quiet, c)
				p.note("%s:%d: %q does nothing any more: %s", s.name, c.line, c, why)
			} else if name, _ := c.program(); name == "docker" {
				p.note("%s:%d: %q finds no Docker on the hosts", s.name, c.line, c)
			}
		}
	}
}

// instead says who does now what a command did; empty if it is the script's own business.
func (p *reader) instead(c call) string {
	name, args := c.program()
	has := func(words ...string) bool {
		return slices.ContainsFunc(args, func(a string) bool { return slices.Contains(words, a) })
	}
	switch {
	case slices.Contains([]string{"docker", "nerdctl", "podman", "ctr"}, name) && has("load", "import"):
		return "images come from the registry of the site"
	case name == "kubeadm" && has("init", "join", "reset"), name == "master.sh":
		return "sealinstall runs kubeadm"
	case name == "docker.sh" && p.hasCRI:
		return "kubelet has no use for Docker"
	}
	return ""
}

// unused says why a script does not run, and what is lost with it.
func (p *reader) unused(s script) string {
	why := p.instead(call{words: []string{base(s.name)}})
	if why == "" {
		why = "init.sh does not call it"
	}
	var applied []string
	for _, c := range s.calls {
		if name, args := c.program(); name == "kubectl" && slices.ContainsFunc(args, func(a string) bool { return a == "apply" || a == "create" }) {
			applied = append(applied, c.String())
		}
	}
	if len(applied) > 0 {
		why += fmt.Sprintf("; what it adds to the cluster (%s) comes from images of its own, such as flannel or calico: build with --with", strings.Join(applied, "; "))
	}
	return why
}

// changed is the text of a script in which the quiet commands are arguments of one that does nothing, and reads nothing.
func (s script) changed() string {
	type edit struct {
		from, to int
		text     string
	}
	var edits []edit
	for _, c := range s.quiet {
		edits = append(edits, edit{c.offset, c.offset, "true "})
		for _, r := range c.reads {
			edits = append(edits, edit{r[0], r[1], ""})
		}
	}
	slices.SortFunc(edits, func(a, b edit) int { return cmp.Compare(a.from, b.from) })
	var text strings.Builder
	at := 0
	for _, e := range edits {
		if e.from < at {
			continue // within what is taken out
		}
		text.WriteString(s.text[at:e.from] + e.text)
		at = e.to
	}
	return text.String() + s.text[at:]
}
