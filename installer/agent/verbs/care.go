package verbs

import (
	"context"
	"crypto/sha256"
	"fmt"
	"regexp"
	"strings"

	"github.com/sealbuild/sealbuild/installer/agent"
	"github.com/sealbuild/sealbuild/installer/host"
)

// unitName gives the whole name of a unit, and takes no name that systemd would read in another way.
func unitName(q agent.CareRequest) (string, error) {
	name := strings.TrimSuffix(q.Unit, ".service")
	if !regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9_-]{0,100}$`).MatchString(name) {
		return "", &agent.Error{Code: agent.CodeRefused, Message: fmt.Sprintf("unit name %q: want letters, digits, '-' and '_'", q.Unit)}
	}
	return name + ".service", nil
}

// description has a digest of the command line, so that a unit that runs it already is not started again.
func description(q agent.CareRequest) string {
	return fmt.Sprintf("sealinstall care %x", sha256.Sum256([]byte(host.Quote(q.Argv...))))[:40]
}

// careStart runs a program as a transient unit of systemd, which outlives the agent and is started
// again when it ends. One that runs with other arguments is replaced.
func (m machine) careStart(ctx context.Context, q agent.CareRequest) error {
	unit, err := unitName(q)
	if err != nil {
		return err
	}
	if len(q.Argv) == 0 {
		return &agent.Error{Code: agent.CodeRefused, Message: "start " + unit + ": no program"}
	}
	show, err := m.systemctl(ctx, "show", "-p", "ActiveState", "-p", "Description", unit)
	if err != nil {
		return err
	}
	state := string(show.Stdout)
	if strings.Contains(state, "ActiveState=active") && strings.Contains(state, "Description="+description(q)) {
		return nil
	}
	if err := m.careEnd(ctx, unit); err != nil {
		return err
	}
	argv := append([]string{
		"systemd-run", "--unit=" + unit, "--collect", "--quiet", "--description=" + description(q),
		"-p", "Restart=always", "-p", "RestartSec=1", "--",
	}, q.Argv...)
	res, err := m.command(ctx, argv...)
	if err != nil {
		return err
	}
	if res.Code != 0 {
		return fmt.Errorf("start %s: %s", unit, strings.TrimSpace(string(res.Stderr)))
	}
	return nil
}

// careStop ends the unit. One that is not there is fine.
func (m machine) careStop(ctx context.Context, q agent.CareRequest) error {
	unit, err := unitName(q)
	if err != nil {
		return err
	}
	return m.careEnd(ctx, unit)
}

func (m machine) careEnd(ctx context.Context, unit string) error {
	show, err := m.systemctl(ctx, "show", "-p", "LoadState", unit)
	if err != nil {
		return err
	}
	if strings.Contains(string(show.Stdout), "LoadState=not-found") {
		return nil
	}
	res, err := m.systemctl(ctx, "stop", unit)
	if err != nil {
		return err
	}
	if res.Code != 0 {
		return fmt.Errorf("stop %s: %s", unit, strings.TrimSpace(string(res.Stderr)))
	}
	// A unit that failed stays known, and its name taken, until this.
	_, err = m.systemctl(ctx, "reset-failed", unit)
	return err
}
