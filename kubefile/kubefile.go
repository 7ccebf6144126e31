// Package kubefile reads a Kubefile (Dockerfile syntax) as a value.
//
// It promises: what Docker's own parser accepts is accepted, in the same meaning; what would fail a build for its syntax alone is
// refused here, with file, line, column, the text and what was expected, before anything is built; and it touches no file and no
// network. Whether a source path named by COPY exists is left to who has the context.
package kubefile

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"runtime"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/parser"
)

// MaxSize is the largest Kubefile taken, in bytes. Real ones are a few KiB;
// the bound keeps a wrong path (an image, an archive) from being read whole.
const MaxSize = 1 << 20

// File is a parsed Kubefile. It is not changed after Parse.
type File struct {
	Name         string        // as given to Parse; used in errors only
	Instructions []Instruction // in file order
	Stages       []Stage       // in file order; never empty

	src       *source
	config    Config // of the last stage
	rewritten map[int]string
}

// Instruction is one instruction as it is written: nothing is expanded.
type Instruction struct {
	// Name in upper case: COPY.
	Name string
	// Args are the words: paths for COPY, one KEY=VALUE each for ENV, LABEL and ARG (ENV KEY VALUE gives KEY=VALUE too; quotes and
	// $ stay), the array's elements for a JSON form, the whole line for a shell form. For ONBUILD: the inner instruction's name and
	// its arguments.
	Args []string
	// Flags such as --from=build, in the order written.
	Flags []string
	// JSON tells the JSON-array form from the shell form.
	JSON bool
	// Heredocs attached to RUN, COPY or ADD.
	Heredocs []Heredoc
	// Line and EndLine are the first and last line, 1-based; heredocs count.
	Line, EndLine int
	// Original is the line after continuation lines were joined.
	Original string
	// Base is the image whose ONBUILD says it, if the file does not: then the lines are those of FROM.
	Base string

	node    *parser.Node
	trigger bool
}

// Heredoc is a here-document of an instruction.
type Heredoc struct {
	Name    string // the word that ends it
	Content string
	Expand  bool // variables are expanded: the word was not quoted
}

// Stage is one FROM and what follows it.
type Stage struct {
	Base     string // after FROM, build arguments expanded: scratch, an image, an earlier stage
	Name     string // after AS, lower case; empty if none
	Platform string // of --platform, expanded
	// First and Last delimit its part of Instructions: [First, Last).
	First, Last int
	// Copies are the files of the context that COPY and ADD put into it.
	Copies []Copy

	raw, as string // Base and Name as they are written
	below   int    // the stage it is built on, else -1
	needs   []int  // stages it is built on or takes files from
	images  []string
	sources []Source
	chmods  []Chmod
	remote  bool
}

// Copy is what one COPY or ADD takes out of the context, variables expanded.
type Copy struct {
	Sources []string
	Dest    string
}

// An Option changes how Parse evaluates a Kubefile.
type Option func(*options)

type options struct {
	args     map[string]string
	platform map[string]string // the predefined ARGs
	base     func(string) (Config, bool)
	contexts map[string]Context
	env      []string
	target   string
}

// WithBuildArgs gives values to declared ARGs, as --build-arg does.
func WithBuildArgs(args map[string]string) Option {
	return func(o *options) { o.args = maps.Clone(args) }
}

// WithPlatform gives TARGETOS, TARGETARCH and their like the values that a
// build for this platform gives them. variant may be empty.
func WithPlatform(os, arch, variant string) Option {
	values := map[string]string{}
	for _, side := range []string{"TARGET", "BUILD"} {
		if side == "BUILD" {
			os, arch, variant = "linux", runtime.GOARCH, ""
		}
		values[side+"OS"], values[side+"ARCH"], values[side+"VARIANT"] = os, arch, variant
		values[side+"PLATFORM"] = os + "/" + arch
		if variant != "" {
			values[side+"PLATFORM"] += "/" + variant
		}
	}
	return func(o *options) { o.platform = values }
}

// WithBase tells what a stage inherits from an image that is not one of the file's own stages. lookup gets what FROM says,
// variables expanded, and returns false for an image it does not know: nothing is inherited then.
func WithBase(lookup func(from string) (Config, bool)) Option {
	return func(o *options) { o.base = lookup }
}

// Parse reads and validates a Kubefile. name is used in errors only. An error about the content is an *Error; one of r is wrapped.
func Parse(r io.Reader, name string, opts ...Option) (*File, error) {
	var o options
	for _, opt := range opts {
		opt(&o)
	}
	text, err := io.ReadAll(io.LimitReader(r, MaxSize+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	src := newSource(name, text)
	if len(text) > MaxSize {
		return nil, src.errorAt(1, 1, "a text file of at most 1 MiB", fmt.Errorf("larger than 1 MiB: not a Kubefile"))
	}
	if bytes.IndexByte(text, 0) >= 0 {
		line := 1 + bytes.Count(text[:bytes.IndexByte(text, 0)], []byte{'\n'})
		return nil, src.errorAt(line, 1, "a text file", fmt.Errorf("holds a zero byte: not a Kubefile"))
	}
	tree, err := parser.Parse(bytes.NewReader(text))
	if err != nil {
		return nil, src.fromParser(err)
	}
	f := &File{Name: name, src: src}
	for _, node := range tree.AST.Children {
		in, err := src.instruction(node)
		if err != nil {
			return nil, err
		}
		f.Instructions = append(f.Instructions, in)
	}
	if err := f.cut(o.target); err != nil {
		return nil, fmt.Errorf("%s: --target: %w", name, err)
	}
	if err := f.evaluate(src, o); err != nil {
		return nil, err
	}
	return f, nil
}

// instruction converts and checks one node of the parser's tree.
func (s *source) instruction(node *parser.Node) (Instruction, error) {
	in := Instruction{
		Name:     strings.ToUpper(node.Value),
		Flags:    node.Flags,
		JSON:     node.Attributes["json"],
		Line:     node.StartLine,
		EndLine:  node.EndLine,
		Original: node.Original,
		node:     node,
	}
	for _, h := range node.Heredocs {
		content := h.Content
		if h.Chomp {
			content = parser.ChompHeredocContent(content)
		}
		in.Heredocs = append(in.Heredocs, Heredoc{Name: h.Name, Content: content, Expand: h.Expand})
	}
	if err := s.check(in); err != nil {
		return Instruction{}, err
	}
	switch in.Name {
	case "ENV", "LABEL":
		words := words(node)
		for i := 0; i+2 < len(words); i += 3 {
			in.Args = append(in.Args, words[i]+"="+words[i+1])
		}
	default:
		in.Args = words(node)
	}
	return in, nil
}

// words flattens the parser's linked list; ONBUILD holds a whole instruction.
func words(node *parser.Node) []string {
	var out []string
	for n := node.Next; n != nil; n = n.Next {
		if len(n.Children) == 1 {
			out = append(out, strings.ToUpper(n.Children[0].Value))
			out = append(out, n.Children[0].Flags...)
			out = append(out, words(n.Children[0])...)
			continue
		}
		out = append(out, n.Value)
	}
	return out
}
