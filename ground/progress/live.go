package progress

import (
	"fmt"
	"io"
	"strings"
	"time"
)

// live shows a table below all that was told, and draws it again in place. Only the table moves: what has ended stands above it as
// plain lines, which the terminal keeps. No line of the table is as wide as the terminal, so none wraps; the cursor stays visible
// and stands below it between two drawings, so that a program that is killed leaves nothing behind that has to be put right.
type live struct {
	w        io.Writer
	size     func() (columns, rows int)
	colour   bool
	state    *state
	warnings warnings

	drawn   []string // lines of the table on the screen
	columns int      // when they were drawn
	paused  bool
	over    bool // the table is gone for good: what comes is told in plain lines
}

// mostRows is how many hosts the table shows at most, and widest how many columns it takes: farther apart, nobody sees what stands
// in one line.
const (
	mostRows = 10
	widest   = 120
)

func (l *live) event(e Event) {
	l.state.take(e)
	switch e.Kind {
	case StepBegins:
		l.draw(e.Time, l.warnings.all())
	case Warning:
		l.warnings.add(e)
		if l.over {
			l.draw(e.Time, l.warnings.all())
		}
	case StepEnds:
		l.draw(e.Time, append(l.warnings.all(), outcome(e)))
	case Info, Output:
		l.draw(e.Time, append(l.warnings.all(), told(e)))
	case Ends:
		l.draw(e.Time, l.warnings.all())
	}
}

func (l *live) tick(now time.Time) { l.draw(now, l.warnings.due(now)) }

func (l *live) close(now time.Time) {
	l.over = true
	l.draw(now, l.warnings.all())
}

// pause takes the table away for as long as somebody else writes to the terminal.
func (l *live) pause(paused bool, now time.Time) {
	lines := l.warnings.all() // they may be what is asked about
	l.paused = paused
	l.draw(now, lines)
}

// draw writes lines where the table was, and the table below them, in one piece. It writes nothing where nothing has changed.
func (l *live) draw(now time.Time, above []string) {
	columns, rows := l.size()
	var table []string
	if !l.paused && !l.over {
		table = l.state.table(now, columns, rows)
	}
	if len(above) == 0 && columns == l.columns && equal(table, l.drawn) {
		return
	}
	var out strings.Builder
	if n := l.standing(columns); n > 0 {
		fmt.Fprintf(&out, "\r\x1b[%dA", n)
	} else {
		out.WriteString("\r")
	}
	for _, line := range above {
		for _, part := range fold(line, columns-1, 8) {
			out.WriteString(l.paint(part) + "\x1b[K\r\n")
		}
	}
	for i, line := range table {
		if i == 0 && l.colour {
			line = "\x1b[1m" + line + "\x1b[0m"
		}
		out.WriteString(line + "\x1b[K\r\n")
	}
	out.WriteString("\x1b[J")
	l.drawn, l.columns = table, columns
	_, _ = io.WriteString(l.w, out.String()) // the terminal may be gone, and there are still the log and the exit status
}

// standing is how many lines of the screen the table takes now. A terminal that was made narrower has broken those that do not fit.
func (l *live) standing(columns int) (n int) {
	for _, line := range l.drawn {
		n += max(1, (width(line)+columns-1)/columns)
	}
	return n
}

func equal(a, b []string) bool {
	return strings.Join(a, "\n") == strings.Join(b, "\n")
}

// paint colours a line that must not be overlooked.
func (l *live) paint(line string) string {
	switch {
	case !l.colour:
	case strings.HasPrefix(line, "warning: "):
		return "\x1b[33m" + line + "\x1b[0m"
	case strings.HasPrefix(line, "[") && strings.Contains(line, " FAILED after "):
		return "\x1b[31m" + line + "\x1b[0m"
	}
	return line
}

// table is the step that is under way: a line that names it, and one for each host. No line has as many columns as the screen, and
// there are fewer lines than the screen has rows.
func (s *state) table(now time.Time, columns, rows int) []string {
	if s.step.Kind == "" {
		return nil
	}
	columns = min(columns, widest)
	for_ := brief(now.Sub(s.step.Time))
	title := cut(strings.TrimRight(head(s.step)+" "+s.step.Title, " "), columns-len(for_)-3)
	lines := []string{pad(title, columns-len(for_)-1) + for_}
	shown := s.slowest(max(1, min(mostRows, rows-4)))
	if len(s.rows) == 0 || rows < 4 {
		return lines
	}
	c := s.columnsFor(columns)
	if c.share > 0 {
		lines = append(lines, c.line("HOST", "NOW", "DONE", "RATE", "LEFT"))
	}
	for _, r := range shown {
		lines = append(lines, c.of(r, now))
	}
	if len(shown) < len(s.rows) {
		lines = append(lines, s.sumInWords(now, columns-1))
	}
	return lines
}

