package host

import (
	"bytes"
	"context"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

func TestGroupLineIsTakenOutOfStderr(t *testing.T) {
	for name, c := range map[string]struct {
		in, out string
		group   int
	}{
		"first":                 {"sealinstall-group=77\nerr\n", "err\n", 77},
		"after start-up noise":  {"noise\nsealinstall-group=77\nerr", "noise\nerr", 77},
		"never":                 {"noise\nmore", "noise\nmore", 0},
		"only the first counts": {"sealinstall-group=77\nsealinstall-group=78\n", "sealinstall-group=78\n", 77},
		"no number":             {"sealinstall-group=x\n", "", 0},
		"init is nobody's":      {"sealinstall-group=1\n", "", 0},
		"a long line":           {strings.Repeat("x", 2*maxGroupLine), strings.Repeat("x", 2*maxGroupLine), 0},
		"nothing":               {"", "", 0},
	} {
		t.Run(name, func(t *testing.T) {
			for _, r := range []io.Reader{strings.NewReader(c.in), iotest.OneByteReader(strings.NewReader(c.in))} {
				var out bytes.Buffer
				g := &groupLine{w: &out, known: make(chan struct{})}
				if _, err := io.Copy(g, r); err != nil {
					t.Fatal(err)
				}
				g.flush()
				ctx, cancel := context.WithCancel(t.Context())
				cancel()
				if got := g.pid(ctx); got != c.group || out.String() != c.out {
					t.Errorf("group %d, output %.100q", got, out.String())
				}
			}
		})
	}
}
