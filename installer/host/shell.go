package host

import (
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"

	"golang.org/x/crypto/ssh"
)

// maxSaid bounds what is told of a login shell's own words, in characters.
const maxSaid = 200

// said gives the last line that was printed before the command, as a part of a sentence.
func (st *streams) said() string {
	for _, b := range []*beginning{st.errs, st.out} {
		lines := strings.Split(b.before(), "\n")
		if line := plain(lines[len(lines)-1]); line != "" {
			return line
		}
	}
	return ""
}

// plain makes a line that can stand in a message: without control characters, and not long.
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

// shellEnded tells of a login shell that ended before it ran the command. exit is nil for status 0.
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
	case strings.Contains(said, "not available"): // the words of nologin
		return h.shellError(another, "the login shell of %s is nologin, which lets nobody run commands (%s)", user, words)
	case exit == nil:
		return h.shellError(startUp, "a start-up file of the login shell of %s ends or replaces the shell (%s, %s)", user, status, words)
	case exit.ExitStatus() == 1 && said == "":
		return h.shellError(another, "the login shell of %s ends at once and says nothing, as /bin/false does (%s)", user, status)
	case strings.Contains(said, "rather than the user"): // what images of clouds put into root's authorized_keys
		return h.shellError("log in as the user it names", "the host runs no commands for %s (%s)", user, words)
	case strings.Contains(said, "/."): // its name is that of a hidden file
		return h.shellError(startUp, "a start-up file of the login shell of %s ends or replaces the shell (%s, %s)", user, status, words)
	case exit.ExitStatus() == 126, exit.ExitStatus() == 127, strings.Contains(said, "restricted"):
		return h.shellError(another, "the login shell of %s does not run /bin/sh (%s, %s)", user, status, words)
	}
	return h.shellError(startUp, "the login shell of %s, or a start-up file of it, ended before it ran a command (%s, %s)", user, status, words)
}

// shellWaits tells of a login shell that neither runs the command nor ends.
func (h *sshHost) shellWaits(after time.Duration, st *streams) error {
	words := ""
	if said := st.said(); said != "" {
		words = ", it printed: " + said
	}
	return h.shellError("on the host, look at ~/.bashrc and what else the shell of "+h.config.User+" reads at its start: something in it waits, or runs in place of the shell",
		"the login shell of %s has not run a command within %v%s", h.config.User, after, words)
}

// shellSilent tells of a command that is said to have succeeded, and whose output went elsewhere.
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
