package testbed

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/crypto/bcrypt"
	"golang.org/x/crypto/ssh"
)

// makeCredentials makes the bed's key and password. Both die with the bed.
func (b *Bed) makeCredentials() error {
	private, public, err := newHostKey()
	if err != nil {
		return err
	}
	b.publicKey = public + "\n"
	b.KeyFile = filepath.Join(b.Dir, "id_ed25519")
	if err := os.WriteFile(b.KeyFile, []byte(private), 0o600); err != nil {
		return err
	}
	b.Password = rand.Text()
	// The cheapest cost: the password guards a machine nobody can reach.
	hash, err := bcrypt.GenerateFromPassword([]byte(b.Password), bcrypt.MinCost)
	b.hash = string(hash)
	return err
}

// newHostKey makes an ed25519 key: OpenSSH's private form and the public line.
func newHostKey() (private, public string, err error) {
	pub, priv, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return "", "", err
	}
	block, err := ssh.MarshalPrivateKey(priv, "testbed")
	if err != nil {
		return "", "", err
	}
	sshPub, err := ssh.NewPublicKey(pub)
	if err != nil {
		return "", "", err
	}
	return string(pem.EncodeToMemory(block)), strings.TrimSpace(string(ssh.MarshalAuthorizedKey(sshPub))), nil
}

// shadow is the tree's password file with the bed's password for root and ops.
func (b *Bed) shadow() (string, error) {
	raw, err := os.ReadFile(filepath.Join(b.tree, "etc/shadow"))
	if err != nil {
		return "", err
	}
	var out strings.Builder
	set := 0
	for line := range strings.Lines(string(raw)) {
		f := strings.Split(line, ":")
		if len(f) > 1 && (f[0] == "root" || f[0] == "ops") {
			f[1] = b.hash
			set++
		}
		out.WriteString(strings.Join(f, ":"))
	}
	if set != 2 {
		return "", fmt.Errorf("the tree %s lacks the users root and ops", b.tree)
	}
	return out.String(), nil
}

func owner(fi os.FileInfo) (uid, gid int) {
	if st, ok := fi.Sys().(*syscall.Stat_t); ok {
		return int(st.Uid), int(st.Gid)
	}
	return 0, 0
}
