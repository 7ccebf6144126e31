package host

import (
	"bytes"
	"context"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

func TestOutputBeginsAtItsMark(t *testing.T) {
	long := strings.Repeat("x", 1<<20)
	for name, c := range map[string]struct {
		in, out, before string
		group           int
	}{
		"first":               {"MARK=77\nerr\n", "err\n", "", 77},
		"after noise":         {"noise\nMARK=77\nerr", "err", "noise", 77},
		"noise has no end":    {"noiseMARK=77\nerr", "err", "noise", 77},
		"beginning of a mark": {"MARMAMARK=77\nerr", "err", "MARMA", 77},
		"much noise":          {long + "\nlast words\nMARK=77\nerr", "err", "last words", 77},
		"never":               {"noise\nmore MAR", "", "noise\nmore MAR", 0},
		"only the first":      {"MARK=77\nMARK=78\n", "MARK=78\n", "", 77},
		"no number":           {"MARK=x\n", "", "", 0},
		"init is nobody's":    {"MARK=1\n", "", "", 0},
		"line without an end": {"MARK=" + strings.Repeat("7", maxMarkValue+1), strings.Repeat("7", maxMarkValue+1), "", 0},
		"nothing":             {"", "", "", 0},
	} {
		t.Run(name, func(t *testing.T) {
			for _, r := range []io.Reader{strings.NewReader(c.in), iotest.OneByteReader(strings.NewReader(c.in))} {
				var out bytes.Buffer
				b := newBeginning(&out, "MARK=")
				if _, err := io.Copy(onlyWriter{b}, r); err != nil {
					t.Fatal(err)
				}
				ctx, cancel := context.WithCancel(t.Context())
				cancel()
				if got := b.group(ctx); got != c.group || out.String() != c.out || b.before() != c.before {
					t.Errorf("group %d, output %.100q, before it %.100q", got, out.String(), b.before())
				}
				if b.began() != strings.Contains(c.in, "MARK=") {
					t.Errorf("began: %v", b.began())
				}
			}
		})
	}
}

// onlyWriter hides what else a writer can.
type onlyWriter struct{ io.Writer }

func TestMarkIsNotInWhatAShellIsTold(t *testing.T) {
	m := newMark()
	line := commandLine(Cmd{}, []string{"true"}, m)
	for _, word := range []string{m.out(), m.errs()} {
		if strings.Contains(line, word) {
			t.Errorf("a shell that shows its line prints %q", word)
		}
	}
	if other := newMark(); other == m {
		t.Error("two commands have one mark")
	}
}
