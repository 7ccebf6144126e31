package host

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"strings"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
)

// maxKeysFirst is how many keys are tried before a password that was given. sshd hangs up after
// MaxAuthTries (6) refusals, so behind a long list of keys the password would never be reached.
const maxKeysFirst = 3

// login is what a connection can prove itself with.
type login struct {
	methods []ssh.AuthMethod
	notes   []string // what was tried or passed over, for the message when the host refuses
	close   func()
}

func newLogin(c SSHConfig) (*login, error) {
	l := &login{close: func() {}}
	signers, err := l.keys(c)
	if err != nil {
		return nil, err
	}
	if c.AgentSocket != "" {
		signers = append(signers, l.agentKeys(c.AgentSocket)...)
	}
	if len(signers) > 0 {
		l.methods = append(l.methods, ssh.PublicKeys(signers...))
	}
	if c.Password != "" {
		l.notes = append(l.notes, "password")
		password := []ssh.AuthMethod{ssh.Password(c.Password), ssh.KeyboardInteractive(answer(c.Password))}
		if len(signers) > maxKeysFirst {
			l.methods = append(password, l.methods...)
		} else {
			l.methods = append(l.methods, password...)
		}
	}
	return l, nil
}

func (l *login) keys(c SSHConfig) ([]ssh.Signer, error) {
	var signers []ssh.Signer
	for _, name := range c.KeyFiles {
		text, err := os.ReadFile(name)
		if errors.Is(err, fs.ErrNotExist) {
			l.notes = append(l.notes, name+" (no such file)")
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("read private key: %w", err)
		}
		signer, err := ssh.ParsePrivateKey(text)
		var encrypted *ssh.PassphraseMissingError
		if errors.As(err, &encrypted) {
			if c.KeyPassphrase == "" {
				l.notes = append(l.notes, name+" (encrypted, and no passphrase was given)")
				continue
			}
			signer, err = ssh.ParsePrivateKeyWithPassphrase(text, []byte(c.KeyPassphrase))
		}
		if err != nil {
			return nil, fmt.Errorf("private key %s: %w", name, err)
		}
		l.notes = append(l.notes, "key "+name)
		signers = append(signers, signer)
	}
	return signers, nil
}

// Encrypted tells whether a file is a private key that needs a passphrase.
func Encrypted(file string) bool {
	text, err := os.ReadFile(file)
	if err != nil {
		return false
	}
	_, err = ssh.ParsePrivateKey(text)
	var encrypted *ssh.PassphraseMissingError
	return errors.As(err, &encrypted)
}

// agentKeys never fails: an agent is a convenience, and the notes tell what came of it.
func (l *login) agentKeys(socket string) []ssh.Signer {
	conn, err := net.Dial("unix", socket)
	if err != nil {
		l.notes = append(l.notes, fmt.Sprintf("ssh agent (%v)", err))
		return nil
	}
	l.close = func() { conn.Close() }
	signers, err := agent.NewClient(conn).Signers()
	if err != nil {
		l.notes = append(l.notes, fmt.Sprintf("ssh agent (%v)", err))
		return nil
	}
	l.notes = append(l.notes, fmt.Sprintf("%d keys of the ssh agent", len(signers)))
	return signers
}

// answer gives the password to the first hidden question. A host that asks more (a one-time
// code, a second try) cannot be answered, and the login fails with its question.
func answer(password string) ssh.KeyboardInteractiveChallenge {
	used := false
	return func(_, _ string, questions []string, echos []bool) ([]string, error) {
		answers := make([]string, len(questions))
		for i, q := range questions {
			if echos[i] || used {
				return nil, fmt.Errorf("the host asks %q, which a password does not answer", strings.TrimSpace(q))
			}
			answers[i], used = password, true
		}
		return answers, nil
	}
}

// remedy says what to look at when a host refused.
func (l *login) remedy(c SSHConfig) string {
	if len(l.notes) == 0 {
		return "give a password or a private key"
	}
	return fmt.Sprintf("tried as %s: %s", c.User, strings.Join(l.notes, ", "))
}
