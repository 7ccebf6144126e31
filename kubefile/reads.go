package kubefile

import (
	"path"
	"slices"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/shell"
)

// Reads is what a build of the file reads, variables expanded, in the stages that the last one needs.
type Reads struct {
	// Paths of the context, as COPY, ADD and RUN --mount name them: relative to it, patterns included. "." is all of it.
	Paths []string
	// Images that are no stage of the file: of FROM and --from, in the order they are named, each once. scratch is none.
	Images []string
	// Named are paths of further build contexts, by their names.
	Named map[string][]string
	// Remote: ADD of a URL or a repository, whose content nobody knows before.
	Remote bool
}

// Source is a path of a build context that an instruction names, variables expanded.
type Source struct {
	Path    string
	Context string // a further build context's name; empty for the context itself
	In      Instruction
	Text    string   // as it is written
	Unset   []string // variables in it that have no value
	Guess   bool     // the base is not known, which may give them one
}

// Reads tells what a build reads besides the file itself.
func (f *File) Reads() Reads {
	var r Reads
	add := func(list *[]string, what string) {
		if !slices.Contains(*list, what) {
			*list = append(*list, what)
		}
	}
	for _, i := range f.needed() {
		stage := &f.Stages[i]
		for _, image := range stage.images {
			add(&r.Images, image)
		}
		r.Remote = r.Remote || stage.remote
		for _, s := range stage.sources {
			if s.Context == "" {
				add(&r.Paths, s.Path)
				continue
			}
			if r.Named == nil {
				r.Named = map[string][]string{}
			}
			named := r.Named[s.Context]
			add(&named, s.Path)
			r.Named[s.Context] = named
		}
	}
	return r
}

// Sources are the paths of build contexts that the stages name which the last one needs, in the order of the file.
func (f *File) Sources() []Source {
	var all []Source
	for _, i := range f.needed() {
		all = append(all, f.Stages[i].sources...)
	}
	return all
}

// needed are the stages that the last one is made of or takes files from, in the order of the file: a builder leaves others out.
func (f *File) needed() []int {
	need := map[int]bool{}
	var visit func(i int)
	visit = func(i int) {
		if need[i] {
			return
		}
		need[i] = true
		for _, below := range f.Stages[i].needs {
			visit(below)
		}
	}
	visit(len(f.Stages) - 1)
	var all []int
	for i := range f.Stages {
		if need[i] {
			all = append(all, i)
		}
	}
	return all
}

// from notes what a stage takes from a stage or an image; it tells what the name means.
func (f *File) from(name string, numbers bool, o options) origin {
	at := len(f.Stages) - 1
	stage := &f.Stages[at]
	is := f.origin(name, at, numbers, o)
	switch {
	case is.stage != nil:
		stage.needs = append(stage.needs, *is.stage)
	case is.image != "":
		stage.images = append(stage.images, is.image)
	}
	return is
}

// read notes what one instruction of a stage reads.
func (f *File) read(lex *shell.Lex, in Instruction, sc *scope, o options) error {
	switch in.Name {
	case "RUN":
		for _, flag := range in.Flags {
			if mount, ok := strings.CutPrefix(flag, "--mount="); ok {
				if err := f.readMount(lex, in, mount, sc, o); err != nil {
					return err
				}
			}
		}
	case "COPY", "ADD":
		return f.readCopy(lex, in, sc, o)
	}
	return nil
}

