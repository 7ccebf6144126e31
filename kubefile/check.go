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

// instructionNames in the order an error lists them.
func instructionNames() []string {
	return []string{
		"ADD", "ARG", "CMD", "COPY", "ENTRYPOINT", "ENV", "EXPOSE", "FROM", "HEALTHCHECK", "LABEL",
		"MAINTAINER", "ONBUILD", "RUN", "SHELL", "STOPSIGNAL", "USER", "VOLUME", "WORKDIR",
	}
}

// usage is how an instruction is written.
func usage(name string) string {
	switch name {
	case "ADD", "COPY":
		return name + " SOURCE… DESTINATION"
	case "ARG":
		return "ARG NAME[=DEFAULT]"
	case "CMD", "ENTRYPOINT", "RUN":
		return name + ` COMMAND, or ` + name + ` ["COMMAND", …]`
	case "ENV", "LABEL":
		return name + " KEY=VALUE …"
	case "EXPOSE":
		return "EXPOSE PORT[/PROTOCOL]…"
	case "FROM":
		return "FROM IMAGE [AS NAME]"
	case "HEALTHCHECK":
		return "HEALTHCHECK NONE or HEALTHCHECK [OPTIONS] CMD COMMAND"
	case "MAINTAINER":
		return "MAINTAINER NAME"
	case "ONBUILD":
		return "ONBUILD INSTRUCTION (not ONBUILD, FROM or MAINTAINER)"
	case "SHELL":
		return `SHELL ["EXECUTABLE", "PARAMETER", …]`
	case "STOPSIGNAL":
		return "STOPSIGNAL SIGNAL"
	case "USER":
		return "USER NAME[:GROUP]"
	case "VOLUME":
		return `VOLUME PATH… or VOLUME ["PATH", …]`
	case "WORKDIR":
		return "WORKDIR PATH"
	}
	return ""
}

// check refuses what no builder would take.
func (s *source) check(in Instruction) error {
	line, column := s.find(in.node.Value, in.Line, in.Line)
	if usage(in.Name) == "" {
		want := "one of " + strings.Join(instructionNames(), ", ")
		if near, ok := suggest.Search(in.Name, instructionNames(), false); ok {
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
	var located *parser.LocationError
	if errors.As(err, &located) {
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

// checkArray finds an array that was meant and is not JSON. Docker takes such
// a line as shell text without a word, and the cluster image then fails on the
// site. A shell test ("[ -f x ] && y") is left alone: its bracket stands free.
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
	var syntax *json.SyntaxError
	if errors.As(err, &syntax) && in.Line == in.EndLine {
		column += int(syntax.Offset) - 1
		if int(syntax.Offset) == len(rest) && !strings.HasSuffix(rest, "]") {
			column++ // what is missing comes after the last character
		}
	}
	return s.errorAt(line, column, `a JSON array of strings in double quotes, as in `+in.Name+` ["a", "b"]`,
		fmt.Errorf("malformed array: %w", err))
}
