package host

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// farSide is a host whose script does as a test says.
type farSide struct {
	run func(ctx context.Context, in io.Reader, out io.Writer) error
}

func (f farSide) Name() string { return "10.0.0.2" }

func (f farSide) Run(ctx context.Context, c Cmd) error {
	if err := f.run(ctx, c.Stdin, c.Stdout); err != nil {
		return err
	}
	return context.Cause(ctx) // as a command that was ended meanwhile
}

// take reads so many bytes, as many at once as each takes that long.
func take(in io.Reader, n, each int, pause time.Duration) {
	for ; n > 0; n -= each {
		time.Sleep(pause)
		_, _ = io.ReadFull(in, make([]byte, min(n, each)))
	}
}

func TestTransferThatStandsStillEndsAndOneThatMovesDoesNot(t *testing.T) {
	const size = 100 << 10
	still := func(ctx context.Context) error { <-ctx.Done(); return context.Cause(ctx) }
	for name, c := range map[string]struct {
		far   func(ctx context.Context, in io.Reader, out io.Writer) error
		fails string // what the error tells beside host and file; empty: it does not fail
		takes time.Duration
		from  io.Reader
	}{
		"a line that is slow and moves": {far: func(_ context.Context, in io.Reader, out io.Writer) error {
			io.WriteString(out, "send\n")
			take(in, size+64, 1<<10, 50*time.Second)
			return nil
		}, takes: 101 * 50 * time.Second},
		"a line that is too slow for large pieces": {far: func(_ context.Context, in io.Reader, out io.Writer) error {
			io.WriteString(out, "send\n")
			feed(slowLine(1<<10), in)
			return nil
		}, takes: 100*time.Second + 62500*time.Microsecond},
		"a host that takes nothing more": {far: func(ctx context.Context, in io.Reader, out io.Writer) error {
			io.WriteString(out, "send\n")
			take(in, 40<<10, 1<<10, time.Second)
			return still(ctx)
		}, fails: "after 39 KiB", takes: 100 * time.Second},
		"a long sync with signs of life": {far: func(_ context.Context, in io.Reader, out io.Writer) error {
			io.WriteString(out, "send\n")
			io.Copy(io.Discard, in)
			for range 60 {
				time.Sleep(10 * time.Second)
				io.WriteString(out, ".\n")
			}
			return nil
		}, takes: 10 * time.Minute},
		"a sync without them": {far: func(ctx context.Context, in io.Reader, out io.Writer) error {
			io.WriteString(out, "send\n")
			io.Copy(io.Discard, in)
			return still(ctx)
		}, fails: "after 100 KiB", takes: time.Minute},
		"a host that does not answer": {far: func(ctx context.Context, in io.Reader, _ io.Writer) error {
			go io.Copy(io.Discard, in)
			return still(ctx)
		}, fails: "the host took nothing", takes: time.Minute},
		"a file that cannot be read on": {far: func(ctx context.Context, in io.Reader, out io.Writer) error {
			io.WriteString(out, "send\n")
			go io.Copy(io.Discard, in)
			return still(ctx)
		}, fails: "this machine could read no more", takes: time.Minute, from: stuck{}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				from := c.from
				if from == nil {
					from = struct{ io.Reader }{bytes.NewReader(make([]byte, size))}
				}
				began := time.Now()
				ctx, cancel := context.WithTimeout(t.Context(), 3*time.Hour)
				defer cancel()
				if _, ok := from.(stuck); ok {
					from = stuck{ctx.Done()}
				}
				err := putWatched(ctx, farSide{c.far}, 0, "/var/lib/file", 0o644, from)
				if took := time.Since(began); took != c.takes {
					t.Errorf("it took %s, want %s", took, c.takes)
				}
				cancel()
				if c.fails == "" {
					if err != nil {
						t.Error(err)
					}
					return
				}
				var e *StandstillError
				if !errors.As(err, &e) {
					t.Fatalf("the error is %v", err)
				}
				for _, want := range []string{"10.0.0.2", "/var/lib/file", "nothing moved for 1m0s", c.fails} {
					if !strings.Contains(err.Error(), want) {
						t.Errorf("%q does not tell %q", err, want)
					}
				}
			})
		})
	}
}

// slowLine takes so many bytes a second.
type slowLine int

func (l slowLine) Write(p []byte) (int, error) {
	time.Sleep(time.Duration(len(p)) * time.Second / time.Duration(l))
	return len(p), nil
}

// stuck gives nothing until its test ends.
type stuck struct{ end <-chan struct{} }

func (s stuck) Read([]byte) (int, error) { <-s.end; return 0, io.ErrUnexpectedEOF }
