package preflight

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/sealbuild/sealbuild/ground/count"
	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/agent"
	"github.com/sealbuild/sealbuild/installer/host"
)

// Problem is one thing that stands in the way on one host.
type Problem struct {
	Host    string `json:"host,omitempty"` // address; empty when it is about the cluster as a whole
	Check   string `json:"check"`          // one of [Checks] or [Essential]
	Message string `json:"message"`
	Remedy  string `json:"remedy"`
	Warning bool   `json:"warning,omitempty"` // it does not stop a run
	Ignored bool   `json:"ignored,omitempty"` // it is a warning only because the operator ignores the check
	Verb    string `json:"verb,omitempty"`    // of the bundle that was run, if that does what was meant
}

// Made are those of [Checks] that every host goes through before anything is changed there: some only before it is upgraded, or
// before hosts leave the cluster.
func Made(upgrades, leaves bool) []string {
	return slices.DeleteFunc(Checks(), func(check string) bool {
		switch check {
		case "api-versions", "corefile", "drain", "flags":
			return !upgrades
		case "capacity":
			return !leaves
		}
		return false
	})
}

// Settle makes warnings of the problems whose checks are to be ignored, and separates warnings from the rest.
func Settle(all []Problem, ignore []string) (serious, warnings []Problem) {
	for _, p := range all {
		if !p.Warning && slices.Contains(ignore, p.Check) {
			p.Warning, p.Ignored = true, true
		}
		if p.Warning {
			warnings = append(warnings, p)
		} else {
			serious = append(serious, p)
		}
	}
	return serious, warnings
}

// Error lists every problem of every host. No host was changed.
type Error struct {
	Problems []Problem
	Warnings []Problem
}

func (e *Error) Error() string {
	var b strings.Builder
	hosts := map[string]bool{}
	for _, p := range e.Problems {
		hosts[p.Host] = true
	}
	fmt.Fprintf(&b, "%s on %s; no host was changed", count.Of(len(e.Problems), "problem"), count.Of(len(hosts), "host"))
	for _, g := range grouped(e.Problems) {
		for i, l := range g.lines {
			if i == maxLines {
				tell(&b, rest(g.lines[i:]), g.check, "and the like")
				break
			}
			tell(&b, installer.HostList(l.hosts), g.check, l.message)
		}
		fmt.Fprintf(&b, "\n  %-15s %-12s remedy: %s", "", "", g.remedy)
	}
	return b.String()
}

// tell writes one line, with the hosts before it or, if they are many, in a line of their own.
func tell(b *strings.Builder, hosts, check, message string) {
	if len(hosts) > 15 {
		fmt.Fprintf(b, "\n  %s", hosts)
		hosts = ""
	}
	fmt.Fprintf(b, "\n  %-15s %-12s %s", hosts, check, message)
}

// maxLines bounds the lines of one check with one remedy. The JSON form has all.
const maxLines = 10

// group holds the problems with one remedy; line is a message with the hosts that have it.
type group struct {
	check, remedy string
	ignored       bool
	lines         []line
}

type line struct {
	message string
	hosts   []string
}

// grouped puts problems together that read alike, in their order.
func grouped(problems []Problem) []group {
	var groups []group
	for _, p := range problems {
		g := slices.IndexFunc(groups, func(g group) bool {
			return g.check == p.Check && g.remedy == p.Remedy && g.ignored == p.Ignored
		})
		if g < 0 {
			g, groups = len(groups), append(groups, group{check: p.Check, remedy: p.Remedy, ignored: p.Ignored})
		}
		lines := &groups[g].lines
		l := slices.IndexFunc(*lines, func(l line) bool { return l.message == p.Message })
		if l < 0 {
			l, *lines = len(*lines), append(*lines, line{message: p.Message})
		}
		(*lines)[l].hosts = append((*lines)[l].hosts, p.Host)
	}
	return groups
}

func rest(lines []line) string {
	var hosts []string
	for _, l := range lines {
		hosts = append(hosts, l.hosts...)
	}
	return installer.HostList(hosts)
}

// Warnings writes warnings as lines, those alike on several hosts once.
func Warnings(warnings []Problem) []string {
	var out []string
	for _, g := range grouped(warnings) {
		tag := ""
		if g.ignored {
			tag = "ignored: "
		}
		for i, l := range g.lines {
			if i == maxLines {
				out = append(out, fmt.Sprintf("%s: %s: %sand the like (%s)", rest(g.lines[i:]), g.check, tag, g.remedy))
				break
			}
			out = append(out, fmt.Sprintf("%s: %s: %s%s (%s)", installer.HostList(l.hosts), g.check, tag, l.message, g.remedy))
		}
	}
	return out
}

// MendIt is the remedy where the message says what is wrong.
const MendIt = "mend what it names, then run the same command again"

// From makes problems of joined errors, one of each.
func From(err error, check string) []Problem {
	var out []Problem
	for _, e := range Unjoin(err) {
		p := Problem{Check: check, Message: installer.Tell(e), Remedy: MendIt}
		if he, ok := errors.AsType[*installer.HostError](e); ok {
			p.Host, p.Message = he.Host, installer.TellAt(he.Err, he.Host)
		}
		if hostErr, ok := errors.AsType[*host.Error](e); ok {
			p.Message = strings.TrimSuffix(hostErr.Kind.Error()+": "+fmt.Sprint(hostErr.Err), ": <nil>")
			if hostErr.Remedy != "" {
				p.Remedy = hostErr.Remedy
			}
		}
		if answered, ok := errors.AsType[*agent.Error](e); ok {
			p.Message = answered.Verb + ": " + answered.Message
			if answered.Remedy != "" {
				p.Remedy = answered.Remedy
			}
		}
		if script, ok := errors.AsType[*agent.ScriptError](e); ok {
			p.Message, p.Remedy = "the image's check script fails: "+said(script), MendIt
		}
		if own, ok := errors.AsType[*Found](e); ok {
			p.Check, p.Message, p.Remedy = own.Check, own.Message, own.Remedy
		}
		out = append(out, p)
	}
	return out
}

// said is what a script printed last, or how it ended.
func said(e *agent.ScriptError) string {
	if len(e.Tail) == 0 {
		return fmt.Sprintf("exit status %d, and it printed nothing", e.Code)
	}
	return installer.Plain(strings.Join(e.Tail, " / "))
}

// Found is an error that becomes a problem as it is: it is found while a host is reached.
type Found struct{ Check, Message, Remedy string }

func (e *Found) Error() string { return e.Message + " (" + e.Remedy + ")" }

// Unjoin lists the errors that errors.Join put together, at any depth.
func Unjoin(err error) []error {
	if err == nil {
		return nil
	}
	if j, ok := err.(interface{ Unwrap() []error }); ok {
		if _, single := err.(*host.Error); !single {
			var out []error
			for _, e := range j.Unwrap() {
				out = append(out, Unjoin(e)...)
			}
			return out
		}
	}
	return []error{err}
}
