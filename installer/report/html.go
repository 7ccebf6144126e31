package report

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/sealbuild/sealbuild/ground/count"
	"github.com/sealbuild/sealbuild/ground/page"
	"github.com/sealbuild/sealbuild/ground/progress"
)

//go:embed report.html
var body string

var form = page.New(body)

// JSON is the report as a document, with a line of its own for each field.
func (r Report) JSON() ([]byte, error) {
	text, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		return nil, fmt.Errorf("encode the report: %w", err)
	}
	return append(text, '\n'), nil
}

// HTML is the report as a page for persons.
func (r Report) HTML() ([]byte, error) {
	return form.Page(r.Title(), view{r})
}

// Title names the run in a line.
func (r Report) Title() string {
	return fmt.Sprintf("cluster %s: %s %s", r.Asked.Cluster, r.Asked.Verb, r.Outcome)
}

// view is what the page asks of a report.
type view struct{ Report }

// Look is the class of the outcome.
func (v view) Look() string {
	if v.Outcome == Done {
		return "ok"
	}
	return "failed"
}

// Ended says how the run ended, in a sentence.
func (v view) Ended() string {
	switch {
	case v.Record != nil && len(v.Steps) == 0:
		return "No run of this cluster has left a report here: this is what is recorded."
	case v.Outcome == Refused:
		return "Refused before any host was changed."
	case v.Outcome == Failed && v.Changes == 0:
		return "Failed. Nothing was changed."
	case v.Outcome == Failed:
		return fmt.Sprintf("Failed after %s.", count.Of(v.Changes, "change"))
	case v.Changes == 0:
		return "All was as asked, nothing was changed."
	}
	return fmt.Sprintf("Done, with %s.", count.Of(v.Changes, "change"))
}

// Command is what was typed, as far as it is told.
func (v view) Command() string {
	var out []string
	for _, arg := range append([]string{"sealinstall", v.Asked.Verb}, v.Asked.Args...) {
		if arg == "" || strings.ContainsAny(strings.ReplaceAll(arg, "******", ""), " \t\n'\"$\\*?&|;<>()`") {
			arg = "'" + strings.ReplaceAll(arg, "'", `'\''`) + "'"
		}
		out = append(out, arg)
	}
	return strings.Join(out, " ")
}

// Signature says who signed the bundle.
func (v view) Signature() string {
	switch b := v.Asked.Bundle; {
	case b.Signer != "":
		return "signed by " + b.Signer + ", whom this machine trusts; key " + b.Key
	case b.Key != "":
		return "signed with the key " + b.Key + "; this machine was told of no keys to trust, so nobody has judged it"
	}
	return "not signed"
}

// Images are the images of the bundle that are cluster images, or those that are not.
func (v view) Images(cluster bool) []progress.Image {
	if v.Asked.Bundle == nil {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(v.Asked.Bundle.Images), func(i progress.Image) bool { return (i.Kind != "") != cluster })
}

// FailedStep is the step that failed; nil if none did.
func (v view) FailedStep() *Step {
	for i, s := range v.Steps {
		if s.Error != "" {
			return &v.Steps[i]
		}
	}
	return nil
}

// whole is the time that the pictures show, in seconds.
func (v view) whole() float64 {
	whole := v.Seconds
	for _, s := range v.Steps {
		whole = max(whole, s.From+s.Seconds)
	}
	for _, h := range v.Hosts {
		for _, w := range h.Work {
			whole = max(whole, w.To)
		}
	}
	return max(whole, 0.001)
}

// Scale is the marks below the pictures.
func (v view) Scale() []string {
	var out []string
	for i := range 5 {
		out = append(out, page.Took(v.whole()*float64(i)/4))
	}
	return out
}

// StepBars is the picture of a step.
func (v view) StepBars(i int) []page.Bar {
	s := v.Steps[i]
	look := shade(i)
	if s.Error != "" {
		look = "failed"
	}
	return []page.Bar{{From: s.From / v.whole(), To: (s.From + s.Seconds) / v.whole(), Look: look, Says: s.Name + ": " + page.Took(s.Seconds)}}
}

// HostBars is the picture of a host.
func (v view) HostBars(h Host) []page.Bar {
	var out []page.Bar
	for _, w := range h.Work {
		look := shade(slices.IndexFunc(v.Steps, func(s Step) bool { return s.Name == w.Step }))
		if w.Failed {
			look = "failed"
		}
		out = append(out, page.Bar{From: w.From / v.whole(), To: w.To / v.whole(), Look: look, Says: w.Step + ": " + page.Took(w.To-w.From)})
	}
	return out
}

// shade tells steps apart that follow each other.
func shade(step int) string {
	if step%2 == 1 {
		return "other"
	}
	return "ok"
}

// Busy is how long a host was at work.
func (v view) Busy(h Host) (seconds float64) {
	for _, w := range h.Work {
		seconds += w.To - w.From
	}
	return seconds
}

// Name names a host.
func (v view) Name(h Host) string {
	if h.Address == "" {
		return "this machine"
	}
	return h.Address
}

// Real are the hosts without the machine that made the run.
func (v view) Real() []Host {
	return slices.DeleteFunc(slices.Clone(v.Hosts), func(h Host) bool { return h.Address == "" })
}

// FailedHosts are those for which a step failed.
func (v view) FailedHosts() []Host {
	return slices.DeleteFunc(v.Real(), func(h Host) bool { return h.Error == "" })
}

// OnHosts names hosts: all of them by a word, many by how many there are.
func (v view) OnHosts(hosts []string) string {
	const most = 12
	switch all := len(v.Real()); {
	case len(hosts) == 0:
		return ""
	case len(hosts) == all && all > 1:
		return fmt.Sprintf("all %d hosts", all)
	case len(hosts) > most:
		return fmt.Sprintf("%s and %d more", strings.Join(hosts[:most], ", "), len(hosts)-most)
	}
	return strings.Join(hosts, ", ")
}

// Warned are the warnings that are not among the problems.
func (v view) Warned() []Told {
	return slices.DeleteFunc(slices.Clone(v.Warnings), func(w Told) bool {
		return slices.ContainsFunc(v.Problems, func(p Problem) bool { return strings.Contains(w.Text, p.Text) })
	})
}

// ends are certificates that lie on hosts alike.
type ends struct {
	progress.Certificate
	Hosts []string
}

// Certificates are those of all hosts, the first to end first; those of one place that end on one day stand together.
func (v view) Certificates() []ends {
	var out []ends
	for _, h := range v.Hosts {
		for _, c := range h.About.Certificates {
			i := slices.IndexFunc(out, func(e ends) bool {
				return e.Path == c.Path && e.Ends.Format(time.DateOnly) == c.Ends.Format(time.DateOnly)
			})
			switch {
			case i < 0:
				i, out = len(out), append(out, ends{Certificate: c})
			case out[i].Subject != c.Subject:
				out[i].Subject = "its host"
			}
			out[i].Hosts = append(out[i].Hosts, h.Address)
		}
	}
	slices.SortStableFunc(out, func(a, b ends) int { return a.Ends.Compare(b.Ends) })
	return out
}

// Day is a day in UTC.
func (v view) Day(t time.Time) string { return t.UTC().Format(time.DateOnly) }
