package host

import (
	"errors"
	"fmt"
	"io/fs"

	"golang.org/x/crypto/ssh"
)

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
		var encrypted *ssh.PassphraseMissingError
		if errors.As(err, &encrypted) {
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

// bareError leaves out what the message has already: operation and file.
func bareError(err error) error {
	var path *fs.PathError
	if errors.As(err, &path) {
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

// certSigner remembers the key that signs for a certificate.
type certSigner struct {
	ssh.AlgorithmSigner
	key ssh.Signer
}

// unusable tells of a signer that failed to sign.
func unusable(s ssh.Signer) bool {
	switch s := s.(type) {
	case certSigner:
		return unusable(s.key)
	case *agentKey:
		return s.failed()
	}
	return false
}

// distinct leaves out what is there twice, in a file and in the agent: hosts count refusals.
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
	var encrypted *ssh.PassphraseMissingError
	return errors.As(err, &encrypted)
}
