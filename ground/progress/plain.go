package progress

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/sealbuild/sealbuild/ground/count"
)

// plain writes a line for each step that has ended, each thing that is told, and each ten seconds in which there was nothing to
// tell. Each has the time of the day.
type plain struct {
	w        io.Writer
	state    *state
	warnings warnings
	last     time.Time // when a line was written, or the step began
}

// silence is the longest time without a line while a step is under way.
const silence = 10 * time.Second

func newPlain(w io.Writer) *plain { return &plain{w: w, state: newState()} }

func (p *plain) event(e Event) {
	p.state.take(e)
	switch e.Kind {
	case StepBegins:
		p.last = e.Time
	case Warning:
		p.warnings.add(e)
	case StepEnds:
		p.lines(e.Time, append(p.warnings.all(), outcome(e))...)
	case Info, Output:
		p.lines(e.Time, append(p.warnings.all(), told(e))...)
	case Ends:
		p.lines(e.Time, p.warnings.all()...)
	}
}

func (p *plain) tick(now time.Time) {
	p.lines(now, p.warnings.due(now)...)
	if p.state.step.Kind != "" && now.Sub(p.last) >= silence {
		p.lines(now, strings.TrimRight(head(p.state.step)+" "+p.state.inWords(now), " "))
	}
}

func (p *plain) close(now time.Time) { p.lines(now, p.warnings.all()...) }

// pause tells the warnings that wait: they may be what is asked about.
func (p *plain) pause(_ bool, now time.Time) { p.lines(now, p.warnings.all()...) }

func (p *plain) lines(now time.Time, lines ...string) {
	if len(lines) == 0 {
		return
	}
	p.last = now
	var text strings.Builder
	for _, l := range lines {
		fmt.Fprintf(&text, "%s %s\n", now.Format(time.TimeOnly), l)
	}
	_, _ = io.WriteString(p.w, text.String()) // whoever read may be gone, and there are still the log and the exit status
}

// inWords is what goes on, in one line.
func (s *state) inWords(now time.Time) string {
	all := s.sum(now)
	if len(s.works) == 0 {
		return s.step.Title + ", for " + brief(now.Sub(s.step.Time))
	}
	var parts []string
	if all.hosts > 1 {
		parts = append(parts, fmt.Sprintf("%d of %s at work", all.works, count.Of(all.hosts, "host")))
	}
	if all.of > 0 {
		for _, part := range []string{share(all.bytes, all.of), speed(all.rate)} {
			if part != "" {
				parts = append(parts, part)
			}
		}
		if left := toGo(all.bytes, all.of, all.rate); left != "" {
			parts = append(parts, left+" to go")
		}
	}
	for _, r := range s.slowest(1) {
		w := r.current()
		if w == nil {
			continue // one that has failed
		}
		does := w.Does
		if does == "" {
			does = "at work"
		}
		if r.host != "" {
			does = r.host + ": " + does
		}
		parts = append(parts, does+" for "+brief(now.Sub(w.Time)))
	}
	return strings.Join(parts, ", ")
}
