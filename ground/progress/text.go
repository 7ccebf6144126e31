package progress

import (
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/dustin/go-humanize"
)

// head names a step in every line about it.
func head(e Event) string {
	if e.Number == 0 {
		return e.Step
	}
	return fmt.Sprintf("[%2d/%d] %-20s", e.Number, e.Of, e.Step)
}

// outcome is the line about a step that has ended.
func outcome(e Event) string {
	switch {
	case e.Error != "":
		return head(e) + " FAILED after " + Took(e.Seconds)
	case e.Number == 0 && e.Note != "":
		return head(e) + ": " + e.Note + " in " + Took(e.Seconds)
	case e.Number == 0:
		return head(e) + ": done in " + Took(e.Seconds)
	}
	state := "done"
	if e.Changes == 0 {
		state = "ok, nothing to change"
	}
	if e.Note != "" {
		state += " (" + e.Note + ")"
	}
	return head(e) + " " + state + " in " + Took(e.Seconds)
}

// Took writes how long something took, in seconds: tenths of them below a minute, "3m05s" above.
func Took(seconds float64) string {
	if seconds < 60 {
		return fmt.Sprintf("%.1fs", seconds)
	}
	return brief(time.Duration(seconds * float64(time.Second)))
}

// told is the line about what an event of one of the other kinds says; empty where it says nothing to a person.
func told(e Event) string {
	text := e.Text
	if e.Host != "" {
		text = e.Host + ": " + text
	}
	switch {
	case e.Kind == Output && e.Host == "":
		return text // of a program of this machine, as it prints it
	case e.Kind == Info, e.Kind == Output:
		return "        " + text
	case e.Kind == Warning:
		return "warning: " + text
	}
	return ""
}

// named lists at most eight hosts, and how many more there are.
func named(hosts []string) string {
	const most = 8
	if len(hosts) <= most {
		return strings.Join(hosts, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(hosts[:most], ", "), len(hosts)-most)
}

func size(n int64) string { return humanize.IBytes(uint64(max(n, 0))) }

// Moved says how many bytes were moved in a time, and how fast: "1.2 GiB, 50 MiB/s"; empty for none.
func Moved(bytes int64, took time.Duration) string {
	if bytes <= 0 {
		return ""
	}
	text := size(bytes)
	if rate := speed(float64(bytes) / max(took.Seconds(), 1e-3)); rate != "" {
		text += ", " + rate
	}
	return text
}

// share is how far something has come: bytes of bytes, or the bytes alone where nobody knows how many there will be.
func share(done, of int64) string {
	switch {
	case of > 0:
		return size(min(done, of)) + " of " + size(of)
	case done > 0:
		return size(done)
	}
	return ""
}

func speed(rate float64) string {
	if rate < 1 {
		return ""
	}
	return size(int64(rate)) + "/s"
}

// toGo is the time that what is left will take; empty where that cannot be told.
func toGo(done, of int64, rate float64) string {
	if rate < 1 || of <= done {
		return ""
	}
	return brief(time.Duration(float64(of-done) / rate * float64(time.Second)))
}

// brief writes a duration in at most seven characters: 25s, 3m05s, 1h02m, 9d.
func brief(d time.Duration) string {
	d = d.Round(time.Second)
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%ds", d/time.Second)
	case d < time.Hour:
		return fmt.Sprintf("%dm%02ds", d/time.Minute, d%time.Minute/time.Second)
	case d < 100*time.Hour:
		return fmt.Sprintf("%dh%02dm", d/time.Hour, d%time.Hour/time.Minute)
	}
	return fmt.Sprintf("%dd", d/(24*time.Hour))
}

// width is how many columns a text takes at most: every letter that may be wide is taken for wide.
func width(text string) int {
	n := 0
	for _, c := range text {
		if n++; c >= 0x1100 && c != '…' {
			n++
		}
	}
	return n
}

// cut shortens a text to at most n columns, and says so: between words, unless that would leave less than half.
func cut(text string, n int) string {
	if width(text) <= n {
		return text
	}
	for i, c := range slices.Backward([]rune(text)) {
		if before := string([]rune(text)[:i]); c == ' ' && width(before) <= n-2 {
			if 2*width(before) >= n {
				return strings.TrimRight(before, " ,;:(") + " …"
			}
			break
		}
	}
	for text != "" && width(text) > n-1 {
		_, last := utf8.DecodeLastRuneInString(text)
		text = text[:len(text)-last]
	}
	if n < 1 {
		return ""
	}
	return strings.TrimRight(text, " ") + "…"
}

func pad(text string, n int) string { return text + strings.Repeat(" ", max(0, n-width(text))) }

func padLeft(text string, n int) string { return strings.Repeat(" ", max(0, n-width(text))) + text }

// fold breaks lines between words so that none is wider than n columns; what follows of a line is set in by indent.
func fold(text string, n, indent int) []string {
	var out []string
	for line := range strings.SplitSeq(text, "\n") {
		for width(line) > n {
			at := -1
			for i, c := range line {
				if c == ' ' && width(line[:i]) <= n && strings.TrimSpace(line[:i]) != "" {
					at = i
				}
			}
			if at < 0 { // what cannot be broken is left whole, so that it can be copied
				indented := len(line) - len(strings.TrimLeft(line, " "))
				if at = strings.IndexByte(line[indented:], ' '); at < 0 {
					break
				}
				at += indented
			}
			out = append(out, strings.TrimRight(line[:at], " "))
			line = strings.Repeat(" ", indent) + strings.TrimLeft(line[at:], " ")
		}
		out = append(out, line)
	}
	return out
}
