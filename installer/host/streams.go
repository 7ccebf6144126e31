package host

import (
	"context"
	"io"
	"strings"
	"sync"
)

// streams connects a command to its caller's readers and writers, and disconnects it when Run returns: a command that could not
// be ended must not write to buffers that its caller reads.
type streams struct {
	stdin          io.Reader
	stdout, stderr *gate
	tail           *tail
	out, errs      *beginning // before them, for a command that prints marks
}

// expect makes the streams pass on only what follows the marks of a command.
func (st *streams) expect(m startMark) {
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
		err := feed(w, st.stdin)
		if err == nil {
			w.Close()
		}
		// A failed input is not closed here: the command would take it for the end.
		result <- err
	}()
	return result
}

// await waits for the end of a command that is fed: failed is what pump gives, ended the end of the command. over tells that
// it ended by itself, with err; else err is why it has to be ended: the cause of ctx, or the error of the caller's reader.
func await(ctx context.Context, failed, ended <-chan error) (over bool, err error) {
	for {
		select {
		case err := <-ended:
			return true, err
		case err := <-failed:
			if err != nil {
				return false, err
			}
			failed = nil // all of the input was taken
		case <-ctx.Done():
			return false, context.Cause(ctx)
		}
	}
}

// A large piece saves changes of goroutines on a long stream. Most inputs are short, and many commands run at once: they have a
// small buffer.
const (
	firstPiece = 32 << 10
	largePiece = 256 << 10
)

// feed copies r to w, in larger pieces once r has filled a small one. The error is that of r: a w that takes no more is none.
func feed(w io.Writer, r io.Reader) error {
	buf := make([]byte, firstPiece)
	for {
		n, err := r.Read(buf)
		end := err != nil
		if err == io.EOF {
			err = nil
		}
		if n > 0 {
			if _, werr := w.Write(buf[:n]); werr != nil {
				return err
			}
		}
		if end {
			return err
		}
		if n == firstPiece && len(buf) == firstPiece {
			buf = make([]byte, largePiece)
		}
	}
}

// gate is a writer that can be shut. Without w it discards.
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

// String gives the text without its last newline, and without a first line that was cut.
func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := string(t.buf)
	if i := strings.IndexByte(s, '\n'); t.cut && i >= 0 && i < len(s)-1 {
		s = s[i+1:]
	}
	return strings.TrimRight(s, "\r\n")
}
