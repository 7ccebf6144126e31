package kubefile

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
	"github.com/moby/buildkit/util/suggest"
)

// usages says how each instruction is written, in the order in which an error lists them.
var usages = []struct{ name, usage string }{
	{"ADD", "ADD SOURCE… DESTINATION"},
	{"ARG", "ARG NAME[=DEFAULT]"},
	{"CMD", `CMD COMMAND, or CMD ["COMMAND", …]`},
	{"COPY", "COPY SOURCE… DESTINATION"},
	{"ENTRYPOINT", `ENTRYPOINT COMMAND, or ENTRYPOINT ["COMMAND", …]`},
	{"ENV", "ENV KEY=VALUE …"},
	{"EXPOSE", "EXPOSE PORT[/PROTOCOL]…"},
	{"FROM", "FROM IMAGE [AS NAME]"},
	{"HEALTHCHECK", "HEALTHCHECK NONE or HEALTHCHECK [OPTIONS] CMD COMMAND"},
	{"LABEL", "LABEL KEY=VALUE …"},
	{"MAINTAINER", "MAINTAINER NAME"},
	{"ONBUILD", "ONBUILD INSTRUCTION (not ONBUILD, FROM or MAINTAINER)"},
	{"RUN", `RUN COMMAND, or RUN ["COMMAND", …]`},
	{"SHELL", `SHELL ["EXECUTABLE", "PARAMETER", …]`},
	{"STOPSIGNAL", "STOPSIGNAL SIGNAL"},
	{"USER", "USER NAME[:GROUP]"},
	{"VOLUME", `VOLUME PATH… or VOLUME ["PATH", …]`},
	{"WORKDIR", "WORKDIR PATH"},
}

// usage returns how an instruction is written, or "" if there is none of that name.
func usage(name string) string {
	for _, u := range usages {
		if u.name == name {
			return u.usage
		}
	}
	return ""
}

// check refuses what no builder would take.
func (s *source) check(in Instruction) error {
	line, column := s.find(in.node.Value, in.Line, in.Line)
	if usage(in.Name) == "" {
		var names []string
		for _, u := range usages {
			names = append(names, u.name)
		}
		want := "one of " + strings.Join(names, ", ")
		if near, ok := suggest.Search(in.Name, names, false); ok {
			want += " (did you mean " + near + "?)"
		}
		return s.errorAt(line, column, want, fmt.Errorf("unknown instruction %q", in.node.Value))
	}
	if err := s.checkArray(in); err != nil {
		return err
	}
	node := *in.node
	if in.Name == "RUN" {
		// The builder knows more --mount options than this parser does
		// (z, Z, U, relabel): only the flags' names are looked at here.
		if flag := unknownRunFlag(node.Flags); flag != "" {
			line, column := s.find(flag, in.Line, in.EndLine)
			return s.errorAt(line, column, "--mount, --network, --security or --device",
				fmt.Errorf("unknown flag of RUN: %s", flag))
		}
		node.Flags = nil
	}
	if _, err := instructions.ParseInstruction(&node); err != nil {
		err = bare(err)
		if flag := flagIn(err.Error()); flag != "" {
			line, column := s.find(flag, in.Line, in.EndLine)
			return s.errorAt(line, column, "a flag that "+in.Name+" has", err)
		}
		return s.errorAt(line, column, usage(in.Name), err)
	}
	if in.Name == "ONBUILD" && len(node.Next.Children) == 1 {
		inner := node.Next.Children[0]
		if usage(strings.ToUpper(inner.Value)) == "" {
			line, column := s.find(inner.Value, in.Line, in.EndLine)
			return s.errorAt(line, column, usage("ONBUILD"), fmt.Errorf("unknown instruction %q", inner.Value))
		}
	}
	return nil
}

// bare drops the parser's own position from err: ours is more exact.
func bare(err error) error {
	if located, ok := errors.AsType[*parser.LocationError](err); ok {
		return located.Unwrap()
	}
	return err
}

func unknownRunFlag(flags []string) string {
	for _, flag := range flags {
		name, _, _ := strings.Cut(flag, "=")
		switch name {
		case "--mount", "--network", "--security", "--device":
		default:
			return name
		}
	}
	return ""
}

func flagIn(msg string) string {
	if !strings.Contains(strings.ToLower(msg), "flag") {
		return ""
	}
	return regexp.MustCompile(`--[a-zA-Z-]+`).FindString(msg)
}

// checkArray finds an array that was meant and is not JSON. Docker takes such a line as shell text without a word, and the cluster
// image then fails on the site. A shell test ("[ -f x ] && y") is left alone: its bracket stands free.
func (s *source) checkArray(in Instruction) error {
	if in.JSON {
		return nil
	}
	switch in.Name {
	case "CMD", "ENTRYPOINT", "RUN", "SHELL", "VOLUME", "COPY", "ADD":
	default:
		return nil
	}
	_, rest, _ := strings.Cut(strings.TrimSpace(in.Original), " ")
	at := strings.IndexByte(rest, '[')
	if at < 0 || (strings.TrimSpace(rest[:at]) != "" && !strings.HasPrefix(strings.TrimSpace(rest), "--")) {
		return nil
	}
	rest = rest[at:]
	command := in.Name == "CMD" || in.Name == "ENTRYPOINT" || in.Name == "SHELL"
	meant := regexp.MustCompile(`^\[["']|^\[\s*"[^"]*"\s*,|^\[\s*'[^']*'\s*,`).MatchString(rest) ||
		command && regexp.MustCompile(`^\[[^\s\[]`).MatchString(rest)
	if !meant {
		return nil
	}
	var array []string
	err := json.Unmarshal([]byte(rest), &array)
	if err == nil {
		return nil
	}
	line, column := s.find("[", in.Line, in.EndLine)
	if syntax, ok := errors.AsType[*json.SyntaxError](err); ok && in.Line == in.EndLine {
		column += int(syntax.Offset) - 1
		if int(syntax.Offset) == len(rest) && !strings.HasSuffix(rest, "]") {
			column++ // what is missing comes after the last character
		}
	}
	return s.errorAt(line, column, `a JSON array of strings in double quotes, as in `+in.Name+` ["a", "b"]`,
		fmt.Errorf("malformed array: %w", err))
}
