package report

import (
	"cmp"
	"math"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/sealbuild/sealbuild/ground/progress"
)

// Recorder makes a report of the events of a run. Its zero value is ready, and it is safe for use by several goroutines.
type Recorder struct {
	mu     sync.Mutex
	of     Report
	checks []string // that were made
	hosts  map[string]*host
	works  map[int64]string // the host of a piece of work that is under way
	last   time.Time
}

type host struct {
	Host
	open int // pieces of work under way
}

// joined is how far apart two times of work may be, in seconds, that count as one.
const joined = 1

// Event takes one event.
func (r *Recorder) Event(e progress.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.hosts == nil {
		r.hosts, r.works = map[string]*host{}, map[int64]string{}
		r.of.Begins = e.Time.UTC()
	}
	r.last = e.Time
	switch e.Kind {
	case progress.AskedFor:
		if e.Asked != nil {
			r.of.Asked = *e.Asked
		}
	case progress.StepBegins:
		r.of.Steps = append(r.of.Steps, Step{Name: e.Step, Title: e.Title, From: r.at(e)})
	case progress.StepEnds:
		if s := r.step(); s != nil {
			s.Seconds, s.Changes, s.Note, s.Error, s.Hosts = e.Seconds, e.Changes, e.Note, e.Error, e.Hosts
		}
	case progress.Hosts:
		for _, address := range e.Hosts {
			r.host(address)
		}
	case progress.WorkBegins:
		r.begins(e)
	case progress.WorkEnds:
		r.ends(e)
	case progress.Changed:
		r.changed(e)
	case progress.HostIs:
		if e.About != nil {
			r.host(e.Host).About = *e.About
		}
	case progress.Checked:
		r.checks = e.Checks
		r.of.Checks = &Checks{Hosts: e.Hosts, Passed: []string{}}
	case progress.Problem:
		r.problem(e)
	case progress.Warning:
		r.of.Warnings = r.told(r.of.Warnings, e)
	case progress.Info:
		r.of.Notes = r.told(r.of.Notes, e)
	case progress.Ends:
		r.of.Seconds, r.of.Changes, r.of.Error, r.of.Remedy, r.of.Log = round(e.Seconds), e.Changes, e.Error, e.Remedy, e.Log
	}
}

// Report is the report of the events so far.
func (r *Recorder) Report() Report {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := r.of
	out.Version = Version
	out.Steps, out.Hosts = append([]Step{}, r.of.Steps...), []Host{}
	now := round(r.last.Sub(r.of.Begins).Seconds())
	counted := 0
	for i, s := range out.Steps {
		if s.Seconds == 0 && i == len(out.Steps)-1 { // cut off in its midst
			out.Steps[i].Seconds = round(now - s.From)
		}
		counted += s.Changes
	}
	onHosts := 0
	for _, h := range r.hosts {
		out.Hosts = append(out.Hosts, r.finished(h, now))
		onHosts += h.HostChanges()
	}
	// A step that fails may have changed hosts and not say how much.
	out.Changes = max(out.Changes, counted, onHosts)
	slices.SortFunc(out.Hosts, byAddress)
	if out.Checks != nil {
		passed := *out.Checks
		passed.Passed = slices.DeleteFunc(slices.Clone(r.checks), func(check string) bool {
			return slices.ContainsFunc(out.Problems, func(p Problem) bool { return p.Check == check })
		})
		out.Checks = &passed
	}
	switch {
	case out.Error == "":
		out.Outcome = Done
	case out.Changes == 0 && slices.ContainsFunc(out.Problems, func(p Problem) bool { return p.Stops }):
		out.Outcome = Refused
	default:
		out.Outcome = Failed
	}
	return out
}

// finished is a host as it is in the report. Work that failed in a step that did not was tried again, or did not matter.
func (r *Recorder) finished(h *host, now float64) Host {
	out := h.Host
	out.Work = slices.Clone(h.Work)
	failed := false
	for i, s := range out.Work {
		if s.To < s.From {
			out.Work[i].To = now
		}
		at := slices.IndexFunc(r.of.Steps, func(o Step) bool { return o.Name == s.Step })
		out.Work[i].Failed = s.Failed && at >= 0 && r.of.Steps[at].Error != ""
		failed = failed || out.Work[i].Failed
	}
	if !failed {
		out.Error = ""
	}
	return out
}

