package host

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"
	"golang.org/x/sys/unix"
)

// hostKeys decides about the key of one host by a policy and a known_hosts file.
type hostKeys struct {
	policy HostKeyPolicy
	file   string
	also   []string // read by Strict for hosts that are not in file
	// accepted is set when a key was taken: what fails after that is not about the key.
	accepted bool
	err      error
}

// check is an ssh.HostKeyCallback.
func (k *hostKeys) check(address string, remote net.Addr, key ssh.PublicKey) error {
	err := k.decide(address, remote, key)
	k.accepted, k.err = err == nil, err
	return err
}

func (k *hostKeys) decide(address string, remote net.Addr, key ssh.PublicKey) error {
	if k.policy == Off {
		return nil
	}
	source := k.source(address, remote)
	err := lookup(source, address, remote, key)
	if k.policy == AcceptNew && isUnknown(err) || source != k.file && err == nil {
		err = k.add(address, remote, key)
	}
	return k.explain(err, address, key)
}

// source is the file that knows a host: the own one, or where only known ones are let in, the first other that does.
func (k *hostKeys) source(address string, remote net.Addr) string {
	if k.policy != Strict || knows(k.file, address, remote) {
		return k.file
	}
	for _, file := range k.also {
		if knows(file, address, remote) {
			return file
		}
	}
	return k.file
}

func knows(file, address string, remote net.Addr) bool {
	return !isUnknown(lookup(file, address, remote, noKey{}))
}

// algorithms puts the types of the keys known for the host first, so that a host with several
// keys shows one that can be compared. nil means the defaults.
func (k *hostKeys) algorithms(address string, remote net.Addr) ([]string, error) {
	if k.policy == Off {
		return nil, nil
	}
	var mismatch *knownhosts.KeyError
	err := lookup(k.source(address, remote), address, remote, noKey{})
	if !errors.As(err, &mismatch) {
		return nil, err
	}
	var known []string
	for _, w := range mismatch.Want {
		if w.Key.Type() == ssh.KeyAlgoRSA {
			known = append(known, ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256)
			continue
		}
		known = append(known, w.Key.Type())
	}
	if known == nil {
		return nil, nil
	}
	for _, a := range ssh.SupportedAlgorithms().HostKeys {
		if !slices.Contains(known, a) {
			known = append(known, a)
		}
	}
	return known, nil
}

// add appends the host to the file unless another connection or process did so meanwhile.
func (k *hostKeys) add(address string, remote net.Addr, key ssh.PublicKey) error {
	if err := os.MkdirAll(filepath.Dir(k.file), 0o700); err != nil {
		return fmt.Errorf("make directory of known hosts: %w", err)
	}
	f, err := os.OpenFile(k.file, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("open known hosts: %w", err)
	}
	defer f.Close() // and with it the lock
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		return fmt.Errorf("lock known hosts: %w", err)
	}
	if err := lookup(k.file, address, remote, key); !isUnknown(err) {
		return err
	}
	line := knownhosts.Line([]string{address}, key) + "\n"
	if end, err := f.Seek(0, io.SeekEnd); err == nil && end > 0 {
		var last [1]byte
		if _, err := f.ReadAt(last[:], end-1); err == nil && last[0] != '\n' {
			line = "\n" + line
		}
	}
	if _, err := f.WriteString(line); err != nil {
		return fmt.Errorf("add to known hosts: %w", err)
	}
	return f.Sync()
}

func (k *hostKeys) explain(err error, address string, key ssh.PublicKey) error {
	var mismatch *knownhosts.KeyError
	var revoked *knownhosts.RevokedError
	switch {
	case errors.As(err, &revoked):
		return fmt.Errorf("key %s is marked revoked in %s", ssh.FingerprintSHA256(key), k.file)
	case !errors.As(err, &mismatch):
		return err
	case len(mismatch.Want) == 0:
		return fmt.Errorf("%s key %s is not in %s", key.Type(), ssh.FingerprintSHA256(key), strings.Join(append([]string{k.file}, k.also...), ", "))
	}
	w := mismatch.Want[0]
	return fmt.Errorf("the key has changed: got %s %s, %s line %d has %s; if the host was made anew: %s",
		key.Type(), ssh.FingerprintSHA256(key), w.Filename, w.Line, ssh.FingerprintSHA256(w.Key),
		Quote("ssh-keygen", "-f", w.Filename, "-R", knownhosts.Normalize(address)))
}

func isUnknown(err error) bool {
	var e *knownhosts.KeyError
	return errors.As(err, &e) && len(e.Want) == 0
}

// lookup reads the file anew each time: it is small, and other connections add to it.
func lookup(file, address string, remote net.Addr, key ssh.PublicKey) error {
	check, err := knownhosts.New(file)
	if errors.Is(err, fs.ErrNotExist) {
		return &knownhosts.KeyError{}
	}
	if err != nil {
		return fmt.Errorf("read known hosts: %w", err)
	}
	return check(address, remote, key)
}

// noKey equals no key, so that looking it up gives the keys that are known.
type noKey struct{}

func (noKey) Type() string                        { return "none" }
func (noKey) Marshal() []byte                     { return []byte("none") }
func (noKey) Verify([]byte, *ssh.Signature) error { return errors.New("no key") }
