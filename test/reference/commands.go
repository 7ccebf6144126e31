// Package reference writes the pages of docs/reference from the program itself, and holds those that are there to it: `make docs`
// writes them, and a test of each source fails while a page is not what would be written.
package reference

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// made is the first line of each page.
const made = "<!-- Made from the program by `make docs`: do not edit. -->\n\n"

// Group are the flags that several commands have in common: all that the commands have which have the flag By. They stand once.
type Group struct{ Title, By string }

// shared are the flags of a group: those that mean the same in all its commands.
func (g Group) shared(commands []*cobra.Command) *pflag.FlagSet {
	var out *pflag.FlagSet
	for _, c := range commands {
		if !g.has(c) {
			continue
		}
		both := pflag.NewFlagSet("", pflag.ContinueOnError)
		c.NonInheritedFlags().VisitAll(func(f *pflag.Flag) {
			if out == nil || out.Lookup(f.Name) != nil && out.Lookup(f.Name).Usage == f.Usage {
				both.AddFlag(f)
			}
		})
		out = both
	}
	return out
}

func (g Group) has(c *cobra.Command) bool { return c.NonInheritedFlags().Lookup(g.By) != nil }

// Commands writes a page about a program: its commands with their flags.
func Commands(root *cobra.Command, group Group) string {
	root.InitDefaultHelpCmd()
	var b strings.Builder
	fmt.Fprintf(&b, "%s# %s\n\n%s\n\n", made, root.Name(), text(root))
	b.WriteString("| command | does |\n|---|---|\n")
	commands := shown(root)
	for _, c := range commands {
		fmt.Fprintf(&b, "| [`%s`](#%s) | %s |\n", c.CommandPath(), strings.ReplaceAll(c.CommandPath(), " ", "-"), cell(c.Short))
	}
	global := root.PersistentFlags()
	b.WriteString("\n## Flags of every command\n\n")
	flags(&b, global)
	fmt.Fprintf(&b, "\n## %s\n\n", group.Title)
	common := group.shared(append([]*cobra.Command{root}, commands...))
	flags(&b, common)
	for _, c := range append([]*cobra.Command{root}, commands...) {
		title := c.CommandPath()
		if c == root {
			title += " without a command"
		}
		fmt.Fprintf(&b, "\n## %s\n\n", title)
		if c != root {
			fmt.Fprintf(&b, "%s\n\n", text(c))
		}
		if c.Runnable() {
			fmt.Fprintf(&b, "```text\n%s\n```\n", c.UseLine())
		}
		if c.Example != "" {
			fmt.Fprintf(&b, "\n```sh\n%s\n```\n", dedent(c.Example))
		}
		but := []*pflag.FlagSet{global}
		if group.has(c) {
			but = append(but, common)
			fmt.Fprintf(&b, "\nIt takes the [%s](#%s), too.\n", strings.ToLower(group.Title[:1])+group.Title[1:], strings.ReplaceAll(strings.ToLower(group.Title), " ", "-"))
		}
		if own := except(c.NonInheritedFlags(), but); own.HasAvailableFlags() {
			b.WriteString("\n")
			flags(&b, own)
		}
	}
	return b.String()
}

// shown lists the commands below one that its help shows, in the order of the help. What cobra brings along stands for itself.
func shown(c *cobra.Command) (out []*cobra.Command) {
	for _, sub := range c.Commands() {
		if !sub.IsAvailableCommand() || sub.Name() == "help" {
			continue
		}
		out = append(out, sub)
		if sub.Name() != "completion" {
			out = append(out, shown(sub)...)
		}
	}
	return out
}

// text is what a command says of itself.
func text(c *cobra.Command) string {
	if c.Long == "" {
		return c.Short + "."
	}
	// Indented lines are lists or tables of the help: they stay as they are.
	var out []string
	code := false
	for _, line := range strings.Split(strings.TrimSpace(c.Long), "\n") {
		if indented := strings.HasPrefix(line, " "); indented != code && line != "" {
			if out = append(out, "```text"); code {
				out[len(out)-1] = "```"
			}
			code = indented
		}
		if !code {
			line = escape(line)
		}
		out = append(out, line)
	}
	if code {
		out = append(out, "```")
	}
	return strings.Join(out, "\n")
}

// values are the words for what a flag takes, by pflag's name of its type.
var values = map[string]string{"string": "VALUE", "strings": "VALUE,…", "stringArray": "VALUE", "stringSlice": "VALUE,…", "int": "N", "duration": "DURATION"}

// except are the flags of a set that are in none of others, --help left out.
func except(set *pflag.FlagSet, others []*pflag.FlagSet) *pflag.FlagSet {
	out := pflag.NewFlagSet("", pflag.ContinueOnError)
	set.VisitAll(func(f *pflag.Flag) {
		if f.Name != "help" && !slices.ContainsFunc(others, func(o *pflag.FlagSet) bool { return o.Lookup(f.Name) != nil }) {
			out.AddFlag(f)
		}
	})
	return out
}

// flags writes a table of the flags of a set that help shows.
func flags(b *strings.Builder, set *pflag.FlagSet) {
	b.WriteString("| flag | means | default |\n|---|---|---|\n")
	set.VisitAll(func(f *pflag.Flag) {
		if f.Hidden || f.Name == "help" {
			return
		}
		name := "`--" + f.Name
		if f.Shorthand != "" {
			name = "`-" + f.Shorthand + "`, " + name
		}
		kind, usage := pflag.UnquoteUsage(f)
		if word, ok := values[kind]; ok {
			kind = word
		}
		if kind != "" {
			name += " " + kind
		}
		fmt.Fprintf(b, "| %s` | %s | %s |\n", name, cell(usage), defaultOf(f))
	})
}

// defaultOf is what holds without the flag; empty where that is nothing, or where the text tells it.
func defaultOf(f *pflag.Flag) string {
	switch f.DefValue {
	case "", "false", "[]", "0", "0s":
		return ""
	}
	return "`" + f.DefValue + "`"
}

// escape keeps what looks like a tag in a text from being one.
func escape(s string) string {
	return strings.NewReplacer("<", "&lt;", "*", `\*`).Replace(s)
}

// cell is a text as a cell of a table takes it.
func cell(s string) string {
	return strings.ReplaceAll(escape(strings.Join(strings.Fields(s), " ")), "|", `\|`)
}

// dedent takes the indentation of the first line away from all.
func dedent(s string) string {
	s = strings.Trim(s, "\n")
	indent := s[:len(s)-len(strings.TrimLeft(s, " "))]
	lines := strings.Split(s, "\n")
	for i := range lines {
		lines[i] = strings.TrimRight(strings.TrimPrefix(lines[i], indent), " ")
	}
	return strings.Join(lines, "\n")
}
