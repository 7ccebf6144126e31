package host

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"
	"golang.org/x/sys/unix"
)

// hostKeys decides whether the key of one host is accepted, by a policy and by files of known hosts.
type hostKeys struct {
	policy HostKeyPolicy
	file   string   // where keys are added
	also   []string // further files that are believed: the operator's own
	// accepted is set when a key was accepted: a failure after that is not about the key.
	accepted bool
	err      error
}

// check is an ssh.HostKeyCallback.
func (k *hostKeys) check(address string, _ net.Addr, key ssh.PublicKey) error {
	err := k.decide(address, key)
	k.accepted, k.err = err == nil, err
	return err
}

func (k *hostKeys) decide(address string, key ssh.PublicKey) error {
	if k.policy == Off {
		return nil
	}
	known, err := k.known()
	if err != nil {
		return err
	}
	by, err := judge(known, address, key)
	switch {
	case errors.Is(err, errUnknownHost) && k.policy == AcceptNew:
		return k.add(address, key)
	case errors.Is(err, errUnknownHost):
		return k.unknown(address, key)
	case err == nil && by.marker == "" && by.file != k.file:
		return k.add(address, key)
	}
	return err
}

// known reads the files anew each time: they are small, and other connections add to them. A file of the operator that cannot
// be read is passed over, as ssh does.
func (k *hostKeys) known() ([]knownKey, error) {
	known, err := readKnown(k.file)
	if err != nil {
		return nil, err
	}
	for _, file := range k.also {
		if more, err := readKnown(file); err == nil {
			known = append(known, more...)
		}
	}
	return known, nil
}

// hostKeyError says why the key of a host is not accepted, and what the operator can do.
type hostKeyError struct{ cause, remedy string }

func (e *hostKeyError) Error() string { return e.cause }

// errUnknownHost means that no file has a line about the host.
var errUnknownHost = errors.New("unknown host")

// judge gives the line that vouches for a host's key. The error is errUnknownHost where no line is about the host.
func judge(known []knownKey, address string, key ssh.PublicKey) (knownKey, error) {
	exact, bare := names(address)
	cert, _ := key.(*ssh.Certificate)
	plain := key
	if cert != nil {
		plain = cert.Key
	}
	var other, authority, signer *knownKey
	var vouches knownKey
	var certified error
	trusted := false
	for i, k := range known {
		isExact := k.matches(exact)
		if !isExact && !k.matches(bare) {
			continue
		}
		switch {
		case k.marker == markRevoked:
			if sameKey(k.key, plain) || cert != nil && sameKey(k.key, cert.SignatureKey) {
				return k, &hostKeyError{
					fmt.Sprintf("key %s is marked revoked in %s line %d", ssh.FingerprintSHA256(k.key), k.file, k.line),
					"give the host a new key",
				}
			}
		case k.marker == markAuthority:
			if cert != nil && sameKey(k.key, cert.SignatureKey) {
				certified, signer = checkCert(cert, bare), &known[i]
				if certified == nil && !trusted {
					vouches, trusted = k, true
				}
			}
			if isExact && (authority == nil || authority.everybody()) {
				authority = &known[i]
			}
		case sameKey(k.key, plain):
			if !trusted {
				vouches, trusted = k, true
			}
		case isExact && other == nil:
			other = &known[i]
		}
	}
	switch {
	case trusted:
		return vouches, nil
	case certified != nil:
		return knownKey{}, &hostKeyError{
			fmt.Sprintf("its certificate, of the authority in %s line %d, is not valid for it: %v", signer.file, signer.line, certified),
			fmt.Sprintf("sign the host's key anew, with the principal %s", bare),
		}
	case other != nil:
		return knownKey{}, &hostKeyError{
			fmt.Sprintf("the key has changed: got %s %s, %s line %d has %s %s",
				plain.Type(), ssh.FingerprintSHA256(plain), other.file, other.line, other.key.Type(), ssh.FingerprintSHA256(other.key)),
			"if the host was made anew: " + Quote("ssh-keygen", "-f", other.file, "-R", knownhosts.Normalize(address)),
		}
	case authority != nil && (cert != nil || !authority.everybody()):
		what := "it shows no certificate"
		if cert != nil {
			what = "its certificate is of another authority, " + ssh.FingerprintSHA256(cert.SignatureKey)
		}
		return knownKey{}, &hostKeyError{
			fmt.Sprintf("%s line %d says that an authority certifies its key, and %s", authority.file, authority.line, what),
			"let that authority sign the host's key, with the principal " + bare,
		}
	}
	return knownKey{}, errUnknownHost
}

