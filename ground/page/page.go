// Package page makes a page that is one file: HTML with its look in it and no script, for a site where nothing can be fetched, for
// windows of any width, and for paper.
//
// The words of the look, as classes: ok, failed, warning (of a badge, a box, a bar or a text), waits and other (of a bar); badge;
// box; muted; facts (a dl of names and values); rows (a list: a name, bars, a figure; wide where names are long), with scale for
// one of its rows. Cells are num (a number), whole (no word is broken), nowrap (one line) or name (room for a long name). A cell's
// data-h is the name of its column: a narrow window shows cells one below the other.
package page

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"fmt"
	"html/template"
	"time"

	"github.com/dustin/go-humanize"

	"github.com/sealbuild/sealbuild/ground/count"
)

//go:embed look.css
var look string

//go:embed page.html
var frame string

// Form is what the body of a page looks like, whatever it tells.
type Form struct{ all *template.Template }

// New parses a body: a text of html/template with these functions beside its own:
//
//	size N      bytes, as 1.2 GiB
//	took S      seconds, as 0.4 s, 3 m 05 s
//	when T      a time.Time in UTC
//	count N T   1 thing, 2 things; of a word that does not end in s with its plural
//	bars B      a []Bar side by side; they fill the width
//
// It panics where the text is none, since the text is part of the program.
func New(body string) Form {
	all := template.Must(template.New("frame").Funcs(template.FuncMap{
		"size": Size, "took": Took, "when": When, "bars": bars, "count": count.Of[int],
		"look": func() template.CSS { return template.CSS(look) }, "lookDigest": func() string { return lookDigest },
	}).Parse(frame))
	template.Must(all.New("body").Parse(body))
	return Form{all}
}

// lookDigest is what allows the browser this one style, and nothing else that a text may have brought in.
var lookDigest = func() string {
	sum := sha256.Sum256([]byte(look))
	return base64.StdEncoding.EncodeToString(sum[:])
}()

// Page gives the file. Data goes to the body as it is: see [Masked].
func (f Form) Page(title string, data any) ([]byte, error) {
	var out bytes.Buffer
	if err := f.all.ExecuteTemplate(&out, "frame", struct {
		Title string
		Data  any
	}{title, data}); err != nil {
		return nil, fmt.Errorf("write the page %q: %w", title, err)
	}
	return out.Bytes(), nil
}

// Bar is a bar in a row of them. From and To are shares of the row's width, 0 to 1. A bar has a visible width, however short it is.
type Bar struct {
	From, To float64
	Look     string // a class: ok, failed, warning, waits
	Says     string // what it stands for; a browser shows it at the bar
}

// barHeight is in pixels.
const barHeight = 14

// bars draws a row of bars. They are shapes, since a printer leaves out backgrounds.
func bars(all []Bar) template.HTML {
	var out bytes.Buffer
	fmt.Fprintf(&out, `<svg class="bars" width="100%%" height="%d" role="img">`, barHeight)
	for _, b := range all {
		from, to := min(max(b.From, 0), 1), min(max(b.To, 0), 1)
		width := max(to-from, 0.004)
		from = min(from, 1-width)
		fmt.Fprintf(
			&out, `<rect class="%s" x="%.2f%%" width="%.2f%%" height="%d"><title>%s</title></rect>`,
			template.HTMLEscapeString(b.Look), 100*from, 100*width, barHeight, template.HTMLEscapeString(b.Says),
		)
	}
	out.WriteString("</svg>")
	return template.HTML(out.String())
}

// Size is a number of bytes as persons read it.
func Size(n int64) string { return humanize.IBytes(uint64(max(n, 0))) }

// Took is a time in seconds as persons read it.
func Took(seconds float64) string {
	d := time.Duration(seconds * float64(time.Second))
	switch {
	case d < 10*time.Second:
		return fmt.Sprintf("%.1f s", d.Seconds())
	case d < time.Minute:
		return fmt.Sprintf("%.0f s", d.Seconds())
	}
	d = d.Round(time.Second)
	if d < time.Hour {
		return fmt.Sprintf("%d m %02d s", d/time.Minute, d%time.Minute/time.Second)
	}
	return fmt.Sprintf("%d h %02d m", d/time.Hour, d%time.Hour/time.Minute)
}

// When is a time in UTC; empty for none.
func When(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format("2006-01-02 15:04:05 UTC")
}
