package progress

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// state is what the events so far come to.
type state struct {
	step   Event  // that began last; its Kind is empty when none is under way
	rows   []*row // this machine, then hosts by their addresses: none of them changes its place
	byHost map[string]*row
	works  map[int64]*work
	ended  []*work // pieces of work of the step with bytes, for the sums
}

// row is one host in a step.
type row struct {
	host  string
	state rowState
	works []*work // under way, the first one begun first
}

type rowState int

const (
	waits rowState = iota
	atWork
	done
	failed
)

// work is one piece of work.
type work struct {
	Event
	samples []Event // of the last seconds, for the rate; the first one is the oldest
}

// rateWindow is the time over which a rate is measured.
const rateWindow = 10 * time.Second

func newState() *state { return &state{byHost: map[string]*row{}, works: map[int64]*work{}} }

func (s *state) take(e Event) {
	switch e.Kind {
	case StepBegins:
		s.step, s.ended = e, nil
		s.rows = slices.DeleteFunc(s.rows, func(r *row) bool { return len(r.works) == 0 }) // what goes on in the background stays
		clear(s.byHost)
		for _, r := range s.rows {
			s.byHost[r.host] = r
		}
	case StepEnds:
		s.step = Event{}
	case Hosts:
		for _, h := range e.Hosts {
			if r := s.row(h); len(r.works) == 0 {
				r.state = waits
			}
		}
	case WorkBegins:
		e.Does = strings.Join(strings.Fields(e.Does), " ") // a command may have several lines
		w := &work{Event: e, samples: []Event{e}}
		s.works[e.Work] = w
		r := s.row(e.Host)
		r.works, r.state = append(r.works, w), atWork
	case WorkMoves:
		if w := s.works[e.Work]; w != nil {
			w.move(e)
		}
	case WorkEnds:
		s.end(e)
	}
}

func (s *state) end(e Event) {
	w := s.works[e.Work]
	if w == nil {
		return
	}
	delete(s.works, e.Work)
	w.Done, w.Bytes = e.Done, e.Bytes
	if w.Bytes > 0 {
		s.ended = append(s.ended, w)
	}
	r := s.row(w.Host)
	r.works = slices.DeleteFunc(r.works, func(o *work) bool { return o == w })
	switch {
	case len(r.works) > 0: // whoever asked for this piece of work judges whether it matters how it ended
	case e.Error != "":
		r.state = failed
	default:
		r.state = done
	}
}

func (s *state) row(host string) *row {
	r := s.byHost[host]
	if r == nil {
		r = &row{host: host}
		s.byHost[host] = r
		at, _ := slices.BinarySearchFunc(s.rows, host, func(r *row, host string) int { return inOrder(r.host, host) })
		s.rows = slices.Insert(s.rows, at, r)
	}
	return r
}

// inOrder compares hosts by their addresses; names, and no name at all, come before them.
func inOrder(a, b string) int {
	x, _ := netip.ParseAddr(a)
	y, _ := netip.ParseAddr(b)
	return cmp.Or(x.Compare(y), cmp.Compare(a, b))
}

func (w *work) move(e Event) {
	w.Done, w.Bytes = e.Done, e.Bytes
	w.samples = append(w.samples, e)
	for len(w.samples) > 2 && e.Time.Sub(w.samples[1].Time) >= rateWindow {
		w.samples = w.samples[1:]
	}
}

// rate is in bytes a second; 0 while it is not known. A piece of work that has stood still is as slow as that.
func (w *work) rate(now time.Time) float64 {
	first := w.samples[0]
	over := now.Sub(first.Time).Seconds()
	if over < 1 || w.Done <= first.Done {
		return 0
	}
	return float64(w.Done-first.Done) / over
}

// current is what the host does now: the innermost piece of work that says what it is.
func (r *row) current() *work {
	for _, w := range slices.Backward(r.works) {
		if w.Does != "" {
			return w
		}
	}
	if len(r.works) > 0 {
		return r.works[0]
	}
	return nil
}

// sum is what all hosts of a step come to.
type sum struct {
	hosts, waits, works, done, failed int
	bytes, of                         int64
	rate                              float64
}

func (s *state) sum(now time.Time) (all sum) {
	for _, r := range s.rows {
		if r.host != "" {
			all.hosts++
			switch r.state {
			case waits:
				all.waits++
			case atWork:
				all.works++
			case done:
				all.done++
			case failed:
				all.failed++
			}
		}
		for _, w := range r.works {
			all.bytes, all.of, all.rate = all.bytes+w.Done, all.of+w.Bytes, all.rate+w.rate(now)
		}
	}
	for _, w := range s.ended {
		all.bytes, all.of = all.bytes+w.Done, all.of+w.Bytes
	}
	return all
}

// slowest gives at most n rows that say most about when the step will end, in the order of the hosts: this machine, those that
// failed, those whose work has come least far or goes on for longest, those that wait. Those that are done are given where there
// are no more than n.
func (s *state) slowest(n int) []*row {
	if len(s.rows) <= n {
		return s.rows
	}
	ranked := slices.DeleteFunc(slices.Clone(s.rows), func(r *row) bool { return r.state == done })
	if len(ranked) <= n {
		return ranked
	}
	slices.SortStableFunc(ranked, func(a, b *row) int { return cmp.Or(cmp.Compare(a.rank(), b.rank()), a.compare(b)) })
	ranked = ranked[:n]
	return slices.DeleteFunc(slices.Clone(s.rows), func(r *row) bool { return !slices.Contains(ranked, r) })
}

func (r *row) rank() int {
	if r.host == "" {
		return 0
	}
	return map[rowState]int{failed: 1, atWork: 2, waits: 3}[r.state]
}

func (r *row) compare(o *row) int {
	a, b := r.current(), o.current()
	if a == nil || b == nil {
		return 0
	}
	return cmp.Or(cmp.Compare(a.fraction(), b.fraction()), a.Time.Compare(b.Time))
}

func (w *work) fraction() float64 {
	if w.Bytes <= 0 {
		return 0
	}
	return float64(w.Done) / float64(w.Bytes)
}
