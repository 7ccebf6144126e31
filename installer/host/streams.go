package host

import (
	"io"
	"strings"
	"sync"
)

// streams ties a command to its caller's readers and writers, and lets go of them when Run returns:
// a command that could not be ended must not write to buffers its caller reads.
type streams struct {
	stdin          io.Reader
	stdout, stderr *gate
	tail           *tail
	out, errs      *beginning // in front of them, where the command's output has marks
}

// expect passes output on from the marks of a command.
func (st *streams) expect(m mark) {
	st.out, st.errs = newBeginning(st.stdout, m.out()), newBeginning(st.stderr, m.errs())
}

func newStreams(c Cmd) *streams {
	st := &streams{stdin: c.Stdin, stdout: &gate{w: c.Stdout}, tail: &tail{}}
	if c.Stderr == nil {
		st.stderr = &gate{w: st.tail}
	} else {
		st.stderr = &gate{w: io.MultiWriter(st.tail, c.Stderr)}
	}
	return st
}

func (st *streams) close() {
	st.stdout.close()
	st.stderr.close()
}

func (st *streams) writeError() error {
	if err := st.stdout.failure(); err != nil {
		return err
	}
	return st.stderr.failure()
}

// pump feeds the command's input and closes it at the end. The channel gives nil, or the error of the caller's reader;
// a command that does not read on is no error.
func (st *streams) pump(w io.WriteCloser) <-chan error {
	result := make(chan error, 1)
	if st.stdin == nil {
		w.Close()
		result <- nil
		return result
	}
	go func() {
		r := &readErrors{r: st.stdin}
		copyGrowing(w, r)
		if r.err == nil {
			w.Close()
		}
		// A failed input is not closed here: the command would take it for the end.
		result <- r.err
	}()
	return result
}

// A stream changes goroutines with every piece that is taken of it, so of a long one pieces are large. Most inputs are short, and
// many commands run at once.
const (
	firstPiece = 32 << 10
	largePiece = 256 << 10
)

// copyGrowing is io.Copy that takes larger pieces once a whole one was there.
func copyGrowing(w io.Writer, r io.Reader) {
	buf := make([]byte, firstPiece)
	for {
		n, err := r.Read(buf)
		if n > 0 {
			if _, werr := w.Write(buf[:n]); werr != nil {
				return
			}
		}
		if err != nil {
			return
		}
		if n == firstPiece && len(buf) == firstPiece {
			buf = make([]byte, largePiece)
		}
	}
}

// readErrors tells a reader's errors from a writer's in an io.Copy.
type readErrors struct {
	r   io.Reader
	err error
}

func (r *readErrors) Read(p []byte) (int, error) {
	n, err := r.r.Read(p)
	if err != nil && err != io.EOF {
		r.err = err
	}
	return n, err
}

// gate is a writer that can be shut. nil discards.
type gate struct {
	mu   sync.Mutex
	w    io.Writer
	shut bool
	err  error
}

func (g *gate) Write(p []byte) (int, error) {
	g.mu.Lock()
	w, shut := g.w, g.shut
	g.mu.Unlock()
	if w == nil || shut {
		return len(p), nil
	}
	n, err := w.Write(p)
	if err != nil {
		g.mu.Lock()
		g.err = err
		g.mu.Unlock()
	}
	return n, err
}

func (g *gate) close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.shut = true
}

func (g *gate) failure() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.err
}

const maxTail = 4 << 10

// tail keeps the last lines of what is written.
type tail struct {
	mu  sync.Mutex
	buf []byte
	cut bool
}

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.buf = append(t.buf, p...)
	if over := len(t.buf) - maxTail; over > 0 {
		t.buf = append(t.buf[:0], t.buf[over:]...)
		t.cut = true
	}
	return len(p), nil
}

// String gives whole lines where there are any, without the last newline.
func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := string(t.buf)
	if i := strings.IndexByte(s, '\n'); t.cut && i >= 0 && i < len(s)-1 {
		s = s[i+1:]
	}
	return strings.TrimRight(s, "\r\n")
}
