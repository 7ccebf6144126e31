package bundle

import (
	"bytes"
	"crypto/rsa"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"
	"os"

	"github.com/hiddeco/sshsig"
	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
)

// SignatureNamespace is what signatures of bundles are made for: a signature
// made by the same key for files, commits or mail is none of a bundle.
const SignatureNamespace = "bundle@sealbuild.io"

// Errors of signatures. They say nothing of the bytes of the bundle: those may be whole.
var (
	// ErrUnsigned is returned for a bundle without a signature.
	ErrUnsigned = errors.New("the bundle is not signed")
	// ErrUntrusted is returned for a signature by a key that is not trusted.
	ErrUntrusted = errors.New("the bundle is signed by a key that is not trusted")
	// ErrBadSignature is returned for a signature that is not one of this bundle.
	ErrBadSignature = errors.New("the signature is not one of this bundle")
)

// Range is where something lies in the file.
type Range struct {
	Offset int64 `json:"offset"` // of its first byte
	Length int64 `json:"length"` // in bytes
}

// IndexRange is where the compressed index lies: the bytes that are signed. Their SHA-256 is IndexDigest.
func (r *Reader) IndexRange() Range {
	return Range{r.start + r.trailer.indexStart + sectionHeaderSize, r.trailer.indexData}
}

// SignatureRange is where the armored OpenSSH signature lies. ok is false when there is none.
func (r *Reader) SignatureRange() (at Range, ok bool) {
	if r.trailer.signature == 0 {
		return Range{}, false
	}
	return Range{r.start + r.trailer.signatureStart() + sectionHeaderSize, r.trailer.signature}, true
}

// Signature returns the armored signature as it lies in the file, unchecked. It returns ErrUnsigned when there is none.
func (r *Reader) Signature() ([]byte, error) {
	at, ok := r.SignatureRange()
	if !ok {
		return nil, ErrUnsigned
	}
	text := make([]byte, at.Length)
	if err := readFull(r.r, text, at.Offset); err != nil {
		return nil, fmt.Errorf("read the signature: %w", err)
	}
	return text, nil
}

// SignedBy checks that the signature is one of this bundle's index and returns the key that made it, trusted or not. The errors are
// ErrUnsigned and ErrBadSignature.
func (r *Reader) SignedBy() (ssh.PublicKey, error) {
	text, err := r.Signature()
	if err != nil {
		return nil, err
	}
	at, h := r.IndexRange(), sha256.New()
	key, err := checkSignature(text, io.TeeReader(io.NewSectionReader(r.r, at.Offset, at.Length), h))
	if err == nil && hashSum(h.Sum(nil)) != r.trailer.indexSum {
		err = fmt.Errorf("%w: the index changed while it was read", ErrBadSignature)
	}
	if err != nil {
		return nil, err
	}
	return key, nil
}

// parseSignature accepts only one way to write a signature down, so that no byte of it is free.
func parseSignature(text []byte) (*sshsig.Signature, error) {
	s, err := sshsig.Unarmor(text)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBadSignature, err)
	}
	if !bytes.Equal(sshsig.Armor(s), text) {
		return nil, fmt.Errorf("%w: its armor is not as it was written", ErrBadSignature)
	}
	return s, nil
}

func checkSignature(text []byte, message io.Reader) (ssh.PublicKey, error) {
	s, err := parseSignature(text)
	if err != nil {
		return nil, err
	}
	if err := checkStrength(s.PublicKey); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBadSignature, err)
	}
	if err := sshsig.Verify(message, s, s.PublicKey, s.HashAlgorithm, SignatureNamespace); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBadSignature, err)
	}
	return s.PublicKey, nil
}

// checkStrength refuses keys that signatures should not be made with any more.
func checkStrength(key ssh.PublicKey) error {
	switch key.Type() {
	case ssh.KeyAlgoED25519, ssh.KeyAlgoSKED25519, ssh.KeyAlgoECDSA256, ssh.KeyAlgoECDSA384, ssh.KeyAlgoECDSA521, ssh.KeyAlgoSKECDSA256:
		return nil
	case ssh.KeyAlgoRSA:
		if k, ok := key.(ssh.CryptoPublicKey); ok {
			if k, ok := k.CryptoPublicKey().(*rsa.PublicKey); ok && k.N.BitLen() >= 2048 {
				return nil
			}
		}
		return errors.New("an RSA key of less than 2048 bits")
	}
	return fmt.Errorf("a key of type %s; expected ed25519, ecdsa or rsa", key.Type())
}

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
		} else if err != nil {
			err = errors.New("it is no private key: expected one that ssh-keygen makes, or the public key of one that the ssh agent holds")
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
