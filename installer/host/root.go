package host

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strings"
)

// rootAccess is how the user who logs in runs commands as root.
type rootAccess struct {
	sudo     bool
	tty      bool   // sudo runs only where there is a terminal (requiretty)
	password string // what sudo reads from the input before the command does; empty if it asks for none
}

// rootProbe finds out how to be root by exit statuses: sudo's words depend on its language and version. Its input is one line,
// the password or nothing. With -k sudo neither uses nor stores credentials, so what works here works each time.
const rootProbe = `IFS= read -r password
tty() { SHELL=/bin/sh script -qec "$1 <&3 >&4 2>&5" /dev/null 3<&0 4>&1 5>&2 </dev/null >/dev/null 2>&1; }
if [ "$(id -u)" = 0 ]; then echo root
elif ! command -v sudo >/dev/null 2>&1; then echo missing
elif sudo -n -k true </dev/null >/dev/null; then echo sudo
elif command -v script >/dev/null 2>&1 && tty 'sudo -n -k true' </dev/null; then echo sudo-tty
elif [ -z "$password" ]; then echo refused
elif printf '%s\n' "$password" | sudo -S -k -p '' true >/dev/null; then echo password
elif command -v script >/dev/null 2>&1 && printf '%s\n' "$password" | tty "sudo -S -k -p '' true"; then echo password-tty
else echo wrong; fi`

// withTerminal runs its first argument, shell text, on a terminal that it does not read or write: the streams stay apart.
const withTerminal = `exec 3<&0 4>&1 5>&2; SHELL=/bin/sh exec script -qec "$0" /dev/null </dev/null >/dev/null 2>&1`

// command gives the argument vector and the input that run a command as root, in its directory and environment.
// Its output begins with the mark.
func (a *rootAccess) command(c Cmd, m startMark) (argv []string, stdin io.Reader) {
	argv = m.behind(inPlace(c))
	if !a.sudo {
		return argv, c.Stdin
	}
	stdin = c.Stdin
	prefix := []string{"sudo", "-n", "--"}
	if a.password != "" {
		prefix = []string{"sudo", "-S", "-k", "-p", "", "--"}
		stdin = strings.NewReader(a.password + "\n")
		if c.Stdin != nil {
			stdin = io.MultiReader(stdin, c.Stdin)
		}
	}
	argv = append(prefix, argv...)
	if a.tty {
		argv = []string{"/bin/sh", "-c", withTerminal, Quote(argv...) + " <&3 >&4 2>&5 3<&- 4>&- 5>&-"}
	}
	return argv, stdin
}

// inPlace makes a command that sets the directory and the environment itself. sudo drops variables, and may not be allowed into
// the directory.
func inPlace(c Cmd) []string {
	var argv []string
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

// probeRoot finds out how to be root; sudo gets the password if it asks for one.
func probeRoot(ctx context.Context, h runner, user, password string) (*rootAccess, error) {
	if password != "" {
		// If a start-up file of the login shell runs another program in its place, that one must not get the password. It shows
		// here: this command has no input, so the other program ends.
		if err := h.Run(ctx, Cmd{Argv: []string{"true"}}); err != nil {
			return nil, err
		}
	}
	var out, errs bytes.Buffer
	err := h.Run(ctx, Cmd{
		Title: "look for a way to be root",
		Argv:  []string{"/bin/sh", "-c", rootProbe}, Stdin: strings.NewReader(password + "\n"), Stdout: &out, Stderr: &errs,
	})
	if err != nil {
		return nil, err
	}
	lines := strings.Fields(out.String())
	answer := ""
	if len(lines) > 0 {
		answer = lines[len(lines)-1]
	}
	switch answer {
	case "root":
		return &rootAccess{}, nil
	case "sudo", "sudo-tty":
		return &rootAccess{sudo: true, tty: answer == "sudo-tty"}, nil
	case "password", "password-tty":
		return &rootAccess{sudo: true, tty: answer == "password-tty", password: password}, nil
	}
	return nil, noRoot(h.Name(), user, answer, errs.String())
}

// noRoot makes the error of a user who cannot be root.
func noRoot(name, user, answer, stderr string) error {
	e := &Error{Host: name, Kind: ErrSudo}
	lines := strings.Split(strings.TrimSpace(stderr), "\n")
	said := plain(lines[len(lines)-1])
	if said != "" {
		said = " (" + said + ")"
	}
	switch answer {
	case "missing":
		e.Err = fmt.Errorf("%s is not root, and sudo is not installed", user)
		e.Remedy = "log in as root"
	case "refused":
		e.Err = fmt.Errorf("sudo asks %s for a password, and none was given%s", user, said)
		e.Remedy = "give the password that sudo asks for"
	case "wrong":
		e.Err = fmt.Errorf("sudo does not make %s root with the password that was given%s", user, said)
		e.Remedy = "give the password that sudo asks for; it is needless with this line in /etc/sudoers.d/" + user + ": " + user + " ALL=(ALL) NOPASSWD: ALL"
	default:
		e.Err = fmt.Errorf("the host does not say whether %s is root or may use sudo%s", user, said)
		e.Remedy = "log in as root"
	}
	return e
}

// asRoot gives how commands run as root over ssh. It finds out once.
func (h *sshHost) asRoot(ctx context.Context) (*rootAccess, error) {
	h.mu.Lock()
	access := h.root
	h.mu.Unlock()
	if access != nil {
		return access, nil
	}
	access, err := probeRoot(ctx, h, h.config.User, h.config.Password)
	if err != nil {
		return nil, err
	}
	h.mu.Lock()
	h.root = access
	h.mu.Unlock()
	return access, nil
}
