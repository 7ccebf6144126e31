package bundle

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"

	"github.com/hiddeco/sshsig"
	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
)

// Signer makes the signatures of bundles.
type Signer struct {
	key ssh.Signer
}

// LoadSigner reads an OpenSSH key. A private key that is encrypted is opened with what passphrase returns, which is called at most
// once. A public key means the private key of it that the ssh-agent at $SSH_AUTH_SOCK holds.
func LoadSigner(file string, passphrase func() ([]byte, error)) (*Signer, error) {
	data, err := readTrustFile(file)
	if err != nil {
		return nil, fmt.Errorf("read the signing key: %w", err)
	}
	var key ssh.Signer
	if public, _, _, _, perr := ssh.ParseAuthorizedKey(data); perr == nil {
		key, err = agentSigner(public)
	} else {
		key, err = ssh.ParsePrivateKey(data)
		if missing := new(ssh.PassphraseMissingError); errors.As(err, &missing) {
			key, err = openKey(data, passphrase)
		}
	}
	if err == nil {
		err = checkStrength(key.PublicKey())
	}
	if err != nil {
		return nil, fmt.Errorf("signing key %s: %w", file, err)
	}
	return &Signer{key}, nil
}

func openKey(data []byte, passphrase func() ([]byte, error)) (ssh.Signer, error) {
	secret, err := passphrase()
	if err != nil {
		return nil, fmt.Errorf("its passphrase: %w", err)
	}
	defer clear(secret)
	return ssh.ParsePrivateKeyWithPassphrase(data, secret)
}

// agentSigner keeps the connection to the agent for as long as the program runs.
func agentSigner(public ssh.PublicKey) (ssh.Signer, error) {
	socket := os.Getenv("SSH_AUTH_SOCK")
	if socket == "" {
		return nil, errors.New("it is a public key, and there is no ssh-agent ($SSH_AUTH_SOCK) that could hold the private one")
	}
	conn, err := net.Dial("unix", socket)
	if err != nil {
		return nil, fmt.Errorf("ask the ssh-agent: %w", err)
	}
	signers, err := agent.NewClient(conn).Signers()
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("ask the ssh-agent: %w", err)
	}
	for _, s := range signers {
		if bytes.Equal(s.PublicKey().Marshal(), public.Marshal()) {
			return s, nil
		}
	}
	conn.Close()
	return nil, fmt.Errorf("the ssh-agent does not hold the private key of %s", ssh.FingerprintSHA256(public))
}

// Sign is for WriterOptions.Sign. The hash in the signature is SHA-256, so what is signed is the index's digest.
func (s *Signer) Sign(index []byte) ([]byte, error) {
	sig, err := sshsig.Sign(bytes.NewReader(index), s.key, sshsig.HashSHA256, SignatureNamespace)
	if err != nil {
		return nil, fmt.Errorf("sign with %s: %w", s.Fingerprint(), err)
	}
	return sshsig.Armor(sig), nil
}

// Fingerprint names the key as ssh-keygen -l does.
func (s *Signer) Fingerprint() string { return ssh.FingerprintSHA256(s.key.PublicKey()) }
