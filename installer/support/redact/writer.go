package redact

import (
	"bytes"
	"fmt"
	"io"
)

const (
	// piece is how much of a stream is looked at together, in bytes, rounded up to whole lines.
	piece = 32 << 10
	// mostPiece bounds a piece that cannot end, because a secret may go on in the next line; and a line.
	mostPiece = 256 << 10
)

// Writer passes on what is written to it, without secrets. It holds at most two pieces.
type Writer struct {
	r     *Redactor
	to    io.Writer
	buf   []byte
	begin int // of the last line in buf
	lost  int // bytes of the last line, once it is too long to be looked at
	err   error
}

// Writer makes a Writer that passes on to w. It must be closed.
func (r *Redactor) Writer(w io.Writer) *Writer { return &Writer{r: r, to: w} }

func (w *Writer) Write(p []byte) (int, error) {
	all := len(p)
	for len(p) > 0 && w.err == nil {
		n := bytes.IndexByte(p, '\n') + 1
		ends := n > 0
		if !ends {
			n = len(p)
		}
		w.add(p[:n])
		p = p[n:]
		if ends {
			w.endLine()
		}
	}
	return all - len(p), w.err
}

// add takes a part of a line. A line that is longer than a piece is left out: nobody could tell what its parts are.
func (w *Writer) add(part []byte) {
	have := w.lost
	if have == 0 {
		have = len(w.buf) - w.begin
	}
	if have+len(part) > mostPiece {
		w.lost, w.buf = have+len(part), w.buf[:w.begin]
		return
	}
	w.buf = append(w.buf, part...)
}

func (w *Writer) endLine() {
	w.lost = max(0, w.lost-1) // without its end
	w.noteLost()
	w.begin = len(w.buf)
	if w.begin >= piece && (w.begin >= mostPiece || !w.r.goesOn(string(w.buf))) {
		w.pass()
	}
}

func (w *Writer) noteLost() {
	if w.lost > 0 {
		w.buf = fmt.Appendf(w.buf, "[a line of %d bytes is left out]\n", w.lost)
		w.lost = 0
	}
}

func (w *Writer) pass() {
	if w.err == nil && len(w.buf) > 0 {
		_, w.err = io.WriteString(w.to, w.r.Text(string(w.buf)))
	}
	w.buf, w.begin = w.buf[:0], 0
}

// Cut ends a text that was cut off: of a line that has no end nobody can tell what it would have become, so it is left out. The
// note is put in its place.
func (w *Writer) Cut(note string) {
	if w.lost == 0 {
		w.buf = w.buf[:w.begin]
	}
	w.noteLost()
	w.buf = append(w.buf, note+"\n"...)
}

// Close passes on what is left.
func (w *Writer) Close() error {
	w.noteLost()
	w.pass()
	return w.err
}

// goesOn tells whether a text may end in the middle of a secret.
func (r *Redactor) goesOn(text string) bool { return openKey(text) || r.known.GoesOn(text) }