// layout is how wide the columns of the table are; 0: there is none.
type layout struct{ host, now, share, rate, left int }

// columnsFor lays the table out for all rows, shown or not: columns stay where they are when other hosts are the slowest.
func (s *state) columnsFor(columns int) (c layout) {
	c.host = len("HOST")
	for _, r := range s.rows {
		c.host = max(c.host, width(label(r)))
		for _, w := range r.works {
			if w.Bytes > 0 || w.Done > 0 {
				c.share, c.rate, c.left = len("1023 MiB of 1023 MiB"), len("1023 MiB/s"), len("1h02m")+1
			}
		}
	}
	c.host = min(c.host, max(4, columns/3))
	rest := func() int {
		return columns - 1 - 2 - c.host - 2 - c.share - c.rate - c.left - 2*min(1, c.share) - 2*min(1, c.rate) - 2*min(1, c.left)
	}
	if c.rate > 0 && rest() < 16 {
		c.rate = 0
	}
	if c.share > 0 && rest() < 16 {
		c.share = len("100%")
	}
	if c.now = rest(); c.now < 8 {
		c.share, c.left = 0, 0
		c.now = max(1, rest())
	}
	return c
}

func (c layout) line(host, now, share, rate, left string) string {
	text := "  " + pad(cut(host, c.host), c.host) + "  " + pad(cut(now, c.now), c.now)
	for _, col := range []struct {
		text  string
		width int
	}{{share, c.share}, {rate, c.rate}, {left, c.left}} {
		if col.width > 0 {
			text += "  " + padLeft(cut(col.text, col.width), col.width)
		}
	}
	return strings.TrimRight(text, " ")
}

func label(r *row) string {
	if r.host == "" {
		return "here"
	}
	return r.host
}

// patience is how long a piece of work goes on before the table says for how long.
const patience = 3 * time.Second

func (c layout) of(r *row, now time.Time) string {
	w := r.current()
	if w == nil {
		return c.line(label(r), map[rowState]string{waits: "waits", done: "done", failed: "FAILED"}[r.state], "", "", "")
	}
	does := w.Does
	if does == "" {
		does = "at work"
	}
	if w.Bytes == 0 && w.Done == 0 {
		if over := now.Sub(w.Time); over >= patience {
			for_ := ", " + brief(over)
			does = cut(does, c.now-len(for_)) + for_
		}
		return c.line(label(r), does, "", "", "")
	}
	so := share(w.Done, w.Bytes)
	if c.share == len("100%") {
		so = ""
		if w.Bytes > 0 {
			so = fmt.Sprintf("%d%%", min(w.Done, w.Bytes)*100/w.Bytes)
		}
	}
	rate := w.rate(now)
	return c.line(label(r), does, so, speed(rate), toGo(w.Done, w.Bytes, rate))
}

// sumInWords is what all hosts come to, where the table does not show them all. What has no room in so many columns is left out.
func (s *state) sumInWords(now time.Time, columns int) string {
	all := s.sum(now)
	text := fmt.Sprintf("  all %d hosts:", all.hosts)
	add := func(parts ...string) {
		between := " "
		for _, part := range parts {
			if part != "" && width(text+between+part) <= columns {
				text, between = text+between+part, ", "
			}
		}
	}
	state := func(n int, is string) string {
		if n == 0 {
			return ""
		}
		return fmt.Sprintf("%d %s", n, is)
	}
	add(state(all.failed, "FAILED"), state(all.done, "done"), state(all.works, "at work"), state(all.waits, "waiting"))
	if all.of == 0 {
		return cut(text, columns)
	}
	text += ";"
	left := toGo(all.bytes, all.of, all.rate)
	if left != "" {
		left += " to go"
	}
	add(share(all.bytes, all.of), left, speed(all.rate))
	return cut(strings.TrimSuffix(text, ";"), columns)
}
