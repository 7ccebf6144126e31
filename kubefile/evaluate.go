package kubefile

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/shell"
)

// scope is the state of one stage while it is evaluated.
type scope struct {
	Config
	args   map[string]string // ARG values; ENV of the same name wins
	always map[string]string // known without ARG: the platform, to what FROM says
	cmdSet bool              // CMD was given in this stage
}

// Get and Keys make a scope what the shell lexer looks variables up in.
func (sc *scope) Get(key string) (string, bool) {
	for _, values := range []map[string]string{sc.Env, sc.args, sc.always} {
		if v, ok := values[key]; ok {
			return v, true
		}
	}
	return "", false
}

func (sc *scope) Keys() []string {
	keys := slices.AppendSeq(slices.Collect(maps.Keys(sc.Env)), maps.Keys(sc.args))
	return slices.AppendSeq(keys, maps.Keys(sc.always))
}

// evaluate walks the stages as a build would and keeps the last one's config.
func (f *File) evaluate(src *source, o options) error {
	// The builder expands words with the backslash whatever "# escape=" says, which is then about line ends only.
	lex := shell.NewLex('\\')
	global := &scope{args: map[string]string{}, always: o.platform}
	var current *scope
	named := map[string]*scope{}
	for i, in := range f.Instructions {
		at := func(err error, want string) error {
			line, column := src.find("", in.Line, in.Line)
			return src.errorAt(line, column, want, err)
		}
		if in.Name == "FROM" {
			f.closeStage(i, current, named)
			stage, err := newStage(lex, in, global)
			if err != nil {
				return at(err, usage("FROM"))
			}
			stage.First = i
			f.Stages = append(f.Stages, stage)
			f.readImage(stage.Base, len(f.Stages)-1)
			current = inherit(stage.Base, named, o.base)
			continue
		}
		if current == nil && in.Name != "ARG" {
			return at(fmt.Errorf("%s before FROM", in.Name), "FROM first (only ARG may stand before it)")
		}
		var err error
		if current != nil {
			err = f.read(lex, in, current)
		}
		if err != nil {
			return at(err, usage(in.Name))
		}
		if current == nil {
			err = global.apply(lex, in, o, nil)
		} else {
			err = current.apply(lex, in, o, global.args)
		}
		if err != nil {
			return at(err, "variables that can be expanded: $NAME, ${NAME}, ${NAME:-default}, ${NAME:+word}")
		}
	}
	if current == nil {
		last := f.Instructions[len(f.Instructions)-1]
		line, column := src.find("", last.Line, last.Line)
		return src.errorAt(line, column, usage("FROM"), errors.New("no FROM in the file"))
	}
	f.closeStage(len(f.Instructions), current, named)
	f.config = current.Config
	return nil
}

// closeStage ends the stage before instruction i, which later stages may build on.
func (f *File) closeStage(i int, sc *scope, named map[string]*scope) {
	if sc == nil {
		return
	}
	stage := &f.Stages[len(f.Stages)-1]
	stage.Last = i
	if stage.Name != "" {
		named[stage.Name] = sc
	}
}

func newStage(lex *shell.Lex, in Instruction, global *scope) (Stage, error) {
	parsed, err := instructions.ParseInstruction(in.node)
	if err != nil {
		return Stage{}, bare(err)
	}
	from, ok := parsed.(*instructions.Stage)
	if !ok {
		return Stage{}, errors.New("not a FROM")
	}
	base, _, err := lex.ProcessWord(from.BaseName, global)
	if err != nil {
		return Stage{}, err
	}
	if base == "" {
		return Stage{}, fmt.Errorf("the base image %s expands to nothing", from.BaseName)
	}
	platform, _, err := lex.ProcessWord(from.Platform, global)
	return Stage{Base: base, Name: strings.ToLower(from.Name), Platform: platform}, err
}

// inherit begins a stage with what it is built on: an earlier stage, whose ARGs it sees too, or an image.
func inherit(base string, named map[string]*scope, lookup func(string) (Config, bool)) *scope {
	sc := &scope{args: map[string]string{}, Config: Config{Labels: map[string]string{}, Env: map[string]string{}}}
	from, args := Config{}, map[string]string(nil)
	if stage, ok := named[strings.ToLower(base)]; ok {
		from, args = stage.Config, stage.args
	} else if lookup != nil && base != "scratch" {
		from, _ = lookup(base)
	}
	maps.Copy(sc.args, args)
	maps.Copy(sc.Labels, from.Labels)
	maps.Copy(sc.Env, from.Env)
	sc.Cmd, sc.Entrypoint = slices.Clone(from.Cmd), slices.Clone(from.Entrypoint)
	return sc
}

// apply does what one instruction does to a stage's configuration.
func (sc *scope) apply(lex *shell.Lex, in Instruction, o options, global map[string]string) error {
	// Every value of one instruction sees the variables as they were before it.
	expand := func(word string) (string, error) {
		out, _, err := lex.ProcessWord(word, sc)
		return out, err
	}
	switch in.Name {
	case "ARG":
		return sc.declare(in, expand, o, global)
	case "ENV", "LABEL":
		values := make(map[string]string, len(in.Args))
		for _, arg := range in.Args {
			k, v, _ := strings.Cut(arg, "=")
			key, err := expand(k)
			if err != nil {
				return err
			}
			if values[key], err = expand(v); err != nil {
				return err
			}
		}
		if in.Name == "ENV" {
			maps.Copy(sc.Env, values)
		} else {
			maps.Copy(sc.Labels, values)
		}
	case "CMD":
		sc.Cmd, sc.cmdSet = in.Args, true
	case "ENTRYPOINT":
		sc.Entrypoint = in.Args
		if !sc.cmdSet {
			// A CMD that came with the base belonged to its entrypoint.
			sc.Cmd = nil
		}
	}
	return nil
}

// declare handles ARG: the value given, else the platform's, else the default, else the global one.
func (sc *scope) declare(in Instruction, expand func(string) (string, error), o options, global map[string]string) error {
	for _, arg := range in.Args {
		k, v, hasDefault := strings.Cut(arg, "=")
		key, err := expand(k)
		if err != nil {
			return err
		}
		value, ok := o.args[key]
		if !ok {
			value, ok = o.platform[key]
		}
		if !ok && hasDefault {
			value, err = expand(v)
			ok = true
		} else if !ok {
			value, ok = global[key]
		}
		if err != nil {
			return err
		}
		if ok {
			sc.args[key] = value
		}
	}
	return nil
}
