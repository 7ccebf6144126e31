package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/dustin/go-humanize"
	"golang.org/x/term"
)

// progress shows what goes on: on a terminal one line that changes, elsewhere a plain line at the start and the end of a phase and
// every ten seconds. It also takes the output of the build, which goes above the changing line.
type progress struct {
	w        io.Writer
	terminal bool
	quiet    bool
	every    time.Duration

	mu      sync.Mutex
	phase   string
	total   int64
	done    int64
	began   time.Time
	shown   time.Time
	drawn   bool // the changing line is on the screen
	pending bytes.Buffer
}

func newProgress(w io.Writer, quiet bool) *progress {
	p := &progress{w: w, quiet: quiet, every: 10 * time.Second}
	if f, ok := w.(*os.File); ok && term.IsTerminal(int(f.Fd())) && os.Getenv("TERM") != "dumb" {
		p.terminal, p.every = true, 100*time.Millisecond
	}
	return p
}

// Phase begins a phase and ends the one before.
func (p *progress) Phase(name string, total int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.close()
	p.phase, p.total, p.done = name, total, 0
	p.began = time.Now()
	p.shown = p.began
	if !p.quiet && !p.terminal {
		fmt.Fprintln(p.w, name)
	}
	p.draw()
}

// Expect adds bytes to the phase.
func (p *progress) Expect(n int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.total += n
}

// Advance counts bytes of the phase.
func (p *progress) Advance(n int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.done += n
	if now := time.Now(); now.Sub(p.shown) >= p.every {
		p.shown = now
		p.draw()
	}
}

// Note prints a warning; also when quiet.
func (p *progress) Note(text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.above("warning: " + text + "\n")
}

// say prints a result.
func (p *progress) say(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.close()
	if !p.quiet {
		fmt.Fprintf(p.w, format+"\n", args...)
	}
}

// Write takes the build's output, whole lines at a time.
func (p *progress) Write(data []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.pending.Write(data)
	if end := bytes.LastIndexByte(p.pending.Bytes(), '\n'); end >= 0 {
		p.above(string(p.pending.Next(end + 1)))
	}
	return len(data), nil
}

func (p *progress) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.close()
	if p.pending.Len() > 0 {
		fmt.Fprintln(p.w, p.pending.String())
		p.pending.Reset()
	}
}

// close ends a phase with its figures.
func (p *progress) close() {
	if p.phase == "" {
		return
	}
	p.clear()
	if !p.quiet && (p.done > 0 || p.terminal) {
		fmt.Fprintln(p.w, p.line(true))
	}
	p.phase = ""
}

// above prints text where the changing line was, and that line below it.
func (p *progress) above(text string) {
	p.clear()
	fmt.Fprint(p.w, text)
	if p.terminal {
		p.draw()
	}
}

func (p *progress) clear() {
	if p.drawn {
		fmt.Fprint(p.w, "\r\x1b[K")
		p.drawn = false
	}
}

func (p *progress) draw() {
	switch {
	case p.quiet || p.phase == "":
	case p.terminal:
		fmt.Fprint(p.w, "\r\x1b[K"+p.line(false))
		p.drawn = true
	case p.done > 0:
		fmt.Fprintln(p.w, p.line(false))
	}
}

// line is the phase with its bytes, rate and, until it is over, time to go.
func (p *progress) line(over bool) string {
	var b strings.Builder
	b.WriteString(p.phase)
	elapsed := time.Since(p.began)
	if p.done > 0 {
		b.WriteString(": " + humanize.IBytes(uint64(p.done)))
		if p.total > p.done && !over {
			b.WriteString(" of " + humanize.IBytes(uint64(p.total)))
		}
		rate := float64(p.done) / max(elapsed.Seconds(), 1e-3)
		b.WriteString(", " + humanize.IBytes(uint64(rate)) + "/s")
		if p.total > p.done && !over {
			left := time.Duration(float64(p.total-p.done) / rate * float64(time.Second))
			b.WriteString(", " + left.Round(time.Second).String() + " left")
		}
	}
	if over {
		b.WriteString(", " + elapsed.Round(10*time.Millisecond).String())
	}
	return b.String()
}
