package host

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
)

// rootAccess is how a host's login becomes root.
type rootAccess struct{ prefix []string }

// rootProbe tells by exit statuses, not by sudo's words, which depend on language and version.
const rootProbe = `if [ "$(id -u)" = 0 ]; then echo root
elif ! command -v sudo >/dev/null 2>&1; then echo missing
elif sudo -n true; then echo sudo
else echo refused; fi`

// asRoot gives the argument vector that runs a command as root, in its directory and environment.
func asRoot(ctx context.Context, h *sshHost, c Cmd) ([]string, error) {
	h.mu.Lock()
	access := h.root
	h.mu.Unlock()
	if access == nil {
		prefix, err := probeRoot(ctx, h, h.config.User)
		if err != nil {
			return nil, err
		}
		access = &rootAccess{prefix: prefix}
		h.mu.Lock()
		h.root = access
		h.mu.Unlock()
	}
	return rootArgv(access.prefix, c), nil
}

// rootArgv sets directory and environment after sudo, which would drop the one and may not be allowed into the other.
func rootArgv(prefix []string, c Cmd) []string {
	argv := append([]string{}, prefix...)
	if c.Dir != "" {
		argv = append(argv, "/bin/sh", "-c", `cd -- "$0" && exec "$@"`, c.Dir)
	}
	if len(c.Env) > 0 {
		argv = append(append(argv, "env"), c.Env...)
	}
	return append(argv, c.Argv...)
}

// runner is the part of Host that the probe needs.
type runner interface {
	Name() string
	Run(ctx context.Context, c Cmd) error
}

func probeRoot(ctx context.Context, h runner, user string) ([]string, error) {
	var out, errs bytes.Buffer
	err := h.Run(ctx, Cmd{Argv: []string{"/bin/sh", "-c", rootProbe}, Stdout: &out, Stderr: &errs})
	if err != nil {
		return nil, fmt.Errorf("find out how to be root: %w", err)
	}
	lines := strings.Fields(out.String())
	answer := ""
	if len(lines) > 0 {
		answer = lines[len(lines)-1]
	}
	switch answer {
	case "root":
		return nil, nil
	case "sudo":
		return []string{"sudo", "-n", "--"}, nil
	case "missing":
		return nil, &Error{
			Host: h.Name(), Kind: ErrSudo, Err: errors.New("sudo is not installed"),
			Remedy: "log in as root, or install sudo and allow " + user + " to use it without a password",
		}
	}
	return nil, &Error{
		Host: h.Name(), Kind: ErrSudo, Err: errors.New(strings.TrimSpace(errs.String())),
		Remedy: fmt.Sprintf("log in as root, or put into /etc/sudoers.d/%s: %s ALL=(ALL) NOPASSWD: ALL", user, user),
	}
}
