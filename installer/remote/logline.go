package remote

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Line is a line of a log.
type Line struct {
	Time time.Time `json:"time"`
	Host string    `json:"host"`
	Unit string    `json:"unit"` // whose log it is
	Text string    `json:"text"`
}

// parseJournal reads an entry of the journal in the form of journalctl -o json. What is none gives false.
func parseJournal(text []byte) (Line, bool) {
	var e struct {
		Time       string          `json:"__REALTIME_TIMESTAMP"` // microseconds since 1970
		Message    json.RawMessage `json:"MESSAGE"`
		Unit       json.RawMessage `json:"_SYSTEMD_UNIT"`
		About      json.RawMessage `json:"UNIT"` // of an entry of systemd itself
		Identifier json.RawMessage `json:"SYSLOG_IDENTIFIER"`
	}
	if json.Unmarshal(text, &e) != nil {
		return Line{}, false
	}
	micros, err := strconv.ParseInt(e.Time, 10, 64)
	if err != nil {
		return Line{}, false
	}
	l := Line{Time: time.UnixMicro(micros).UTC(), Text: journalText(e.Message)}
	for _, field := range []json.RawMessage{e.About, e.Unit, e.Identifier} {
		if l.Unit = strings.TrimSuffix(journalText(field), ".service"); l.Unit != "" {
			break
		}
	}
	return l, true
}

// journalText is the text of a field: a string; a list of bytes where it is no UTF-8; a list of the values of a field that an entry
// has several times.
func journalText(field json.RawMessage) string {
	var text string
	if json.Unmarshal(field, &text) == nil {
		return text
	}
	var raw []uint8
	var values []json.RawMessage
	if json.Unmarshal(field, &values) != nil {
		return ""
	}
	for _, v := range values {
		if n, err := strconv.ParseUint(string(v), 10, 8); err == nil {
			raw = append(raw, byte(n))
		} else if json.Unmarshal(v, &text) == nil {
			return text
		}
	}
	return string(raw)
}

// part is a line of a container's log file, which may be a part of what the container wrote as one.
type part struct {
	time    time.Time
	stream  string // stdout or stderr
	partial bool   // more of the line follows
	text    string
}

// parseContainer reads a line of a container's log file: that of the container runtime interface (time, stream, tags, text), or
// docker's JSON. What is neither gives false.
func parseContainer(text []byte) (part, bool) {
	if bytes.HasPrefix(text, []byte("{")) {
		var e struct {
			Log, Stream string
			Time        time.Time
		}
		if json.Unmarshal(text, &e) != nil || e.Time.IsZero() {
			return part{}, false
		}
		whole, ended := strings.CutSuffix(e.Log, "\n")
		return part{e.Time.UTC(), e.Stream, !ended, whole}, true
	}
	fields := bytes.SplitN(text, []byte(" "), 4)
	if len(fields) < 3 {
		return part{}, false
	}
	at, err := time.Parse(time.RFC3339Nano, string(fields[0]))
	if err != nil {
		return part{}, false
	}
	tag, _, _ := bytes.Cut(fields[2], []byte(":"))
	if stream := string(fields[1]); stream != "stdout" && stream != "stderr" || len(tag) != 1 {
		return part{}, false
	}
	p := part{time: at.UTC(), stream: string(fields[1]), partial: tag[0] == 'P'}
	if len(fields) == 4 {
		p.text = string(fields[3])
	}
	return p, true
}

// fileMark begins a line that says of which directory, or file, the lines that follow are.
const fileMark = "::"

// maxJoined bounds a line that is put together of parts, in bytes.
const maxJoined = 256 << 10

// containerLines puts the lines of containers together from what the host prints.
type containerLines struct {
	unit string
	open map[string]*part // the beginning of a line, by log and stream
}

// line takes a line that the host has printed. It gives false when that ends none of a container.
func (c *containerLines) line(text []byte) (Line, bool) {
	if name, ok := bytes.CutPrefix(text, []byte(fileMark)); ok {
		file, rest, inline := strings.Cut(string(name), " ")
		c.unit = unitOfPath(file)
		if !inline {
			return Line{}, false
		}
		text = []byte(rest)
	}
	p, ok := parseContainer(text)
	if !ok {
		return Line{}, false
	}
	key := c.unit + " " + p.stream
	if before := c.open[key]; before != nil {
		p.time, p.text = before.time, before.text+p.text
		delete(c.open, key)
	}
	if p.partial && len(p.text) < maxJoined {
		if c.open == nil {
			c.open = map[string]*part{}
		}
		c.open[key] = &p
		return Line{}, false
	}
	return Line{Time: p.time, Unit: c.unit, Text: p.text}, true
}

// parseRun reads a line of this machine's log of a run.
func parseRun(text []byte) (Line, bool) {
	var e struct {
		Time                                               time.Time
		Level, Msg, Host, Step, Line, Error, Note, Command string
	}
	if json.Unmarshal(text, &e) != nil || e.Time.IsZero() {
		return Line{}, false
	}
	var words []string
	for _, word := range []string{e.Host, e.Step} {
		if word != "" {
			words = append(words, word)
		}
	}
	said := e.Msg
	if e.Msg == "output" {
		said = e.Line
	} else if e.Error+e.Note != "" {
		said += ": " + strings.TrimSpace(e.Error+" "+e.Note)
	}
	if len(words) > 0 {
		said = strings.Join(words, " ") + ": " + said
	}
	if e.Level == "WARN" {
		said = "warning: " + said
	}
	return Line{Time: e.Time.UTC(), Unit: UnitInstall, Text: said}, true
}

// String is the line for a reader.
func (l Line) String() string {
	return fmt.Sprintf("%s %s %s: %s", l.Time.Format("2006-01-02T15:04:05.000000Z"), l.Host, l.Unit, l.Text)
}

// splitter cuts a stream into lines, and gives each to a function.
type splitter struct {
	take func(line []byte)
	part []byte
}

// maxRaw bounds a line that a host prints, in bytes. Of a longer one the beginning is lost.
const maxRaw = 4 << 20

func (s *splitter) Write(p []byte) (int, error) {
	n := len(p)
	for {
		i := bytes.IndexByte(p, '\n')
		if i < 0 {
			if s.part = append(s.part, p...); len(s.part) > maxRaw {
				s.part = s.part[:0]
			}
			return n, nil
		}
		s.part = append(s.part, p[:i]...)
		s.take(s.part)
		s.part, p = s.part[:0], p[i+1:]
	}
}

// end gives a last line that has no end.
func (s *splitter) end() {
	if len(s.part) > 0 {
		s.take(s.part)
		s.part = nil
	}
}
