package agent

import (
	"context"
	"crypto/sha256"
	"fmt"
	"regexp"
	"strings"

	"github.com/sealbuild/sealbuild/installer/host"
)

type careRequest struct {
	Unit string   `json:"unit"`
	Argv []string `json:"argv,omitempty"`
}

// unitName gives the whole name of a unit, and takes no name that systemd would read in another way.
func (q careRequest) unitName() (string, error) {
	name := strings.TrimSuffix(q.Unit, ".service")
	if !regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9_-]{0,100}$`).MatchString(name) {
		return "", &Error{Code: CodeRefused, Message: fmt.Sprintf("unit name %q: want letters, digits, '-' and '_'", q.Unit)}
	}
	return name + ".service", nil
}

// description marks a unit with what it runs, so that the same one is not started again.
func (q careRequest) description() string {
	return fmt.Sprintf("sealinstall care %x", sha256.Sum256([]byte(host.Quote(q.Argv...))))[:40]
}

// careStart runs a program as a transient unit of systemd, which outlives the agent and is started
// again when it ends. One that runs with other arguments is replaced.
func (m machine) careStart(ctx context.Context, q careRequest, out *answers) (any, error) {
	unit, err := q.unitName()
	if err != nil {
		return nil, err
	}
	if len(q.Argv) == 0 {
		return nil, &Error{Code: CodeRefused, Message: "start " + unit + ": no program"}
	}
	show, err := m.systemctl(ctx, out, "show", "-p", "ActiveState", "-p", "Description", unit)
	if err != nil {
		return nil, err
	}
	state := string(show.Stdout)
	if strings.Contains(state, "ActiveState=active") && strings.Contains(state, "Description="+q.description()) {
		return struct{}{}, nil
	}
	if err := m.careEnd(ctx, unit, out); err != nil {
		return nil, err
	}
	argv := append([]string{
		"systemd-run", "--unit=" + unit, "--collect", "--quiet", "--description=" + q.description(),
		"-p", "Restart=always", "-p", "RestartSec=1", "--",
	}, q.Argv...)
	res, err := m.command(ctx, out, argv...)
	if err != nil {
		return nil, err
	}
	if res.Code != 0 {
		return nil, fmt.Errorf("start %s: %s", unit, strings.TrimSpace(string(res.Stderr)))
	}
	return struct{}{}, nil
}

// careStop ends the unit. One that is not there is fine.
func (m machine) careStop(ctx context.Context, q careRequest, out *answers) (any, error) {
	unit, err := q.unitName()
	if err != nil {
		return nil, err
	}
	return struct{}{}, m.careEnd(ctx, unit, out)
}

func (m machine) careEnd(ctx context.Context, unit string, out *answers) error {
	show, err := m.systemctl(ctx, out, "show", "-p", "LoadState", unit)
	if err != nil {
		return err
	}
	if strings.Contains(string(show.Stdout), "LoadState=not-found") {
		return nil
	}
	res, err := m.systemctl(ctx, out, "stop", unit)
	if err != nil {
		return err
	}
	if res.Code != 0 {
		return fmt.Errorf("stop %s: %s", unit, strings.TrimSpace(string(res.Stderr)))
	}
	// A unit that failed stays known, and its name taken, until this.
	_, err = m.systemctl(ctx, out, "reset-failed", unit)
	return err
}

func (m machine) systemctl(ctx context.Context, out *answers, args ...string) (ExecResult, error) {
	return m.command(ctx, out, append([]string{"systemctl"}, args...)...)
}

func (m machine) command(ctx context.Context, out *answers, argv ...string) (ExecResult, error) {
	return m.program(ctx, execMessage{ExecRequest: ExecRequest{Argv: argv, TimeoutSeconds: 60}}, out)
}
