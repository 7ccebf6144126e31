package record

import (
	"encoding/xml"
	"fmt"
	"io"
	"regexp"
	"strings"
	"time"
)

// Measures of the picture, in its own units.
const (
	letter  = 8  // width of a letter
	advance = 18 // from line to line
	margin  = 14
)

// How long the picture moves, and how long its end stands still.
const (
	longest = 60 * time.Second
	still   = 6 * time.Second
)

// typed is a line that somebody has typed, heads is one that begins a chapter.
var (
	typed = regexp.MustCompile(`^(?:[a-z0-9.-]+# |\$ )`)
	heads = regexp.MustCompile(`^=== `)
)

// shown are the moments at which lines appear in the picture: without long pauses, and all of it within the longest time.
func (r *Recorder) shown() []time.Duration {
	var out []time.Duration
	var at, before time.Duration
	for _, l := range r.lines {
		at += min(l.at-before, idle)
		before = l.at
		out = append(out, at)
	}
	if end := out[len(out)-1]; end > longest {
		for i := range out {
			out[i] = time.Duration(float64(out[i]) * float64(longest) / float64(end))
		}
	}
	return out
}

// svg writes a picture of a terminal. All lines stand below each other behind a window, and move up when one comes. What
// moves nothing shows the end.
func (r *Recorder) svg(w io.Writer) error {
	times := r.shown()
	whole := times[len(times)-1] + still
	// above is how far all lines are moved when n of them are to be seen, the last one at the bottom of the window.
	above := func(n int) int { return (rows - n) * advance }
	var b strings.Builder
	width, height := columns*letter+2*margin, rows*advance+2*margin
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %d %d" role="img">`+"\n", width, height, width, height)
	fmt.Fprintf(&b, "<title>%s</title>\n<style>\n", escaped(r.title))
	b.WriteString("text{font:13px ui-monospace,Menlo,Consolas,'DejaVu Sans Mono',monospace;fill:#d5d8dc;white-space:pre}\n" +
		".t{fill:#8ee08e}.h{fill:#f2c94c}\n")
	fmt.Fprintf(&b, ".all{transform:translateY(%dpx);animation:all %.3fs step-end infinite}\n", above(len(times)), whole.Seconds())
	b.WriteString("@media (prefers-reduced-motion:reduce){.all{animation:none}}\n@keyframes all{\n")
	for i, at := range times {
		if i+1 < len(times) && times[i+1] == at {
			continue // a later line comes at the same moment
		}
		fmt.Fprintf(&b, "%.3f%%{transform:translateY(%dpx)}\n", 100*at.Seconds()/whole.Seconds(), above(i+1))
	}
	fmt.Fprintf(&b, "100%%{transform:translateY(%dpx)}\n}\n</style>\n", above(len(times)))
	fmt.Fprintf(&b, `<rect width="%d" height="%d" rx="8" fill="#15181c"/>`+"\n", width, height)
	fmt.Fprintf(&b, `<svg x="%d" y="%d" width="%d" height="%d"><g class="all">`+"\n", margin, margin, columns*letter, rows*advance)
	for i, l := range r.lines {
		class := ""
		switch {
		case typed.MatchString(l.text):
			class = ` class="t"`
		case heads.MatchString(l.text):
			class = ` class="h"`
		}
		if l.text != "" {
			fmt.Fprintf(&b, `<text%s y="%d" textLength="%d" lengthAdjust="spacingAndGlyphs">%s</text>`+"\n", class, i*advance+advance-5, len([]rune(l.text))*letter, escaped(l.text))
		}
	}
	b.WriteString("</g></svg>\n</svg>\n")
	_, err := io.WriteString(w, b.String())
	return err
}

func escaped(s string) string {
	var b strings.Builder
	_ = xml.EscapeText(&b, []byte(s)) // into memory
	return b.String()
}
