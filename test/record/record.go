// Package record keeps what a program prints, line by line with its time, and writes it as an asciicast (version 2, which asciinema
// plays) and as a picture that moves in any browser, without a script.
package record

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"time"
	"unicode"
)

// The terminal that is shown.
const (
	columns = 120
	rows    = 32
)

// Recorder is a writer that remembers.
type Recorder struct {
	title string
	from  string // recording begins with the line that has this text
	hide  *strings.Replacer
	now   func() time.Time

	mu    sync.Mutex
	begun time.Time
	rest  []byte // of a line that has not ended
	lines []line
}

type line struct {
	at   time.Duration // since the first
	text string
}

// New begins a recording that shows nothing before the line that has the text from. Of hide each first text is replaced by the
// second one after it: names of this machine are nobody's business.
func New(title, from string, hide ...string) *Recorder {
	return &Recorder{title: title, from: from, hide: strings.NewReplacer(hide...), now: time.Now}
}

// Write never fails.
func (r *Recorder) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.rest = append(r.rest, p...)
	for {
		text, rest, ended := bytes.Cut(r.rest, []byte{'\n'})
		if !ended {
			return len(p), nil
		}
		r.line(string(text))
		r.rest = bytes.Clone(rest)
	}
}

// escapes are the sequences that colour a terminal or move its cursor.
var escapes = regexp.MustCompile("\x1b\\[[0-9;?]*[A-Za-z]|\x1b[()][A-Z0-9]")

func (r *Recorder) line(text string) {
	now := r.now()
	if r.begun.IsZero() {
		if !strings.Contains(text, r.from) {
			return
		}
		r.begun = now
	}
	text = strings.TrimRight(text, "\r")
	text = text[strings.LastIndexByte(text, '\r')+1:] // what a terminal would show at the end
	text = strings.ReplaceAll(escapes.ReplaceAllString(text, ""), "\t", "    ")
	text = strings.Map(func(c rune) rune {
		if unicode.IsControl(c) {
			return -1
		}
		return c
	}, strings.ToValidUTF8(text, "?"))
	runes := []rune(r.hide.Replace(text))
	for len(runes) > columns {
		r.lines = append(r.lines, line{now.Sub(r.begun), string(runes[:columns])})
		runes = runes[columns:]
	}
	r.lines = append(r.lines, line{now.Sub(r.begun), string(runes)})
}

// Save writes NAME.cast and NAME.svg into a directory.
func (r *Recorder) Save(dir, name string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.lines) == 0 {
		return fmt.Errorf("nothing was recorded: no line has %q", r.from)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for ending, write := range map[string]func(io.Writer) error{".cast": r.cast, ".svg": r.svg} {
		var b bytes.Buffer
		if err := write(&b); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, name+ending), b.Bytes(), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// idle is the longest pause that is shown; the times in a cast stay those that were.
const idle = 2 * time.Second

// cast writes an asciicast, version 2.
func (r *Recorder) cast(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	header := map[string]any{
		"version": 2, "width": columns, "height": rows, "timestamp": r.begun.Unix(), "title": r.title, "idle_time_limit": idle.Seconds(),
	}
	if err := e.Encode(header); err != nil {
		return err
	}
	for _, l := range r.lines {
		if err := e.Encode([]any{float64(l.at.Milliseconds()) / 1000, "o", l.text + "\r\n"}); err != nil {
			return err
		}
	}
	return nil
}
