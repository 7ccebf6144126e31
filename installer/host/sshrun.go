package host

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"
	"unicode"

	"golang.org/x/crypto/ssh"
)

// grace is the time between SIGTERM and SIGKILL. The agent uses it to end its children.
const grace = 3 * time.Second

func (h *sshHost) Run(ctx context.Context, c Cmd) error {
	if len(c.Argv) == 0 {
		return fmt.Errorf("%s: run: no command", h.Name())
	}
	argv, m := c.Argv, newMark()
	if c.Root {
		access, err := h.asRoot(ctx)
		if err != nil {
			return err
		}
		argv, c.Stdin = access.command(c, m)
		c.Dir, c.Env = "", nil
	}
	s, conn, release, err := h.session(ctx)
	if err != nil {
		return fmt.Errorf("run %s: %w", c.Argv[0], err)
	}
	defer release()
	defer s.Close()

	streams := newStreams(c)
	defer streams.close()
	streams.expect(m)
	s.Stdout, s.Stderr = streams.out, streams.errs
	stdin, err := s.StdinPipe()
	if err != nil {
		return h.unreachable(err)
	}
	if err := s.Start(commandLine(c, argv, m)); err != nil {
		return h.unreachable(fmt.Errorf("start %s: %w", c.Argv[0], err))
	}
	ended := make(chan error, 1)
	go func() { ended <- s.Wait() }()
	if done, err := h.begun(ctx, c, streams, stdin, ended); done {
		return err
	}
	var failed <-chan error
	if ctx.Err() == nil {
		failed = streams.pump(stdin)
	}
	over, cause := await(ctx, failed, ended)
	if over {
		return h.outcome(c, streams, cause)
	}
	h.end(ctx, c, conn, streams, ended)
	return fmt.Errorf("%s: %s: %w", h.Name(), c.Argv[0], cause)
}

// beginTimeouts is how long a login shell may take to begin a command, in timeouts of a login: a loaded host takes its time.
const beginTimeouts = 4

// begun waits until the command has begun. over tells that it has ended already, and err how. Until then no input is sent,
// which may hold a password: a start-up file of the login shell may have started another program.
func (h *sshHost) begun(ctx context.Context, c Cmd, st *streams, stdin io.Closer, ended <-chan error) (over bool, err error) {
	if st.stdin == nil {
		stdin.Close() // so that a program which waits for input in its place ends
	}
	limit := beginTimeouts * h.config.Timeout
	patience := time.NewTimer(limit)
	defer patience.Stop()
	select {
	case <-st.out.found:
	case <-st.errs.found:
	case err := <-ended:
		return true, h.outcome(c, st, err)
	case <-patience.C:
		return true, h.shellWaits(limit, st)
	case <-ctx.Done(): // it may still begin, and is ended like one that runs
	}
	return false, nil
}

// killScript ends the process group $0, which may hold more than the command itself.
const killScript = `kill -s TERM -- "-$0" 2>/dev/null || exit 0
for i in 1 2 3 4 5 6 7 8 9 10 11 12; do sleep 0.25; kill -s 0 -- "-$0" 2>/dev/null || exit 0; done
kill -s KILL -- "-$0"`

// end ends a command by a second one: sshd passes no signals on to a command of root. It waits only for a while, since the
// connection may be dead; the caller then closes the session.
func (h *sshHost) end(ctx context.Context, c Cmd, conn *connection, st *streams, ended <-chan error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*grace)
	defer cancel()
	starting, stop := context.WithTimeout(ctx, grace)
	defer stop()
	group := st.errs.group(starting)
	if group == 0 {
		return
	}
	argv := []string{"/bin/sh", "-c", killScript, strconv.Itoa(group)}
	var stdin io.Reader
	if c.Root {
		h.mu.Lock()
		argv, stdin = h.root.command(Cmd{Argv: argv}, newMark())
		h.mu.Unlock()
	}
	// Not through h.session: all its slots may be taken by commands that end like this one.
	s, err := open(ctx, conn)
	if err != nil {
		return
	}
	defer s.Close()
	s.Stdin = stdin
	killed := make(chan error, 1)
	go func() { killed <- s.Run(commandLine(Cmd{}, argv, newMark())) }()
	select {
	case <-killed:
		select { // the last of its output
		case <-ended:
		case <-ctx.Done():
		}
	case <-conn.lost:
	case <-ctx.Done():
	}
}

