package documents

import (
	"bytes"
	"errors"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"mvdan.cc/sh/v3/syntax"
)

// Command is a call of a program that a document shows.
type Command struct {
	Place   string // file:line
	Program string // sealbuild, sealinstall or make
	Args    []string
	Inline  bool // within a line of text, where a word may stand alone
}

func (c Command) String() string {
	return c.Place + ": " + c.Program + " " + strings.Join(c.Args, " ")
}

// Languages that a block may be in: commands, what a terminal has shown, and everything else.
const (
	Shell   = "sh"
	Console = "console"
)

// prompt begins a line of a console that somebody has typed.
var prompt = regexp.MustCompile(`^(?:[a-z0-9.-]+# |\$ )(.+)$`)

// Scripts are the lines of shell of a block, each with its line in the document: the whole block, or what was typed.
func (b Block) Scripts() map[int]string {
	switch b.Lang {
	case Shell:
		return map[int]string{b.Line: b.Text}
	case Console:
		out := map[int]string{}
		for i, line := range strings.Split(b.Text, "\n") {
			if m := prompt.FindStringSubmatch(line); m != nil {
				out[b.Line+i] = m[1]
			}
		}
		return out
	}
	return nil
}

// Commands lists the calls of our programs in a document: in its blocks of shell and consoles, and those within its text that
// are written without gaps.
func (d Document) Commands() (out []Command, err error) {
	for _, b := range d.Blocks {
		for line, text := range b.Scripts() {
			calls, err := Calls(text)
			if err != nil {
				return nil, fmt.Errorf("%s:%d: no shell reads this: %w", d.Path, line, err)
			}
			for _, c := range calls {
				out = append(out, ours(fmt.Sprintf("%s:%d", d.Path, line+c.line-1), c.words, false)...)
			}
		}
	}
	for _, s := range d.Spans {
		if strings.ContainsAny(s.Text, "[]<>|") || strings.Contains(s.Text, "…") || strings.Contains(s.Text, "...") {
			continue // it is a form, not a command
		}
		calls, err := Calls(s.Text)
		if err != nil {
			continue
		}
		for _, c := range calls {
			out = append(out, ours(fmt.Sprintf("%s:%d", d.Path, s.Line), c.words, true)...)
		}
	}
	return out, nil
}

// ours is the call if it is one of our programs'.
func ours(place string, words []string, inline bool) []Command {
	for len(words) > 0 && words[0] == "sudo" {
		words = words[1:]
	}
	if len(words) == 0 {
		return nil
	}
	program := path.Base(words[0])
	switch {
	case strings.HasSuffix(program, ".run"):
		program = "sealinstall"
	case !slices.Contains([]string{"sealbuild", "sealinstall", "make"}, program):
		return nil
	}
	if inline && len(words) == 1 {
		return nil
	}
	return []Command{{place, program, words[1:], inline}}
}

// call is a simple command, with its line in the text.
type call struct {
	line  int
	words []string
}

// Calls reads shell and lists its simple commands. Quotes are taken away; what a shell would expand stays as it is written.
func Calls(text string) (out []call, err error) {
	f, err := syntax.NewParser(syntax.Variant(syntax.LangBash)).Parse(strings.NewReader(text), "")
	if err != nil {
		return nil, err
	}
	syntax.Walk(f, func(n syntax.Node) bool {
		c, ok := n.(*syntax.CallExpr)
		if !ok || len(c.Args) == 0 {
			return true
		}
		one := call{line: int(c.Pos().Line())}
		for _, w := range c.Args {
			one.words = append(one.words, word(w))
		}
		out = append(out, one)
		return true
	})
	return out, nil
}

// word is a word as a program gets it, where nothing is expanded.
func word(w *syntax.Word) string {
	var b strings.Builder
	var write func(parts []syntax.WordPart)
	write = func(parts []syntax.WordPart) {
		for _, p := range parts {
			switch p := p.(type) {
			case *syntax.Lit:
				b.WriteString(strings.ReplaceAll(p.Value, `\`, ""))
			case *syntax.SglQuoted:
				b.WriteString(p.Value)
			case *syntax.DblQuoted:
				write(p.Parts)
			default:
				var raw bytes.Buffer
				_ = syntax.NewPrinter().Print(&raw, p) // into memory
				b.Write(raw.Bytes())
			}
		}
	}
	write(w.Parts)
	return b.String()
}

// Check tells whether a program reads a command line: its verbs, flags and number of arguments are known to its own tree of
// commands. Nothing is run.
func Check(root *cobra.Command, c Command) error {
	args := slices.DeleteFunc(slices.Clone(c.Args), func(a string) bool { return a == "…" })
	cmd, rest, err := root.Find(args)
	if err != nil {
		return fmt.Errorf("%s: %w", c, err)
	}
	cmd.InitDefaultHelpFlag()
	cmd.InitDefaultVersionFlag()
	err = cmd.ParseFlags(rest)
	var lacks *pflag.ValueRequiredError
	switch {
	case c.Inline && errors.As(err, &lacks):
		return nil
	case err != nil:
		return fmt.Errorf("%s: %w", c, err)
	case c.Inline && (cmd != root || cmd.Flags().NArg() == 0):
		return nil // it names a verb or a flag, and says not to what
	}
	for _, name := range []string{"help", "version"} {
		if f := cmd.Flags().Lookup(name); f != nil && f.Changed {
			return nil
		}
	}
	if err := cmd.ValidateArgs(cmd.Flags().Args()); err != nil {
		return fmt.Errorf("%s: %w", c, err)
	}
	return nil
}

// CheckAll holds every command of a program that the documents of the repository show against its tree. tree makes one for
// each command: flags keep what they were given.
func CheckAll(program string, tree func() *cobra.Command) (checked int, problems []error) {
	root, err := Root()
	if err != nil {
		return 0, []error{err}
	}
	all, err := All(root)
	if err != nil {
		return 0, []error{err}
	}
	for _, d := range all {
		commands, err := d.Commands()
		if err != nil {
			problems = append(problems, err)
		}
		for _, c := range commands {
			if c.Program != program {
				continue
			}
			checked++
			if err := Check(tree(), c); err != nil {
				problems = append(problems, err)
			}
		}
	}
	return checked, problems
}
