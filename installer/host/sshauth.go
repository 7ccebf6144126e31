package host

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/crypto/ssh"
)

// maxKeysFirst is how many keys are tried before a password that was given. sshd hangs up after
// MaxAuthTries (6) refusals, so behind a long list of keys the password would never be reached.
const maxKeysFirst = 3

// login is what a connection can prove itself with.
type login struct {
	methods []ssh.AuthMethod
	signers []ssh.Signer // certificates before keys, those of files before those of the agent
	// offers are what can be tried and passed what is passed over and why, for the message when the host refuses.
	offers, passed []string
	locked         string   // a key that would have needed a passphrase
	takes          []string // the methods that the host allows
	question       error    // the host asked what cannot be answered
	stuck          error    // the ssh agent did not do what it was asked
	close          func()
}

// newLogin collects what there is. Nothing of it fails: what cannot be used is passed over, and noted.
func newLogin(ctx context.Context, c SSHConfig) *login {
	l := &login{close: func() {}}
	keys := l.fileKeys(c)
	if c.AgentSocket != "" {
		keys = append(keys, l.agentKeys(ctx, c, len(keys) > 0)...)
	}
	l.signers = append(l.certified(c, keys), distinct(keys)...)
	if len(l.signers) > 0 {
		l.methods = append(l.methods, ssh.PublicKeys(l.signers...))
	}
	if c.Password != "" {
		password := []ssh.AuthMethod{ssh.Password(c.Password), ssh.KeyboardInteractive(l.answer(c.Password))}
		if len(l.signers) > maxKeysFirst {
			l.methods = append(password, l.methods...)
		} else {
			l.methods = append(l.methods, password...)
		}
	}
	return l
}

func (l *login) pass(what string, why any) {
	l.passed = append(l.passed, fmt.Sprintf("%s (%v)", what, why))
}

// next is an ssh.ClientAuthCallback. It notes what the host takes, and goes on with the keys behind one that could not sign,
// which would end the method.
func (l *login) next(at *ssh.ClientAuthContext) (ssh.AuthMethod, error) {
	l.takes = at.AllowedMethods
	failed := slices.IndexFunc(l.signers, func(s ssh.Signer) bool { return unusable(s) })
	if failed < 0 {
		return nil, nil
	}
	l.signers = slices.DeleteFunc(slices.Clone(l.signers[failed+1:]), unusable)
	if len(l.signers) == 0 {
		return nil, nil
	}
	return ssh.PublicKeys(l.signers...), nil
}

// answer gives the password to the first hidden question. A host that asks more (a one-time
// code, a second try) cannot be answered, and the login fails with its question.
func (l *login) answer(password string) ssh.KeyboardInteractiveChallenge {
	used := false
	return func(_, _ string, questions []string, echos []bool) ([]string, error) {
		answers := make([]string, len(questions))
		for i, q := range questions {
			if echos[i] || used {
				l.question = fmt.Errorf("the host asks %q, which a password does not answer", plain(q))
				return nil, l.question
			}
			answers[i], used = password, true
		}
		return answers, nil
	}
}

// refused tells, in one sentence, why the host did not let the user in, and what to do about it.
func (l *login) refused(c SSHConfig, err error) *Error {
	cause, remedy := l.verdict(c)
	if l.stuck != nil && !strings.HasPrefix(cause, theAgent) {
		l.pass(theAgent, l.stuck)
	}
	if len(l.passed) > 0 {
		cause += "; passed over: " + strings.Join(l.passed, ", ")
	}
	return &Error{Host: c.Name, Kind: ErrAuth, Err: &refusal{cause, err}, Remedy: remedy}
}

const theAgent = "the ssh agent"

func (l *login) verdict(c SSHConfig) (cause, remedy string) {
	keys := len(l.offers) > 0
	agentOnly := !slices.ContainsFunc(l.offers, func(o string) bool { return !strings.HasSuffix(o, theAgent) })
	offers := strings.Join(l.offers, ", ")
	takesKeys := slices.Contains(l.takes, "publickey")
	takesPassword := slices.Contains(l.takes, "password") || slices.Contains(l.takes, "keyboard-interactive")
	authorize := fmt.Sprintf("put the public half of the key that is meant into authorized_keys of %s on the host", c.User)
	switch {
	case l.question != nil:
		return l.question.Error(), "log in with a private key that the host takes without a question"
	case l.stuck != nil && agentOnly && c.Password == "" && l.locked == "":
		return fmt.Sprintf("%s failed (%v), and there is nothing else to log in with as %s", theAgent, l.stuck, c.User), "give the private key itself"
	case !keys && c.Password == "" && l.locked != "":
		return fmt.Sprintf("the only key for %s is encrypted", c.User), "give the passphrase of " + l.locked
	case !keys && c.Password == "":
		return fmt.Sprintf("there is nothing to log in with as %s", c.User), "give a password or a private key"
	case keys && c.Password == "" && !takesKeys && takesPassword:
		return fmt.Sprintf("the host takes passwords only, and %s has none", c.User), "give the password"
	case !keys && !takesPassword:
		return fmt.Sprintf("the host takes no password of %s", c.User), "give a private key that the host knows"
	case keys && (c.Password == "" || !takesPassword):
		cause = fmt.Sprintf("the host refused %s with %s", c.User, offers)
		if c.Password != "" {
			cause += ", and takes no password"
		}
		if len(l.signers) > 5 {
			return cause, "give the one key that is meant: hosts hang up after a few"
		}
		return cause, authorize
	}
	cause = fmt.Sprintf("the host refused the password of %s", c.User)
	if keys {
		cause += ", and " + offers
	}
	remedy = "check the password"
	if c.User == "root" {
		remedy += ", and that the host's sshd lets root in with one (PermitRootLogin yes)"
	}
	return cause, remedy
}

// refusal says in its own words what the library's error is about.
type refusal struct {
	cause string
	err   error
}

func (r *refusal) Error() string { return r.cause }

func (r *refusal) Unwrap() error { return r.err }
