package kubefile

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/shell"
)

// Context is a further build context, as --build-context names it. Its name goes before stages and images.
type Context struct {
	Dir     bool     // it is a directory, else an image
	Exclude []string // of a directory: what is never copied, in .dockerignore syntax
}

// WithContexts names further build contexts.
func WithContexts(contexts map[string]Context) Option {
	return func(o *options) { o.contexts = maps.Clone(contexts) }
}

// WithEnv sets variables, KEY=VALUE, at the beginning of every stage, as --env does.
func WithEnv(env []string) Option {
	return func(o *options) { o.env = slices.Clone(env) }
}

// origin is what a name after FROM, in --from or in RUN --mount means; one of the fields is set, or none for scratch.
type origin struct {
	stage   *int   // an earlier stage of the file
	context string // a directory of WithContexts
	image   string // an image, also one of WithContexts
}

// origin finds out what a name means in a stage. numbers are taken as those of stages, which FROM does not.
func (f *File) origin(name string, before int, numbers bool, o options) origin {
	if c, ok := o.contexts[name]; ok {
		if c.Dir {
			return origin{context: name}
		}
		return origin{image: name}
	}
	for i := before - 1; i >= 0; i-- {
		if s := f.Stages[i]; s.Name != "" && strings.EqualFold(s.Name, name) || numbers && name == strconv.Itoa(i) {
			return origin{stage: &i}
		}
	}
	if name == "scratch" {
		return origin{}
	}
	return origin{image: name}
}

// written is how the builder, which knows names of stages only as they are written, is told what a name means.
func (f *File) written(name string, is origin) string {
	if is.stage == nil {
		return name
	}
	if as := f.Stages[*is.stage].as; as != "" {
		return as
	}
	return strconv.Itoa(*is.stage)
}

// fromName expands the name of an image or stage. A variable without a value would make it another name, or none. The name is empty
// where the base may give the value, and is not known.
func (f *File) fromName(lex *shell.Lex, in Instruction, flag, text string, sc *scope) (string, error) {
	name, unset, err := lex.ProcessWord(text, sc)
	if err != nil {
		return "", err
	}
	at := func(want string, err error) error {
		line, column := f.src.find(flag, in.Line, in.EndLine)
		return f.src.errorAt(line, column, want, err)
	}
	for _, v := range sortedKeys(unset) {
		if !regexp.MustCompile(`\$(`+regexp.QuoteMeta(v)+`\b|\{`+regexp.QuoteMeta(v)+`\})`).MatchString(text) || v == "" {
			continue // it has a default
		}
		if _, platform := sc.platform[v]; sc.guess && !platform {
			return "", nil
		}
		if sc.declared[v] {
			return "", at(fmt.Sprintf("ARG %s=DEFAULT, or --build-arg %s=VALUE", v, v), fmt.Errorf("%s of %s has no value", v, flag))
		}
		return "", at("ARG "+v+" above, in the same stage", fmt.Errorf("%s of %s is not declared in this stage", v, flag))
	}
	if name == "" {
		return "", at("the name of a stage or an image", fmt.Errorf("%s names nothing", flag))
	}
	return name, nil
}

// ErrorAt is an error about an instruction. It points at text, if the instruction holds it, else at its beginning.
func (f *File) ErrorAt(in Instruction, text, want string, err error) *Error {
	line, column := f.src.find("", in.Line, in.Line)
	if text != "" {
		line, column = f.src.word(text, in)
	}
	return f.src.errorAt(line, column, want, err)
}

// rename notes that a word of an instruction is to be another for the builder. before stands in front of it, as "--from=".
func (f *File) rename(in Instruction, before, old, now string) {
	if old == now || in.trigger {
		return
	}
	word := regexp.MustCompile(`(^|[\s,])(` + regexp.QuoteMeta(before) + `)` + regexp.QuoteMeta(old) + `($|[\s,])`)
	for n := in.Line; n <= in.EndLine && n <= len(f.src.lines); n++ {
		text, ok := f.rewritten[n]
		if !ok {
			text = f.src.lines[n-1]
		}
		for _, at := range word.FindAllStringSubmatchIndex(text, -1) {
			if strings.TrimSpace(text[:at[4]]) == "" && n == in.Line {
				continue // the keyword
			}
			if f.rewritten == nil {
				f.rewritten = map[int]string{}
			}
			f.rewritten[n] = text[:at[5]] + now + text[at[6]:]
			return
		}
	}
}

// Rewritten are lines, by their number, as a builder is to read them that knows fewer ways to name a stage or an image than docker:
// variables in --from and RUN --mount are expanded, and stages are named as their FROM writes them.
func (f *File) Rewritten() map[int]string { return maps.Clone(f.rewritten) }

// WithTarget makes a stage, by its name or number, the last one, as --target does. What follows it is checked for its syntax alone.
func WithTarget(stage string) Option {
	return func(o *options) { o.target = stage }
}

// cut drops what follows the target stage.
func (f *File) cut(target string) error {
	if target == "" {
		return nil
	}
	var names []string
	found := -1
	for i, in := range f.Instructions {
		if in.Name != "FROM" {
			continue
		}
		if found >= 0 {
			f.Instructions = f.Instructions[:i]
			return nil
		}
		name := ""
		if len(in.Args) == 3 {
			name = in.Args[2]
		}
		if strings.EqualFold(name, target) || target == strconv.Itoa(len(names)) {
			found = len(names)
		}
		if name == "" {
			name = strconv.Itoa(len(names))
		}
		names = append(names, name)
	}
	if found >= 0 {
		return nil
	}
	if len(names) == 0 {
		return errors.New("no FROM in the file")
	}
	return fmt.Errorf("there is no stage %q: expected one of %s", target, strings.Join(names, ", "))
}

// Target is the number of the last stage, which the image is made of.
func (f *File) Target() int { return len(f.Stages) - 1 }

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
