package support

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"
)

// question is a line of shell, and the file that keeps what it prints.
type question struct {
	name string // in what is missing
	file string
	info string // the file that says how it ended; empty: none
	line string
	// as, if not nil, turns what is printed into what is kept.
	as func(io.Writer) io.Writer
}

// patience is how long one line may take on a host, in seconds; askLine says it, too.
const patience = 20

// askLine runs lines of shell one after the other, in one session: on a host that is busy each session takes its time. Of each it
// prints ::NUMBER, what it printed behind bars, with the end of a last line that has none, what it said beside that behind !, and
// its exit status behind =.
//
// Only sed writes until it has passed on all of the output: it writes in pieces that end in the middle of a line.
const askLine = `exec 4>&1
n=0
for line; do
	echo "::$n"
	said=$( {
		{
			{ timeout -k 5 20 /bin/sh -c "$line" </dev/null 2>&3 3>&- 4>&-; echo "=$?" >&3; } | sed -e 's/^/|/' -e '$a\' >&4 3>&-
		} 3>&1
	} | tail -n 20 )
	printf '%s\n' "$said" | sed 's/^\([^=]\)/!\1/'
	n=$((n + 1))
done`

// ask puts questions to the host. One whose program the host does not have is answered. One that failed without a word of output,
// or did not end, is missing, and so is all that could not be asked any more.
func (a *asked) ask(ctx context.Context, title string, questions []question) error {
	if len(questions) == 0 {
		return nil
	}
	var lines []string
	for _, q := range questions {
		lines = append(lines, shell+q.line)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	from, to := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		_, stderr, err := runWithin(ctx, time.Duration(len(questions)+1)*patience*time.Second, a.t.Link, title, askLine, to, lines...)
		if err == nil && stderr != "" {
			err = errors.New(stderr)
		}
		to.CloseWithError(err)
		ended <- err
	}()
	r := &replies{from: bufio.NewReaderSize(from, 64<<10)}
	var err error
	for i, q := range questions {
		if err = r.begin(i); err == nil {
			err = a.keepReply(r, q)
		}
		if err != nil {
			err = fmt.Errorf("%s and what follows: %w", q.name, err)
			break
		}
	}
	cancel(err)
	_ = from.CloseWithError(errors.Join(err, io.ErrClosedPipe)) // so that a host which still sends ends
	<-ended
	return err
}

// keepReply keeps the reply to a question. An error means that there will be no other.
func (a *asked) keepReply(r *replies, q question) error {
	*r = replies{from: r.from}
	err := a.p.text(q.file, a.limit, nil, func(w io.Writer) error {
		if q.as != nil {
			w = q.as(w)
		}
		return r.copy(w)
	})
	if errors.Is(err, errFull) || errors.Is(err, errTaken) {
		return err
	}
	told := info{Command: q.line, ExitCode: strconv.Itoa(r.code), Error: strings.Join(r.said, "\n")}
	if err != nil {
		told.ExitCode, told.Error = "", tell(err, a.t.IP.String())
	}
	if q.info != "" {
		if noted := a.p.json(q.info, told); noted != nil {
			return noted
		}
	}
	switch {
	case err != nil:
		return err
	case r.code == 124: // of timeout
		a.p.lacks(q.name, fmt.Errorf("no end after %d s", patience))
	case r.code != 0 && r.code != absent && r.size == 0:
		a.p.lacks(q.name, fmt.Errorf("exit status %d: %s", r.code, strings.Join(r.said, " ")))
	}
	return nil
}

// replies reads what askLine prints.
type replies struct {
	from *bufio.Reader
	size int64    // of what the line printed
	code int      // its exit status
	said []string // what it said beside its output
}

// begin reads the head of the reply with a number.
func (r *replies) begin(n int) error {
	line, err := r.from.ReadString('\n')
	if err != nil {
		return early(err)
	}
	if line != fmt.Sprintf("::%d\n", n) {
		return fmt.Errorf("an answer that nobody can read: %.60q", line)
	}
	return nil
}

// copy passes on what the line printed, up to the head of the next reply.
func (r *replies) copy(w io.Writer) error {
	for {
		head, err := r.from.Peek(1)
		if errors.Is(err, io.EOF) || err == nil && head[0] == ':' {
			return nil
		}
		if err != nil {
			return err
		}
		if head[0] == '|' {
			_, _ = r.from.Discard(1) // it was peeked at
			if err := r.copyLine(w); err != nil {
				return err
			}
			continue
		}
		line, err := r.from.ReadSlice('\n')
		if err != nil {
			return early(err)
		}
		if code, ok := strings.CutPrefix(strings.TrimSpace(string(line)), "="); ok {
			r.code, _ = strconv.Atoi(code)
		} else {
			r.said = append(r.said, strings.TrimSpace(strings.TrimPrefix(string(line), "!")))
		}
	}
}

// copyLine passes on the rest of a line, however long it is.
func (r *replies) copyLine(w io.Writer) error {
	for {
		part, err := r.from.ReadSlice('\n')
		r.size += int64(len(part))
		if _, failed := w.Write(slices.Clone(part)); failed != nil {
			return failed
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return early(err)
		}
	}
}

// early tells that a stream ended where more was to come.
func early(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
