package agent_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"testing"

	"github.com/sealbuild/sealbuild/installer/agent"
	"github.com/sealbuild/sealbuild/installer/agent/agenttest"
	"github.com/sealbuild/sealbuild/installer/host"
)

// breaking is a host whose connection breaks at its first commands, after they were carried out.
type breaking struct {
	host.Host
	left, runs *int
}

func (h breaking) Run(ctx context.Context, c host.Cmd) error {
	c.Root = false
	*h.runs++
	if *h.left > 0 {
		*h.left--
		c.Stdout = nil
		err := h.Host.Run(ctx, c)
		return &host.Error{Host: "here", Kind: host.ErrUnreachable, Err: fmt.Errorf("cut: %w", err)}
	}
	return h.Host.Run(ctx, c)
}

func TestVerbsThatMayBeDoneTwiceAreWhenTheConnectionBreaks(t *testing.T) {
	for name, c := range map[string]struct {
		breaks, runs int
		fails        bool
		do           func(a *agent.Agent) error
	}{
		"files": {1, 2, false, func(a *agent.Agent) error {
			_, err := a.WriteFiles(t.Context(), []agent.File{{Path: filepath.Join(t.TempDir(), "f"), Mode: 0o600, Content: []byte("x")}})
			return err
		}},
		"broken twice": {2, 2, true, func(a *agent.Agent) error { _, err := a.ReadFiles(t.Context(), []string{"/etc/hostname"}); return err }},
		"a script":     {1, 1, true, func(a *agent.Agent) error { return a.Script(t.Context(), agent.ScriptRequest{Line: "true"}, nil) }},
		"a program": {1, 1, true, func(a *agent.Agent) error {
			_, err := a.Exec(t.Context(), agent.ExecRequest{Argv: []string{"true"}}, nil)
			return err
		}},
	} {
		left, runs := c.breaks, 0
		err := c.do(agent.NewAgent(breaking{host.Local("here"), &left, &runs}, agenttest.Stub(t)))
		if runs != c.runs || (err != nil) != c.fails || c.fails && !errors.Is(err, host.ErrUnreachable) {
			t.Errorf("%s: %d runs, %v", name, runs, err)
		}
	}
}