// outcome makes the error of a command that ended by itself.
func (h *sshHost) outcome(c Cmd, st *streams, err error) error {
	var exit *ssh.ExitError
	ran := st.out.began() || st.errs.began()
	switch {
	case err != nil && !errors.As(err, &exit):
		if failure := st.writeError(); failure != nil {
			return fmt.Errorf("%s: %s: take its output: %w", h.Name(), c.Argv[0], failure)
		}
		return h.unreachable(fmt.Errorf("connection lost while %s ran: %w", c.Argv[0], err))
	case !ran:
		return h.shellEnded(exit, st)
	case err == nil && !st.out.began():
		return h.shellSilent(c, st)
	case err == nil:
		return nil
	}
	e := &ExitError{Host: h.Name(), Title: c.Title, Argv: c.Argv, Code: exit.ExitStatus(), Signal: exit.Signal(), Stderr: st.tail.String()}
	if e.Signal != "" {
		e.Code = -1
	}
	return e
}

func isClosed(err error) bool { return errors.Is(err, net.ErrClosed) }

// maxSaid bounds a line of others in a message, in characters.
const maxSaid = 200

// said gives the last line that was printed before the command began.
func (st *streams) said() string {
	for _, b := range []*beginning{st.errs, st.out} {
		lines := strings.Split(b.before(), "\n")
		if line := plain(lines[len(lines)-1]); line != "" {
			return line
		}
	}
	return ""
}

// plain makes a line fit for a message: without control characters, and not too long.
func plain(line string) string {
	line = strings.TrimSpace(strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return -1
		}
		return r
	}, line))
	if r := []rune(line); len(r) > maxSaid {
		line = string(r[:maxSaid]) + "…"
	}
	return line
}

func (h *sshHost) shellError(remedy, format string, args ...any) error {
	return &Error{Host: h.Name(), Kind: ErrShell, Err: fmt.Errorf(format, args...), Remedy: remedy}
}

// shellEnded makes the error of a login shell that ended before it ran the command. exit is nil for status 0.
func (h *sshHost) shellEnded(exit *ssh.ExitError, st *streams) error {
	user, said := h.config.User, st.said()
	status := "exit status 0"
	if exit != nil {
		status = fmt.Sprintf("exit status %d", exit.ExitStatus())
		if exit.Signal() != "" {
			status = "signal " + exit.Signal()
		}
	}
	words := "it printed nothing"
	if said != "" {
		words = "it printed: " + said
	}
	startUp := "on the host, look at ~/.bashrc and what else the shell of " + user +
		" reads at its start: only in interactive shells may it end the shell, or start something in its place"
	another := "on the host, give it one: usermod -s /bin/bash " + user
	switch {
	case strings.Contains(said, "not available"): // nologin prints it
		return h.shellError(another, "the login shell of %s is nologin, which lets nobody run commands (%s)", user, words)
	case exit == nil:
		return h.shellError(startUp, "a start-up file of the login shell of %s ends or replaces the shell (%s, %s)", user, status, words)
	case exit.ExitStatus() == 1 && said == "":
		return h.shellError(another, "the login shell of %s ends at once and says nothing, as /bin/false does (%s)", user, status)
	case strings.Contains(said, "rather than the user"): // cloud images have it in root's authorized_keys
		return h.shellError("log in as the user it names", "the host runs no commands for %s (%s)", user, words)
	case strings.Contains(said, "/."): // it names a hidden file
		return h.shellError(startUp, "a start-up file of the login shell of %s ends or replaces the shell (%s, %s)", user, status, words)
	case exit.ExitStatus() == 126, exit.ExitStatus() == 127, strings.Contains(said, "restricted"):
		return h.shellError(another, "the login shell of %s does not run /bin/sh (%s, %s)", user, status, words)
	}
	return h.shellError(startUp, "the login shell of %s, or a start-up file of it, ended before it ran a command (%s, %s)", user, status, words)
}

// shellWaits makes the error of a login shell that neither runs the command nor ends.
func (h *sshHost) shellWaits(after time.Duration, st *streams) error {
	words := ""
	if said := st.said(); said != "" {
		words = ", it printed: " + said
	}
	return h.shellError("on the host, look at ~/.bashrc and what else the shell of "+h.config.User+" reads at its start: something in it waits, or runs in place of the shell",
		"the login shell of %s has not run a command within %v%s", h.config.User, after, words)
}

// shellSilent makes the error of a command that succeeded and did not print its mark: its output went elsewhere, or it did not run.
func (h *sshHost) shellSilent(c Cmd, st *streams) error {
	if c.Root {
		return &Error{
			Host: h.Name(), Kind: ErrSudo, Err: errors.New("sudo reports success and has run nothing"),
			Remedy: "on the host, look at what sudo is: command -v sudo",
		}
	}
	return h.shellError("on the host, take the redirection of stdout out of ~/.bashrc and what else the shell of "+h.config.User+" reads at its start",
		"a start-up file of the login shell of %s sends the output of commands elsewhere", h.config.User)
}
