package kubefile

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
	"github.com/moby/buildkit/frontend/dockerfile/shell"
)

// scope is the state of one stage while it is evaluated.
type scope struct {
	Config
	args     map[string]string // ARG values; ENV of the same name wins
	always   map[string]string // known without ARG: the platform, to what FROM says
	declared map[string]bool   // ARGs, also those without a value
	platform map[string]string // the predefined ARGs, which no base sets
	guess    bool              // the base is not known, which may set variables
	cmdSet   bool              // CMD was given in this stage
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
	var scopes []*scope // of the stages that are complete
	for i, in := range f.Instructions {
		at := func(err error, want string) error {
			line, column := src.find("", in.Line, in.Line)
			return src.errorAt(line, column, want, err)
		}
		if in.Name == "FROM" {
			scopes = f.closeStage(i, current, scopes)
			stage, err := newStage(lex, in, global)
			if err != nil {
				return at(err, usage("FROM"))
			}
			stage.First = i
			f.Stages = append(f.Stages, stage)
			if current, err = f.begin(lex, in, scopes, o, global.args); err != nil {
				return err
			}
			continue
		}
		if current == nil && in.Name != "ARG" {
			return at(fmt.Errorf("%s before FROM", in.Name), "FROM first (only ARG may stand before it)")
		}
		var err error
		if current != nil {
			err = f.read(lex, in, current, o)
		}
		if located := new(Error); errors.As(err, &located) {
			return located
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
	f.closeStage(len(f.Instructions), current, scopes)
	f.config = current.Config
	return nil
}

// closeStage ends the stage before instruction i, which later stages may build on.
func (f *File) closeStage(i int, sc *scope, scopes []*scope) []*scope {
	if sc == nil {
		return scopes
	}
	f.Stages[len(f.Stages)-1].Last = i
	return append(scopes, sc)
}

// begin makes the scope of the stage that a FROM has begun: what it is built on, and what that has to be done by ONBUILD.
func (f *File) begin(lex *shell.Lex, in Instruction, scopes []*scope, o options, global map[string]string) (*scope, error) {
	stage := &f.Stages[len(f.Stages)-1]
	is := f.from(stage.Base, false, o)
	if is.context != "" {
		return nil, f.ErrorAt(in, stage.raw, "an image: docker-image://NAME or oci-layout://DIRECTORY",
			fmt.Errorf("the build context %s is a directory, and FROM takes none", stage.Base))
	}
	if is.stage != nil {
		stage.below = *is.stage
	}
	if _, named := o.contexts[stage.Base]; named || is.stage != nil {
		f.rename(in, "", stage.raw, f.written(stage.Base, is))
	}
	sc := inherit(is, scopes, o)
	triggers, err := f.triggers(in, stage.Base, sc.OnBuild)
	if err != nil {
		return nil, err
	}
	sc.OnBuild = nil
	for _, t := range triggers {
		err := errors.Join(f.read(lex, t, sc, o), sc.apply(lex, t, o, global))
		if located := new(Error); errors.As(err, &located) {
			err = located.Err
		}
		if err != nil {
			return nil, f.ErrorAt(in, "", "", fmt.Errorf("ONBUILD %s of the base image %s: %w", t.Original, stage.Base, err))
		}
	}
	for _, kv := range o.env {
		k, v, _ := strings.Cut(kv, "=")
		sc.Env[k] = v
	}
	return sc, nil
}

// triggers are the instructions that a base image has to be done by who builds on it.
func (f *File) triggers(from Instruction, base string, lines []string) ([]Instruction, error) {
	if len(lines) == 0 {
		return nil, nil
	}
	tree, err := parser.Parse(strings.NewReader(strings.Join(lines, "\n")))
	if err != nil {
		return nil, f.ErrorAt(from, "", "", fmt.Errorf("ONBUILD of the base image %s: %w", base, bare(err)))
	}
	var all []Instruction
	for _, node := range tree.AST.Children {
		in, err := f.src.instruction(node)
		if located := new(Error); errors.As(err, &located) {
			err = located.Err
		}
		if err != nil {
			return nil, f.ErrorAt(from, "", "", fmt.Errorf("ONBUILD %s of the base image %s: %w", node.Original, base, err))
		}
		in.Line, in.EndLine, in.Base, in.trigger = from.Line, from.EndLine, base, true
		all = append(all, in)
	}
	return all, nil
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
	stage := Stage{Base: base, Name: strings.ToLower(from.Name), Platform: platform, below: -1, raw: from.BaseName}
	if stage.Name != "" {
		stage.as = in.Args[len(in.Args)-1]
	}
	return stage, err
}

// inherit begins a stage with what it is built on: an earlier stage, whose ARGs it sees too, or an image.
func inherit(is origin, scopes []*scope, o options) *scope {
	sc := &scope{args: map[string]string{}, declared: map[string]bool{}, platform: o.platform}
	sc.Config = Config{Labels: map[string]string{}, Env: map[string]string{}}
	from, args := Config{}, map[string]string(nil)
	switch {
	case is.stage != nil:
		from, args = scopes[*is.stage].Config, scopes[*is.stage].args
		maps.Copy(sc.declared, scopes[*is.stage].declared)
		sc.guess = scopes[*is.stage].guess
	case is.image != "":
		sc.guess = true
		if o.base != nil {
			var known bool
			from, known = o.base(is.image)
			sc.guess = !known
		}
	}
	maps.Copy(sc.args, args)
	maps.Copy(sc.Labels, from.Labels)
	maps.Copy(sc.Env, from.Env)
	sc.Cmd, sc.Entrypoint, sc.OnBuild = slices.Clone(from.Cmd), slices.Clone(from.Entrypoint), slices.Clone(from.OnBuild)
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
		if sc.declared != nil {
			sc.declared[key] = true
		}
		if ok {
			sc.args[key] = value
		}
	}
	return nil
}
