package support

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/sealbuild/sealbuild/ground/count"
	"github.com/sealbuild/sealbuild/installer/preflight"
	"github.com/sealbuild/sealbuild/installer/status"
)

// Severities of troubleshoot.sh.
const (
	isError = "error"
	isWarn  = "warn"
	isFine  = "debug"
)

// finding is an entry of analysis.json, in the form of troubleshoot.sh.
type finding struct {
	Name         string            `json:"name"`
	Labels       map[string]string `json:"labels"`
	Insight      insight           `json:"insight"`
	Severity     string            `json:"severity"`
	AnalyzerSpec string            `json:"analyzerSpec"`
	Error        string            `json:"error,omitempty"`
}

type insight struct {
	Name     string `json:"name"`
	Primary  string `json:"primary"`
	Detail   string `json:"detail"`
	Severity string `json:"severity"`
}

var noWord = regexp.MustCompile(`[^a-z0-9]+`)

func newFinding(severity, title, detail string) finding {
	name := strings.Trim(noWord.ReplaceAllString(strings.ToLower(title), "."), ".")
	f := finding{Name: name, Labels: map[string]string{"desiredPosition": "1"}, Severity: severity, Insight: insight{name, title, detail, severity}}
	if severity == isError {
		f.Error = detail
	}
	return f
}

// mostSkew is how far clocks may differ: beyond that certificates and leases fail, and the preflight refuses hosts.
const mostSkew = 30 * time.Second

// findings judge what was collected: the worst come first.
func (b *bundle) findings() []finding {
	out := []finding{}
	add := func(severity, title, format string, args ...any) {
		out = append(out, newFinding(severity, title, fmt.Sprintf(format, args...)))
	}
	for _, h := range b.hosts {
		switch {
		case !h.Reached:
			add(isError, "host "+h.Host, "it could not be asked")
		case h.Missing > 0:
			add(isWarn, "host "+h.Host, "%s of what it was asked %s missing", count.Of(h.Missing, "part"), count.Word(h.Missing, "is", "are"))
		}
		if h.facts == nil && h.HasClock && h.Offset.Abs() > mostSkew { // else the preflight judges it
			add(isError, "clock of "+h.Host, "it is %s off the clock of the machine that made this bundle", h.Offset.Round(time.Second))
		}
	}
	for _, p := range b.preflight() {
		out = append(out, ofProblem(p))
	}
	if b.status == nil {
		add(isWarn, "status", "the cluster's status is not known")
	} else {
		out = append(out, judged(*b.status)...)
	}
	rank := map[string]int{isError: 0, isWarn: 1, isFine: 2}
	slices.SortStableFunc(out, func(x, y finding) int { return cmp.Compare(rank[x.Severity], rank[y.Severity]) })
	return out
}

// ofProblem is what stands in the way of a run, or of a cluster, as a finding.
func ofProblem(p preflight.Problem) finding {
	title, severity := p.Check, isError
	if p.Host != "" {
		title += " on " + p.Host
	}
	if p.Warning {
		severity = isWarn
	}
	return newFinding(severity, title, p.Message+"; remedy: "+p.Remedy)
}

// judged are the findings of status.
func judged(s status.Status) (out []finding) {
	add := func(severity, title, detail string) { out = append(out, newFinding(severity, title, detail)) }
	for _, p := range s.Problems {
		out = append(out, ofProblem(p))
	}
	for _, part := range []struct {
		severity, title string
		lines           []string
	}{{isError, "undone", s.Undone}, {isError, "waiting", s.Waiting}, {isWarn, "cause", s.Causes}, {isWarn, "warning", s.Warnings}} {
		for _, l := range part.lines {
			add(part.severity, part.title, l)
		}
	}
	for _, p := range s.Pods {
		add(isWarn, "pod "+p.Name, p.Why)
	}
	if s.Ready {
		add(isFine, "cluster "+s.Cluster, "it is ready")
	}
	if s.Etcd != nil && s.Etcd.Leader && s.Etcd.Matches {
		add(isFine, "etcd", fmt.Sprintf("%s, with a leader", count.Of(len(s.Etcd.Members), "member")))
	}
	return out
}
