package host

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"io"
	"strconv"
	"strings"
	"sync"
)

// startMark is a random word that a command prints before its own output, on stdout and on stderr. What start-up files of the
// login shell print comes before it. Its halves stand apart on the command line, so that a shell that shows its commands (set
// -x, set -v) does not print it.
type startMark struct{ first, second string }

func newMark() startMark {
	var random [16]byte
	rand.Read(random[:]) // never fails
	text := hex.EncodeToString(random[:])
	return startMark{"sealinstall-" + text[:16], text[16:]}
}

// out is the mark on stdout, errs that on stderr, both at the start of a line.
func (m startMark) out() string  { return m.first + m.second + "-out" }
func (m startMark) errs() string { return m.first + m.second + "-err=" }

// sayOut and sayErrs are shell text that prints them; on stderr the process group follows the mark.
func (m startMark) sayOut() string { return `printf '%s%s-out\n' ` + m.first + " " + m.second + "; " }

func (m startMark) sayErrs() string {
	return `printf '%s%s-err=%s\n' ` + m.first + " " + m.second + ` "$$" >&2; `
}

// behind makes a command print the mark on stdout itself. A command that sudo starts needs that: sudo may print before.
func (m startMark) behind(argv []string) []string {
	return append([]string{"/bin/sh", "-c", `printf '%s%s-out\n' "$1" "$2"; shift 2; exec "$@"`, "sh", m.first, m.second}, argv...)
}

// maxMarkValue bounds what follows a mark on its line, in bytes.
const maxMarkValue = 32

// beginning passes on what follows the mark in a stream. It drops what comes before, from start-up files of the login shell or
// from sudo, and keeps the end of that for messages.
type beginning struct {
	w     io.Writer
	mark  []byte
	found chan struct{} // closed when the mark has come

	mu   sync.Mutex
	held []byte // bytes that may be the beginning of the mark, or of the rest of its line
	inMark,
	seen bool
	value string // what follows the mark on its line
	noise tail
}

func newBeginning(w io.Writer, text string) *beginning {
	return &beginning{w: w, mark: []byte(text), found: make(chan struct{})}
}

func (b *beginning) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.seen {
		return b.w.Write(p)
	}
	b.held = append(b.held, p...)
	if !b.inMark {
		i := bytes.Index(b.held, b.mark)
		if i < 0 {
			if over := len(b.held) - len(b.mark) + 1; over > 0 {
				b.noise.Write(b.held[:over])
				b.held = append(b.held[:0], b.held[over:]...)
			}
			return len(p), nil
		}
		b.noise.Write(b.held[:i])
		b.held, b.inMark = b.held[i+len(b.mark):], true
	}
	end := bytes.IndexByte(b.held, '\n')
	if end < 0 && len(b.held) <= maxMarkValue {
		return len(p), nil
	}
	rest := b.held
	if end >= 0 {
		b.value, rest = string(b.held[:end]), b.held[end+1:]
	}
	b.held, b.seen = nil, true
	close(b.found)
	if len(rest) > 0 {
		if _, err := b.w.Write(rest); err != nil {
			return 0, err
		}
	}
	return len(p), nil
}

// began tells whether the mark has come.
func (b *beginning) began() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.seen
}

// before is the end of what came before the mark.
func (b *beginning) before() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	held := b.held
	if b.seen || b.inMark {
		held = nil
	}
	return strings.TrimSpace(b.noise.String() + string(held))
}

// group waits for the mark and gives the process group that follows it; 0 when ctx ends before, or when it is none.
func (b *beginning) group(ctx context.Context) int {
	select {
	case <-b.found:
	case <-ctx.Done():
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	group, err := strconv.Atoi(b.value)
	if err != nil || group <= 1 {
		return 0
	}
	return group
}