// readCopy notes what COPY and ADD read: files of the context, of a stage or of an image.
func (f *File) readCopy(lex *shell.Lex, in Instruction, sc *scope, o options) error {
	stage := &f.Stages[len(f.Stages)-1]
	var is origin
	elsewhere := false
	for _, flag := range in.Flags {
		text, ok := strings.CutPrefix(flag, "--from=")
		if !ok {
			continue
		}
		name, err := f.fromName(lex, in, "--from", text, sc)
		if err != nil {
			return err
		}
		if name == "" {
			return nil
		}
		is, elsewhere = f.from(name, true, o), true
		now := f.written(name, is)
		for _, pattern := range o.contexts[is.context].Exclude {
			if !strings.ContainsAny(pattern, " \t") {
				now += " --exclude=" + pattern // the builder knows an ignore file there, and no more
			}
		}
		f.rename(in, "--from=", text, now)
	}
	if err := f.readExcludes(lex, in, sc); err != nil {
		return err
	}
	if elsewhere && is.context == "" {
		return f.readMode(lex, in, nil, true, sc)
	}
	var copied Copy
	first := len(stage.sources)
	for _, arg := range in.Args[:max(len(in.Args)-1, 0)] {
		if slices.ContainsFunc(in.Heredocs, func(h Heredoc) bool { return strings.HasPrefix(arg, "<<") && strings.Contains(arg, h.Name) }) {
			continue
		}
		source, unset, err := lex.ProcessWord(arg, sc)
		if err != nil {
			return err
		}
		if in.Name == "ADD" && (strings.Contains(source, "://") || strings.HasPrefix(source, "git@")) {
			stage.remote = true
			continue
		}
		stage.sources = append(stage.sources, Source{
			Path: source, Context: is.context, In: in, Text: arg, Unset: sortedKeys(unset), Guess: sc.guess && len(unset) > 0,
		})
		copied.Sources = append(copied.Sources, source)
	}
	err := f.readMode(lex, in, stage.sources[first:], elsewhere, sc)
	if len(copied.Sources) == 0 || elsewhere || err != nil {
		return err
	}
	copied.Dest, _, err = lex.ProcessWord(in.Args[len(in.Args)-1], sc)
	stage.Copies = append(stage.Copies, copied)
	return err
}

// readExcludes makes patterns of --exclude those of what is copied: docker matches them below each source, the builder below the
// context. A pattern for a source that is a file matches nothing.
func (f *File) readExcludes(lex *shell.Lex, in Instruction, sc *scope) error {
	var tops []string
	for _, arg := range in.Args[:max(len(in.Args)-1, 0)] {
		source, _, err := lex.ProcessWord(arg, sc)
		if err != nil {
			return err
		}
		top := source
		if slices.Contains(in.Flags, "--parents") || slices.Contains(in.Flags, "--parents=true") {
			top, _, _ = strings.Cut(source, "/./")
			if top == source {
				top = "" // kept as a whole
			}
		}
		if top = strings.Trim(path.Clean("/"+top), "/"); top != "" && !strings.ContainsAny(top, " \t") && !strings.HasPrefix(arg, "<<") {
			tops = append(tops, top)
		}
	}
	for _, flag := range in.Flags {
		pattern, ok := strings.CutPrefix(flag, "--exclude=")
		if !ok || strings.HasPrefix(pattern, "!") {
			continue
		}
		now := flag
		for _, top := range tops {
			now += " --exclude=" + top + "/" + strings.TrimPrefix(pattern, "/")
		}
		f.rename(in, "", flag, now)
	}
	return nil
}

// Final are the stages that the image is made of: the last one, and before it those it is built on, the lowest first.
func (f *File) Final() []Stage {
	final := []Stage{f.Stages[len(f.Stages)-1]}
	for final[0].below >= 0 {
		final = append([]Stage{f.Stages[final[0].below]}, final...)
	}
	return final
}

// readMount notes what a RUN --mount brings in: a part of the context, or of an image.
func (f *File) readMount(lex *shell.Lex, in Instruction, mount string, sc *scope, o options) error {
	kind, from, source := "bind", "", "."
	for option := range strings.SplitSeq(mount, ",") {
		key, text, _ := strings.Cut(option, "=")
		value, _, err := lex.ProcessWord(text, sc)
		if err != nil {
			return err
		}
		switch key {
		case "type":
			kind = value
		case "from":
			if from, err = f.fromName(lex, in, "from", text, sc); err != nil || from == "" {
				return err
			}
			f.rename(in, "--mount=from=", text, f.written(from, f.origin(from, len(f.Stages)-1, true, o)))
			f.rename(in, "from=", text, f.written(from, f.origin(from, len(f.Stages)-1, true, o)))
		case "source", "src":
			source = value
		}
	}
	var is origin
	if from != "" {
		is = f.from(from, true, o)
	}
	if kind == "bind" && (from == "" || is.context != "") {
		stage := &f.Stages[len(f.Stages)-1]
		stage.sources = append(stage.sources, Source{Path: source, Context: is.context, In: in, Text: source})
	}
	return nil
}
