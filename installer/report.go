package installer

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/sealbuild/sealbuild/ground/count"
	"github.com/sealbuild/sealbuild/ground/progress"
)

// Reporter tells the operator what happens, as events for whatever shows them, and writes everything to the log. It is safe for use
// by several goroutines. Values given to [Reporter.Hide] never reach either.
type Reporter struct {
	to      progress.Sink
	log     *slog.Logger
	verbose bool
	masks   *masks
	works   progress.Teller
}

// NewReporter tells in plain lines on out, as they come, and writes structured records to logFile.
// verbose repeats the output of scripts and commands on out.
func NewReporter(out, logFile io.Writer, verbose bool) *Reporter {
	return ReportTo(progress.Lines(out), logFile, verbose)
}

// ReportTo is [NewReporter] for whatever shows events.
func ReportTo(sink progress.Sink, logFile io.Writer, verbose bool) *Reporter {
	masks := newMasks()
	r := &Reporter{
		to: sink,
		// Before anything is encoded: in JSON a secret looks different.
		log:     slog.New(slog.NewJSONHandler(logFile, &slog.HandlerOptions{Level: slog.LevelDebug, ReplaceAttr: masks.attr})),
		verbose: verbose,
		masks:   masks,
	}
	r.works.Tell, r.works.Now = r.tell, time.Now
	return r
}

// Silent is a reporter that tells nobody.
func Silent() *Reporter { return NewReporter(io.Discard, io.Discard, false) }

// Hide masks a secret from now on, wherever a reader could tell that it is one (see masks).
func (r *Reporter) Hide(secret string) { r.masks.add(secret) }

// Mask returns text with all secrets replaced, for messages that leave by another way.
func (r *Reporter) Mask(text string) string { return r.masks.mask(text) }

// EncodeJSON writes v in JSON, as one line, with all secrets replaced.
func (r *Reporter) EncodeJSON(w io.Writer, v any) error {
	text, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode as JSON: %w", err)
	}
	_, err = w.Write(append(r.masks.json(text), '\n'))
	return err
}

// tell hands an event on, without secrets and control characters.
func (r *Reporter) tell(e progress.Event) {
	e.Time = r.works.Now()
	for _, text := range []*string{&e.Title, &e.Note, &e.Error, &e.Does, &e.Text, &e.Remedy} {
		if *text != "" {
			*text = r.masks.mask(Plain(*text))
		}
	}
	r.to.Event(e)
}

func (r *Reporter) begin(i, n int, name, title string) {
	r.log.Info("step begins", "step", name, "number", i, "of", n)
	r.tell(progress.Event{Kind: progress.StepBegins, Step: name, Number: i, Of: n, Title: title})
}

func (r *Reporter) end(i, n int, name string, t Timing, res Result, err error) {
	e := progress.Event{Kind: progress.StepEnds, Step: name, Number: i, Of: n, Seconds: t.Duration.Seconds(), Changes: res.Changes, Note: res.Note}
	if err != nil {
		e.Error, e.Hosts = cmp.Or(Tell(err), "failed"), namedIn(err)
		r.log.Error("step failed", "step", name, "seconds", t.Duration.Seconds(), "error", e.Error)
	} else {
		r.log.Info("step done", "step", name, "seconds", t.Duration.Seconds(), "changes", res.Changes, "note", res.Note)
	}
	r.tell(e)
}

// Infof tells the operator something. A text that begins with an address and a colon is about that host.
func (r *Reporter) Infof(format string, args ...any) {
	msg := Plain(fmt.Sprintf(format, args...))
	r.log.Info(msg)
	host, text := hostAndText(msg)
	r.tell(progress.Event{Kind: progress.Info, Host: host, Text: text})
}

// Warnf warns the operator. A text that begins with an address and a colon is about that host: what several hosts give alike is
// told once.
func (r *Reporter) Warnf(format string, args ...any) {
	msg := Plain(fmt.Sprintf(format, args...))
	r.log.Warn(msg)
	host, text := hostAndText(msg)
	r.tell(progress.Event{Kind: progress.Warning, Host: host, Text: text})
}

func hostAndText(msg string) (host, text string) {
	if before, after, ok := strings.Cut(msg, ": "); ok {
		if _, err := netip.ParseAddr(before); err == nil {
			return before, after
		}
	}
	return "", msg
}

// Asked tells what the operator asks for.
func (r *Reporter) Asked(what progress.Asked) {
	what.Args = slices.Clone(what.Args)
	for i, arg := range what.Args {
		what.Args[i] = r.masks.mask(Plain(arg))
	}
	r.tell(progress.Event{Kind: progress.AskedFor, Asked: &what})
}