// checkCert gives an error where a certificate is not valid for a host, although its authority is believed.
func checkCert(cert *ssh.Certificate, name string) error {
	if cert.CertType != ssh.HostCert {
		return errors.New("it is not one of a host")
	}
	err := (&ssh.CertChecker{}).CheckCert(name, cert)
	if err != nil {
		return errors.New(strings.TrimPrefix(err.Error(), "ssh: "))
	}
	return nil
}

// algorithms lists the kinds of keys that the host is asked for, in order: certificates if an authority is believed for it, the
// kinds of its known keys, and the rest. nil means the defaults.
func (k *hostKeys) algorithms(address string) ([]string, error) {
	if k.policy == Off {
		return nil, nil
	}
	known, err := k.known()
	if err != nil {
		return nil, err
	}
	exact, bare := names(address)
	var certs, kinds, rest []string
	authority, supported := false, ssh.SupportedAlgorithms().HostKeys
	for _, line := range known {
		if !line.matches(exact) && !line.matches(bare) {
			continue
		}
		switch {
		case line.marker == markAuthority:
			authority = true
		case line.marker == "" && line.key.Type() == ssh.KeyAlgoRSA:
			kinds = append(kinds, ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256)
		case line.marker == "" && slices.Contains(supported, line.key.Type()):
			kinds = append(kinds, line.key.Type())
		}
	}
	for _, a := range supported {
		switch {
		case strings.Contains(a, "-cert-"):
			certs = append(certs, a)
		case !slices.Contains(kinds, a):
			rest = append(rest, a)
		}
	}
	if !authority {
		certs = nil
	}
	slices.SortStableFunc(certs, func(a, b string) int { return prefers(kinds, a) - prefers(kinds, b) })
	return slices.Concat(certs, kinds, rest), nil
}

// prefers ranks a kind of certificate: those for known kinds of keys come first.
func prefers(kinds []string, cert string) int {
	if slices.ContainsFunc(kinds, func(kind string) bool { return strings.HasPrefix(cert, kind+"-cert-") }) {
		return 0
	}
	return 1
}

// add appends the host to the file unless another connection or process has done so.
func (k *hostKeys) add(address string, key ssh.PublicKey) error {
	if cert, ok := key.(*ssh.Certificate); ok {
		key = cert.Key
	}
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
	own, err := readKnown(k.file)
	if err != nil {
		return err
	}
	if _, err := judge(own, address, key); !errors.Is(err, errUnknownHost) {
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

func (k *hostKeys) unknown(address string, key ssh.PublicKey) error {
	if cert, ok := key.(*ssh.Certificate); ok {
		key = cert.Key
	}
	files := slices.Concat([]string{k.file}, k.also)
	if there := slices.DeleteFunc(slices.Clone(files), func(f string) bool { _, err := os.Stat(f); return err != nil }); len(there) > 0 {
		files = there
	}
	return &hostKeyError{
		fmt.Sprintf("%s key %s is not in %s", key.Type(), ssh.FingerprintSHA256(key), strings.Join(files, ", ")),
		fmt.Sprintf("compare it with the host's own (ssh-keygen -l), and add this line to %s: %s", k.file, knownhosts.Line([]string{address}, key)),
	}
}
