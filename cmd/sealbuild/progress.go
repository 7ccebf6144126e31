package main

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	show "github.com/sealbuild/sealbuild/ground/progress"
)

// progress shows what goes on: phases, of which each has bytes to move, and the output of the build. Quiet, it shows warnings
// alone.
type progress struct {
	w      io.Writer
	quiet  bool
	json   bool
	start  time.Time
	view   *show.View
	teller show.Teller

	mu      sync.Mutex
	phase   string
	began   time.Time
	work    *show.Work // of the phase
	pending bytes.Buffer
}

func newProgress(form string, w io.Writer, quiet bool) *progress {
	p := &progress{w: w, quiet: quiet, json: form == "json", start: time.Now()}
	if quiet && form == "auto" {
		form = "plain"
	}
	p.view = show.Open(form, w)
	p.teller.Tell, p.teller.Now = p.tell, time.Now
	return p
}

func (p *progress) tell(e show.Event) {
	if p.quiet && e.Kind != show.Warning && e.Kind != show.Ends {
		return
	}
	e.Time = time.Now()
	p.view.Event(e)
}

// does says what a phase does with bytes, by the first word of its name.
var does = map[string]string{
	"pull": "downloads", "build": "downloads", "push": "sends", "write": "writes", "verify": "checks", "leave": "writes",
}

// Phase begins a phase and ends the one before.
func (p *progress) Phase(name string, total int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.close("")
	p.phase, p.began = name, time.Now()
	p.tell(show.Event{Kind: show.StepBegins, Step: name})
	verb, _, _ := strings.Cut(name, " ")
	if what := does[verb]; what != "" {
		p.work = p.teller.Does("", what, total)
	}
}

// Expect adds bytes to the phase.
func (p *progress) Expect(n int64) {
	if w := p.current(); w != nil {
		w.More(n)
	}
}

// Advance counts bytes of the phase.
func (p *progress) Advance(n int64) {
	if w := p.current(); w != nil {
		w.Did(n)
	}
}

func (p *progress) current() *show.Work {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.work
}

// Note prints a warning; also when quiet.
func (p *progress) Note(text string) { p.tell(show.Event{Kind: show.Warning, Text: text}) }

// say prints a result.
func (p *progress) say(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.close("")
	if text := fmt.Sprintf(format, args...); !p.quiet && !p.view.Say(text) {
		fmt.Fprintln(p.w, text)
	}
}

// Write takes the build's output, whole lines at a time.
func (p *progress) Write(data []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.pending.Write(data)
	for {
		end := bytes.IndexByte(p.pending.Bytes(), '\n')
		if end < 0 {
			return len(data), nil
		}
		p.tell(show.Event{Kind: show.Output, Text: strings.TrimRight(string(p.pending.Next(end+1)), "\r\n")})
	}
}

// end ends what is under way, with its error if it has one, and takes the table away.
func (p *progress) end(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.pending.Len() > 0 {
		p.tell(show.Event{Kind: show.Output, Text: p.pending.String()})
		p.pending.Reset()
	}
	why := ""
	if err != nil {
		why = err.Error()
	}
	p.close(why)
	p.view.Close()
}

// close ends a phase with its figures.
func (p *progress) close(why string) {
	if p.phase == "" {
		return
	}
	took, moved := time.Since(p.began), ""
	if p.work != nil {
		moved = show.Moved(p.work.End(why), took)
	}
	p.tell(show.Event{Kind: show.StepEnds, Step: p.phase, Seconds: took.Seconds(), Note: moved, Error: why})
	p.phase, p.work = "", nil
}

// ends tells a program how the run has ended: text is empty, or why it failed. It is false where a person reads.
func (p *progress) ends(text string) bool {
	if p.json {
		p.tell(show.Event{Kind: show.Ends, Seconds: time.Since(p.start).Seconds(), Error: text})
	}
	return p.json
}

// libraries takes what libraries print, which is a warning at least, or asked for.
type libraries struct{ *progress }

func (l libraries) Write(data []byte) (int, error) {
	for line := range strings.Lines(string(data)) {
		l.view.Event(show.Event{Time: time.Now(), Kind: show.Output, Text: strings.TrimRight(line, "\r\n")})
	}
	return len(data), nil
}
