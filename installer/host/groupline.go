package host

import (
	"bytes"
	"context"
	"io"
	"strconv"
	"sync"
)

// groupMark begins the line with which a command over ssh tells its process group, on stderr before anything else of its own.
const groupMark = "sealinstall-group="

// maxGroupLine bounds what is held back while that line is waited for.
const maxGroupLine = 8 << 10

// groupLine takes that line out of stderr. What start-up files of the login shell print before it passes through.
type groupLine struct {
	w io.Writer

	known chan struct{} // closed when the line has come

	mu    sync.Mutex
	group int
	found bool
	held  []byte // the beginning of a line that may be it
}

func (g *groupLine) Write(p []byte) (int, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.found {
		return g.w.Write(p)
	}
	g.held = append(g.held, p...)
	for !g.found {
		i := bytes.IndexByte(g.held, '\n')
		if i < 0 {
			if len(g.held) > maxGroupLine {
				break
			}
			return len(p), nil
		}
		line := g.held[:i+1]
		g.held = g.held[i+1:]
		if id, ok := bytes.CutPrefix(line, []byte(groupMark)); ok {
			g.group, _ = strconv.Atoi(string(bytes.TrimSpace(id)))
			close(g.known)
			break
		}
		if _, err := g.w.Write(line); err != nil {
			return 0, err
		}
	}
	g.found = true
	rest := g.held
	g.held = nil
	if len(rest) > 0 {
		if _, err := g.w.Write(rest); err != nil {
			return 0, err
		}
	}
	return len(p), nil
}

// flush passes on what was held when the command ended without the line.
func (g *groupLine) flush() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.held) > 0 {
		g.w.Write(g.held)
		g.held = nil
	}
}

// pid is the group's id once it is known, or 0 when ctx ends before. A group of 1 or less is nobody's command.
func (g *groupLine) pid(ctx context.Context) int {
	select {
	case <-g.known:
	case <-ctx.Done():
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.group <= 1 {
		return 0
	}
	return g.group
}
