package compat

import (
	"context"
	"regexp"
	"slices"
	"strings"

	"github.com/sealbuild/sealbuild/installer"
)

// refusal is what a program of the new version does not take.
type refusal struct {
	flag  string // an argument: --NAME
	gate  string // a feature gate
	field string // a field of a document
	fixed bool   // the gate is there, and can be set no more
	value bool   // the flag is there, and does not take the value
	said  string // the program's own words, where they name none of these
}

// What programs say, with the name that they say it of.
var (
	unknownFlag  = regexp.MustCompile(`unknown flag: --([A-Za-z0-9._-]+)`)
	badFlag      = regexp.MustCompile(`invalid argument "(?:[^"\\]|\\.)*" for "(?:-[A-Za-z], )?--([A-Za-z0-9._-]+)" flag`)
	unknownGate  = regexp.MustCompile(`unrecognized feature gate: ([A-Za-z0-9]+)`)
	fixedGate    = regexp.MustCompile(`cannot set feature gate ([A-Za-z0-9]+) to \w+, feature is locked`)
	badGate      = regexp.MustCompile(`invalid value of ([A-Za-z0-9]+)=`)
	unknownField = regexp.MustCompile(`unknown field "([^"]+)"`)
)

// blame reads from what a program said what it does not take.
func blame(said string) refusal {
	for _, c := range []struct {
		form *regexp.Regexp
		of   func(name string) refusal
	}{
		{unknownFlag, func(name string) refusal { return refusal{flag: name} }},
		{unknownGate, func(name string) refusal { return refusal{gate: name} }},
		{fixedGate, func(name string) refusal { return refusal{gate: name, fixed: true} }},
		{badGate, func(name string) refusal { return refusal{gate: name, value: true} }},
		{badFlag, func(name string) refusal { return refusal{flag: name, value: true} }},
	} {
		if m := c.form.FindStringSubmatch(said); m != nil {
			return c.of(m[1])
		}
	}
	return refusal{said: lastWords(said)}
}

// lastWords is the last line that a program wrote, but for the advice that kubeadm ends with.
func lastWords(said string) string {
	var last string
	for line := range strings.Lines(said) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "To see the stack trace") {
			last = line
		}
	}
	return installer.Plain(strings.TrimPrefix(strings.TrimPrefix(last, "Error: "), "error: "))
}

// tryArguments finds the arguments that a program refuses. It tells one at a time, so it is asked again without each. Values that
// are secret are not handed over: anybody can read the arguments of a program.
func tryArguments(ctx context.Context, p *programs, program string, args []string) ([]refusal, error) {
	var out []refusal
	args = slices.Clone(args)
	hidden := map[string]bool{}
	for i, arg := range args {
		if name, value, ok := strings.Cut(arg, "="); ok && installer.SecretEnv(strings.TrimLeft(name, "-"), value) {
			args[i], hidden[strings.TrimLeft(name, "-")] = name+"=hidden", true
		}
	}
	for {
		answer, err := p.ask(ctx, nil, program, append(slices.Clone(args), "--version")...)
		if err != nil || answer.ok {
			return out, err
		}
		r := blame(answer.said)
		rest := without(args, r)
		if !r.value || !hidden[r.flag] {
			out = append(out, r)
		}
		if slices.Equal(rest, args) {
			return out, nil // it names none of them
		}
		args = rest
	}
}

// without gives arguments without the one that was refused.
func without(args []string, r refusal) []string {
	var out []string
	value := false // the next one may be the value of one that was left out
	for _, arg := range args {
		name, text, has := strings.Cut(strings.TrimLeft(arg, "-"), "=")
		isFlag := strings.HasPrefix(arg, "-")
		switch {
		case value && !isFlag:
		case isFlag && r.flag != "" && name == r.flag:
			value = !has
			continue
		case isFlag && r.gate != "" && name == "feature-gates" && has:
			if left := withoutGate(text, r.gate); left != "" {
				out = append(out, "--feature-gates="+left)
			}
		case !isFlag && r.gate != "" && len(out) > 0 && out[len(out)-1] == "--feature-gates":
			if left := withoutGate(arg, r.gate); left != "" {
				out = append(out, left)
			} else {
				out = out[:len(out)-1]
			}
		default:
			out = append(out, arg)
		}
		value = false
	}
	return out
}

func withoutGate(list, gate string) string {
	gates := slices.DeleteFunc(strings.Split(list, ","), func(pair string) bool {
		name, _, _ := strings.Cut(pair, "=")
		_, bare, scoped := strings.Cut(name, ":") // kube:NAME is a gate of one component
		return strings.TrimSpace(name) == gate || scoped && strings.TrimSpace(bare) == gate
	})
	return strings.Join(gates, ",")
}

// tryDocuments finds what kubeadm refuses of documents.
func tryDocuments(ctx context.Context, p *programs, documents []byte) ([]refusal, error) {
	answer, err := p.validate(ctx, documents)
	if err != nil || answer.ok {
		return nil, err
	}
	var out []refusal
	for _, m := range unknownField.FindAllStringSubmatch(answer.said, -1) {
		out = append(out, refusal{field: m[1]})
	}
	if len(out) == 0 {
		out = append(out, refusal{said: lastWords(answer.said)})
	}
	return out, nil
}
