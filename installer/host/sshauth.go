package host

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"golang.org/x/crypto/ssh"
)

// maxKeysFirst is how many keys are tried before a password that was given. sshd hangs up after
// MaxAuthTries (6) refusals, so behind a long list of keys the password would never be reached.
const maxKeysFirst = 3

// login is what there is to log in with: keys, certificates and a password.
type login struct {
	methods []ssh.AuthMethod
	signers []ssh.Signer // certificates before keys, those of files before those of the agent
	// For the message when the host refuses: offers names what is tried, passed what is passed over and why.
	offers, passed []string
	locked         string   // the file of a key that needs another passphrase, or one at all
	takes          []string // the methods that the host allows
	question       error    // the host asked a question that cannot be answered
	stuck          error    // why the ssh agent did not help
	close          func()
}

// newLogin collects what there is to log in with. It passes over what cannot be used, and notes it.
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

// next is an ssh.ClientAuthCallback. It notes the methods that the host allows. After a key that could not sign, which ends the
// method, it goes on with the keys behind it.
func (l *login) next(at *ssh.ClientAuthContext) (ssh.AuthMethod, error) {
	l.takes = at.AllowedMethods
	failed := slices.IndexFunc(l.signers, unusable)
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

// refused makes the error of a host that did not let the user in: one sentence and a remedy.
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

// refusal is an error of the library with a text of our own.
type refusal struct {
	cause string
	err   error
}

func (r *refusal) Error() string { return r.cause }

func (r *refusal) Unwrap() error { return r.err }

// maxKeyFile bounds a file with a key or a certificate, in bytes.
const maxKeyFile = 1 << 20

// fileKeys reads private keys. One that cannot be read or used is passed over: there may be others, or a password.
func (l *login) fileKeys(c SSHConfig) []ssh.Signer {
	var signers []ssh.Signer
	for _, name := range c.KeyFiles {
		text, err := readBounded(name, maxKeyFile)
		if errors.Is(err, fs.ErrNotExist) {
			l.pass(name, "no such file")
			continue
		}
		if err != nil {
			l.pass(name, bareError(err))
			continue
		}
		signer, err := ssh.ParsePrivateKey(text)
		if _, encrypted := errors.AsType[*ssh.PassphraseMissingError](err); encrypted {
			if c.KeyPassphrase == "" {
				l.locked = name
				l.pass(name, "encrypted, and no passphrase was given")
				continue
			}
			signer, err = ssh.ParsePrivateKeyWithPassphrase(text, []byte(c.KeyPassphrase))
			if err != nil {
				l.locked = name
				l.pass(name, "encrypted, and not with the passphrase that was given")
				continue
			}
		}
		if err != nil {
			l.pass(name, "not a private key that can be read")
			continue
		}
		l.offers = append(l.offers, "key "+name)
		signers = append(signers, signer)
	}
	return signers
}

// bareError takes operation and file off an error: the message names the file already.
func bareError(err error) error {
	if path, ok := errors.AsType[*fs.PathError](err); ok {
		return path.Err
	}
	return err
}

// certified gives signers with the certificates that belong to keys: those beside key files, as ssh-keygen writes them, and
// those that were named.
func (l *login) certified(c SSHConfig, keys []ssh.Signer) []ssh.Signer {
	var files []string
	for _, name := range c.KeyFiles {
		files = append(files, name+"-cert.pub")
	}
	named := len(files)
	files = append(files, c.CertFiles...)
	var signers []ssh.Signer
	for i, name := range files {
		text, err := readBounded(name, maxKeyFile)
		if i < named && errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			l.pass(name, bareError(err))
			continue
		}
		key, _, _, _, err := ssh.ParseAuthorizedKey(text)
		cert, ok := key.(*ssh.Certificate)
		if err != nil || !ok || cert.CertType != ssh.UserCert {
			l.pass(name, "not a certificate of a user")
			continue
		}
		signer := withCertificate(cert, keys)
		if signer == nil {
			l.pass(name, "the key of this certificate is not there")
			continue
		}
		l.offers = append([]string{fmt.Sprintf("certificate %s", name)}, l.offers...)
		signers = append(signers, signer)
	}
	return signers
}

func withCertificate(cert *ssh.Certificate, keys []ssh.Signer) ssh.Signer {
	for _, k := range keys {
		if sameKey(cert.Key, k.PublicKey()) {
			signer, err := ssh.NewCertSigner(cert, k)
			if signs, ok := signer.(ssh.AlgorithmSigner); err == nil && ok {
				return certSigner{signs, k}
			}
		}
	}
	return nil
}

// certSigner is a certificate with the key that signs for it.
type certSigner struct {
	ssh.AlgorithmSigner
	key ssh.Signer
}

// unusable tells whether a signer has failed to sign.
func unusable(s ssh.Signer) bool {
	switch s := s.(type) {
	case certSigner:
		return unusable(s.key)
	case *agentKey:
		return s.failed()
	}
	return false
}

// distinct drops keys that are there twice, in a file and in the agent: hosts count refusals.
func distinct(keys []ssh.Signer) []ssh.Signer {
	seen := map[string]bool{}
	var out []ssh.Signer
	for _, k := range keys {
		blob := string(k.PublicKey().Marshal())
		if !seen[blob] {
			out = append(out, k)
		}
		seen[blob] = true
	}
	return out
}

// Encrypted tells whether a file is a private key that needs a passphrase.
func Encrypted(file string) bool {
	text, err := readBounded(file, maxKeyFile)
	if err != nil {
		return false
	}
	_, err = ssh.ParsePrivateKey(text)
	_, encrypted := errors.AsType[*ssh.PassphraseMissingError](err)
	return encrypted
}