// Checked tells which checks hosts went through. Where the output of commands is told, too, it names those that found nothing, so
// that an operator can show that they were made.
func (r *Reporter) Checked(hosts, checks []string, found func(check string) bool) {
	if len(hosts) == 0 {
		return
	}
	r.tell(progress.Event{Kind: progress.Checked, Hosts: hosts, Checks: checks})
	if r.verbose {
		nothing := slices.DeleteFunc(slices.Clone(checks), found)
		r.Infof("%d of %s have found nothing on %s: %s", len(nothing), count.Of(len(checks), "check"), HostList(hosts), strings.Join(nothing, ", "))
	}
}

// Changed tells that so many things were changed on a host, in the step that is under way.
func (r *Reporter) Changed(host string, changes int) {
	if changes > 0 {
		r.tell(progress.Event{Kind: progress.Changed, Host: host, Changes: changes})
	}
}

// HostIs tells what is known of a host at the end of a run.
func (r *Reporter) HostIs(host string, about progress.AboutHost) {
	r.tell(progress.Event{Kind: progress.HostIs, Host: host, About: &about})
}

// Problem tells of something that stands in the way, for programs: persons read it in the error of the run.
func (r *Reporter) Problem(host, check, text, remedy string, stops bool) {
	r.tell(progress.Event{Kind: progress.Problem, Host: host, Check: check, Text: text, Remedy: remedy, Stops: stops})
}

// Begins tells that a command begins which is one step by itself; [Reporter.Ends] ends it.
func (r *Reporter) Begins(name, title string) {
	r.tell(progress.Event{Kind: progress.StepBegins, Step: name, Title: title})
}

// Work is something that a host, or this machine, does for a while.
type Work struct{ *progress.Work }

// Does is [progress.Teller.Does].
func (r *Reporter) Does(host, what string, bytes int64) Work {
	return Work{r.works.Does(host, what, bytes)}
}

// End tells that the work has ended, with its error or without one.
func (w Work) End(err error) { w.Work.End(Tell(err)) }

// About tells which hosts a piece of work is about that begins now on some of them.
func (r *Reporter) About(hosts []string) {
	r.tell(progress.Event{Kind: progress.Hosts, Hosts: hosts})
}

// Ends tells that the run has ended, where its log is, and, with its error, what to do.
func (r *Reporter) Ends(took time.Duration, changes int, log string, err error, remedy string) {
	r.tell(progress.Event{Kind: progress.Ends, Seconds: took.Seconds(), Changes: changes, Log: log, Error: Tell(err), Remedy: remedy})
}

// Output returns a writer that logs a command's output line by line. A line that may end within a secret waits for the next
// one. Close it to flush a last line without its end.
func (r *Reporter) Output(host, step, command string) io.WriteCloser {
	return &lineWriter{masks: r.masks, emit: func(line string) {
		r.log.Debug("output", "host", host, "step", step, "command", command, "line", line)
		if r.verbose {
			r.tell(progress.Event{Kind: progress.Output, Host: host, Step: step, Text: line})
		}
	}}
}

// maxLine bounds what is kept of a line without an end, in bytes.
const maxLine = 64 << 10

type lineWriter struct {
	mu    sync.Mutex
	masks *masks
	buf   []byte
	held  string // whole lines that may end within a secret
	emit  func(string)
}

func (w *lineWriter) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.buf = append(w.buf, p...)
	for {
		i := bytes.IndexByte(w.buf, '\n')
		if i < 0 && len(w.buf) < maxLine {
			return len(p), nil
		}
		if i < 0 {
			i = len(w.buf) - 1
		}
		w.line(strings.TrimRight(string(w.buf[:i+1]), "\r\n"))
		w.buf = w.buf[i+1:]
	}
}

func (w *lineWriter) line(text string) {
	w.held += text
	if len(w.held) < 4*maxLine && w.masks.open(w.held+"\n") {
		w.held += "\n"
		return
	}
	w.flush()
}

func (w *lineWriter) flush() {
	for line := range strings.SplitSeq(w.masks.mask(w.held), "\n") {
		w.emit(Plain(line))
	}
	w.held = ""
}

func (w *lineWriter) Close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.held+string(w.buf) == "" {
		return nil
	}
	w.held = strings.TrimSuffix(w.held+string(w.buf), "\n")
	w.buf = nil
	w.flush()
	return nil
}

// Tail returns the last n lines of text, for messages.
func Tail(text string, n int) string {
	var lines []string
	for s := bufio.NewScanner(strings.NewReader(text)); s.Scan(); {
		if strings.TrimSpace(s.Text()) != "" {
			lines = append(lines, s.Text())
		}
	}
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}
