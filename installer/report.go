package installer

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"time"
)

// Reporter tells the operator what happens, and writes everything to the log. It is safe for use by several goroutines. Values
// given to [Reporter.Hide] never reach either.
type Reporter struct {
	mu      sync.Mutex
	out     io.Writer
	log     *slog.Logger
	verbose bool
	masks   *masks
}

// NewReporter writes progress to out and structured records to logFile.
// verbose repeats the output of scripts and commands on out.
func NewReporter(out, logFile io.Writer, verbose bool) *Reporter {
	masks := newMasks()
	return &Reporter{
		out: out,
		// Before anything is encoded: in JSON a secret looks different.
		log:     slog.New(slog.NewJSONHandler(logFile, &slog.HandlerOptions{Level: slog.LevelDebug, ReplaceAttr: masks.attr})),
		verbose: verbose,
		masks:   masks,
	}
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

func (r *Reporter) begin(i, n int, name, title string) {
	r.log.Info("step begins", "step", name, "number", i, "of", n)
	r.printf("[%2d/%d] %-20s %s\n", i, n, name, title)
}

func (r *Reporter) end(i, n int, name string, t Timing, res Result, err error) {
	if err != nil {
		r.log.Error("step failed", "step", name, "seconds", t.Duration.Seconds(), "error", Tell(err))
		r.printf("[%2d/%d] %-20s FAILED after %s\n", i, n, name, seconds(t.Duration))
		return
	}
	r.log.Info("step done", "step", name, "seconds", t.Duration.Seconds(), "changes", res.Changes, "note", res.Note)
	state := "done"
	if res.Changes == 0 {
		state = "ok, nothing to change"
	}
	if res.Note != "" {
		state += " (" + res.Note + ")"
	}
	r.printf("[%2d/%d] %-20s %s in %s\n", i, n, name, state, seconds(t.Duration))
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.1fs", d.Seconds()) }

// Infof prints one line for the operator.
func (r *Reporter) Infof(format string, args ...any) {
	msg := Plain(fmt.Sprintf(format, args...))
	r.log.Info(msg)
	r.printf("        %s\n", msg)
}

// Warnf prints one warning for the operator.
func (r *Reporter) Warnf(format string, args ...any) {
	msg := Plain(fmt.Sprintf(format, args...))
	r.log.Warn(msg)
	r.printf("warning: %s\n", msg)
}

func (r *Reporter) printf(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	// An error is passed over: the terminal may be gone, and there are still the log and the exit status.
	_, _ = io.WriteString(r.out, r.masks.mask(fmt.Sprintf(format, args...)))
}

// Output returns a writer that logs a command's output line by line. A line that may end within a secret waits for the next
// one. Close it to flush a last line without its end.
func (r *Reporter) Output(host, step, command string) io.WriteCloser {
	return &lineWriter{masks: r.masks, emit: func(line string) {
		r.log.Debug("output", "host", host, "step", step, "command", command, "line", line)
		if r.verbose {
			r.printf("        %s: %s\n", host, line)
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