// byAddress puts the machine that made the run first, then hosts by the number of their address.
func byAddress(a, b Host) int {
	x, failed := netip.ParseAddr(a.Address)
	y, too := netip.ParseAddr(b.Address)
	if failed != nil || too != nil {
		return cmp.Compare(a.Address, b.Address)
	}
	return x.Compare(y)
}

func (r *Recorder) at(e progress.Event) float64 { return round(e.Time.Sub(r.of.Begins).Seconds()) }

// round leaves milliseconds.
func round(seconds float64) float64 { return math.Round(max(seconds, 0)*1000) / 1000 }

// step is the one that began last; nil before the first.
func (r *Recorder) step() *Step {
	if len(r.of.Steps) == 0 {
		return nil
	}
	return &r.of.Steps[len(r.of.Steps)-1]
}

func (r *Recorder) stepName() string {
	if s := r.step(); s != nil {
		return s.Name
	}
	return ""
}

func (r *Recorder) host(address string) *host {
	h := r.hosts[address]
	if h == nil {
		h = &host{Host: Host{Address: address}}
		r.hosts[address] = h
	}
	return h
}

// begins opens a time of work, unless the host is at work already.
func (r *Recorder) begins(e progress.Event) {
	h, step := r.host(e.Host), r.stepName()
	r.works[e.Work] = e.Host
	if h.open++; h.open > 1 {
		return
	}
	at := r.at(e)
	if last := len(h.Work) - 1; last >= 0 && h.Work[last].Step == step && at-h.Work[last].To <= joined && !h.Work[last].Failed {
		h.Work[last].To = -1
		return
	}
	h.Work = append(h.Work, Span{Step: step, From: at, To: -1})
}

func (r *Recorder) ends(e progress.Event) {
	address, known := r.works[e.Work]
	if !known {
		return
	}
	delete(r.works, e.Work)
	h := r.hosts[address]
	if e.Error != "" {
		h.Error = strings.TrimPrefix(e.Error, address+": ") // of the outermost piece of work in the end, which says most
	}
	if h.open--; h.open > 0 {
		return
	}
	last := &h.Work[len(h.Work)-1]
	last.To, last.Failed = r.at(e), e.Error != ""
}

func (r *Recorder) changed(e progress.Event) {
	h, step := r.host(e.Host), r.stepName()
	i := slices.IndexFunc(h.Changes, func(c Changes) bool { return c.Step == step })
	if i < 0 {
		i, h.Changes = len(h.Changes), append(h.Changes, Changes{Step: step})
	}
	h.Changes[i].Changes += e.Changes
}

// problem notes a problem; hosts that have the same one stand together.
func (r *Recorder) problem(e progress.Event) {
	p := Problem{Check: e.Check, Text: e.Text, Remedy: e.Remedy, Stops: e.Stops}
	i := slices.IndexFunc(r.of.Problems, func(o Problem) bool {
		return o.Check == p.Check && o.Text == p.Text && o.Remedy == p.Remedy && o.Stops == p.Stops
	})
	if i < 0 {
		i, r.of.Problems = len(r.of.Problems), append(r.of.Problems, p)
	}
	if at := &r.of.Problems[i]; e.Host != "" && !slices.Contains(at.Hosts, e.Host) {
		at.Hosts = append(at.Hosts, e.Host)
	}
}

// told notes something that was told; hosts of which the same is told stand together.
func (r *Recorder) told(all []Told, e progress.Event) []Told {
	i := slices.IndexFunc(all, func(t Told) bool { return t.Text == e.Text && (len(t.Hosts) > 0) == (e.Host != "") })
	if i < 0 {
		i, all = len(all), append(all, Told{At: r.at(e), Text: e.Text})
	}
	if e.Host != "" && !slices.Contains(all[i].Hosts, e.Host) {
		all[i].Hosts = append(all[i].Hosts, e.Host)
	}
	return all
}
