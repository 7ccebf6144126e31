package kubefile

import (
	"slices"
	"strconv"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/shell"
)

// Reads is what a build of the file reads, variables expanded.
type Reads struct {
	// Paths of the context, as COPY, ADD and RUN --mount name them: relative to it, patterns included. "." is all of it.
	Paths []string
	// Images that are no stage of the file: of FROM and --from, in the order they are named, each once. scratch is none.
	Images []string
	// Remote: ADD of a URL or a repository, whose content nobody knows before.
	Remote bool
}

// Reads tells what a build reads besides the file itself.
func (f *File) Reads() Reads {
	return Reads{Paths: slices.Clone(f.reads.Paths), Images: slices.Clone(f.reads.Images), Remote: f.reads.Remote}
}

// readImage notes an image, unless name is one of the first stages.
func (f *File) readImage(name string, before int) {
	if name == "" || name == "scratch" || slices.Contains(f.reads.Images, name) {
		return
	}
	for i, s := range f.Stages[:before] {
		if name == strconv.Itoa(i) || s.Name != "" && strings.EqualFold(s.Name, name) {
			return
		}
	}
	f.reads.Images = append(f.reads.Images, name)
}

func (f *File) readPath(path string) {
	if !slices.Contains(f.reads.Paths, path) {
		f.reads.Paths = append(f.reads.Paths, path)
	}
}

// read notes what one instruction of a stage reads.
func (f *File) read(lex *shell.Lex, in Instruction, sc *scope) error {
	stage := &f.Stages[len(f.Stages)-1]
	switch in.Name {
	case "RUN":
		for _, flag := range in.Flags {
			if mount, ok := strings.CutPrefix(flag, "--mount="); ok {
				if err := f.readMount(lex, mount, sc); err != nil {
					return err
				}
			}
		}
	case "COPY", "ADD":
		for _, flag := range in.Flags {
			if from, ok := strings.CutPrefix(flag, "--from="); ok {
				name, _, err := lex.ProcessWord(from, sc)
				f.readImage(name, len(f.Stages)-1)
				return err
			}
		}
		var copied Copy
		for _, arg := range in.Args[:max(len(in.Args)-1, 0)] {
			if slices.ContainsFunc(in.Heredocs, func(h Heredoc) bool { return strings.HasPrefix(arg, "<<") && strings.Contains(arg, h.Name) }) {
				continue
			}
			path, _, err := lex.ProcessWord(arg, sc)
			if err != nil {
				return err
			}
			if in.Name == "ADD" && (strings.Contains(path, "://") || strings.HasPrefix(path, "git@")) {
				f.reads.Remote = true
				continue
			}
			f.readPath(path)
			copied.Sources = append(copied.Sources, path)
		}
		if len(copied.Sources) == 0 {
			return nil
		}
		var err error
		copied.Dest, _, err = lex.ProcessWord(in.Args[len(in.Args)-1], sc)
		stage.Copies = append(stage.Copies, copied)
		return err
	}
	return nil
}

// Final are the stages that the image is made of: the last one, and before it those it is built on, the lowest first.
func (f *File) Final() []Stage {
	at := len(f.Stages) - 1
	final := []Stage{f.Stages[at]}
	for {
		base := strings.ToLower(f.Stages[at].Base)
		below := -1
		for i, s := range f.Stages[:at] {
			if s.Name != "" && s.Name == base {
				below = i
			}
		}
		if below < 0 {
			return final
		}
		at = below
		final = append([]Stage{f.Stages[at]}, final...)
	}
}

// readMount notes what a RUN --mount brings in: a part of the context, or of an image.
func (f *File) readMount(lex *shell.Lex, mount string, sc *scope) error {
	kind, from, source := "bind", "", "."
	for option := range strings.SplitSeq(mount, ",") {
		key, value, _ := strings.Cut(option, "=")
		value, _, err := lex.ProcessWord(value, sc)
		if err != nil {
			return err
		}
		switch key {
		case "type":
			kind = value
		case "from":
			from = value
		case "source", "src":
			source = value
		}
	}
	switch {
	case from != "":
		f.readImage(from, len(f.Stages)-1)
	case kind == "bind":
		f.readPath(source)
	}
	return nil
}
