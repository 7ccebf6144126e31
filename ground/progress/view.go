package progress

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/term"
)

// Forms are the values of --progress.
func Forms() []string { return []string{"auto", "plain", "json"} }

// CheckForm tells what is wrong with a value of --progress.
func CheckForm(form string) error {
	if !slices.Contains(Forms(), form) {
		return fmt.Errorf("--progress %q: expected %s", form, strings.Join(Forms(), ", "))
	}
	return nil
}

// View shows events as they come.
type View struct {
	mu     sync.Mutex
	shows  shows
	ends   chan struct{}
	closed bool
}

type shows interface{ event(Event) }

// Open shows events on w in one of the [Forms]: as a table where form is auto and w a terminal that can move its cursor. The table
// is coloured unless $NO_COLOR is set. Close it.
func Open(form string, w io.Writer) *View {
	v := &View{ends: make(chan struct{})}
	f, table := terminal(w)
	switch {
	case form == "json":
		v.shows = newJSON(w)
		v.Event(Event{Time: time.Now(), Kind: Begins, Version: Version})
		return v
	case form == "auto" && table:
		size := func() (int, int) {
			columns, rows, err := term.GetSize(int(f.Fd()))
			if err != nil || columns < 1 || rows < 1 {
				return 80, 24
			}
			return columns, rows
		}
		//docs:env both NO_COLOR: set to anything: no colours
		l := &live{w: w, size: size, colour: os.Getenv("NO_COLOR") == "", state: newState()}
		v.shows = l
		go v.keepUp(l, 250*time.Millisecond)
	default:
		p := newPlain(w)
		v.shows = p
		go v.keepUp(p, time.Second)
	}
	return v
}

// terminal tells whether w is a terminal that can move its cursor.
func terminal(w io.Writer) (*os.File, bool) {
	f, ok := w.(*os.File)
	//docs:env both TERM: with dumb, or without it, lines in place of a table
	return f, ok && term.IsTerminal(int(f.Fd())) && os.Getenv("TERM") != "dumb" && os.Getenv("TERM") != ""
}

// Beside is [Open] for a command that prints a result and is not asked to tell how it comes about: where form is auto and w no
// terminal, nothing is shown.
func Beside(form string, w io.Writer) *View {
	if _, table := terminal(w); form == "auto" && !table {
		return Lines(io.Discard)
	}
	return Open(form, w)
}

// Lines shows events on w as plain lines that come at once: no warning waits for those of other hosts, and nothing is told in
// silence.
func Lines(w io.Writer) *View {
	p := newPlain(w)
	return &View{shows: atOnce{p}, ends: make(chan struct{})}
}

type atOnce struct{ *plain }

func (a atOnce) event(e Event) {
	a.plain.event(e)
	a.close(e.Time)
}

// Event shows one event.
func (v *View) Event(e Event) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.shows.event(e)
}

// keepUp lets time pass.
func (v *View) keepUp(s interface{ tick(time.Time) }, every time.Duration) {
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		select {
		case now := <-ticker.C:
			v.mu.Lock()
			if !v.closed {
				s.tick(now)
			}
			v.mu.Unlock()
		case <-v.ends:
			return
		}
	}
}

// Say tells a line of the program's own where other writing would disturb a table or a stream of JSON. It is false, and nothing was
// said, where there is neither.
func (v *View) Say(text string) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	now := time.Now()
	switch s := v.shows.(type) {
	case *live:
		s.draw(now, []string{text})
	case *jsonLines:
		s.event(Event{Time: now, Kind: Info, Text: text})
	default:
		return false
	}
	return true
}

// Aside lets do write to the terminal, and read from it.
func (v *View) Aside(do func() error) error {
	v.pause(true)
	defer v.pause(false)
	return do()
}

func (v *View) pause(paused bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if p, ok := v.shows.(interface{ pause(bool, time.Time) }); ok {
		p.pause(paused, time.Now())
	}
}

// Close takes the table away. Events that come later are told in plain lines.
func (v *View) Close() {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.closed {
		return
	}
	v.closed = true
	close(v.ends)
	if c, ok := v.shows.(interface{ close(time.Time) }); ok {
		c.close(time.Now())
	}
}
