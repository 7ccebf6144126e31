package registry

import (
	"bufio"
	"bytes"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/bcrypt"
)

// maxHtpasswd bounds the accounts file, in bytes.
const maxHtpasswd = 1 << 20

// Htpasswd returns a line of an htpasswd file (bcrypt) for a user.
func Htpasswd(user, password string) ([]byte, error) {
	if user == "" || strings.ContainsAny(user, ":\r\n\x00") {
		return nil, fmt.Errorf("user name %q: %w", user, ErrInvalid)
	}
	if password == "" {
		return nil, fmt.Errorf("the password of user %s is empty: %w", user, ErrInvalid)
	}
	hash, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.DefaultCost)
	if err != nil {
		return nil, fmt.Errorf("hash the password of user %s: %w", user, err)
	}
	return fmt.Appendf(nil, "%s:%s\n", user, hash), nil
}

// NewPassword returns a random password of 32 letters, digits, '-' and '_' (192 bits).
func NewPassword() string {
	var b [24]byte
	_, _ = rand.Read(b[:]) // never fails; the runtime ends the process instead
	return base64.RawURLEncoding.EncodeToString(b[:])
}

// authenticator asks for an account of an htpasswd file, which is read again when it changes.
//
// bcrypt is slow by design, and clients send their password with every request; so the outcome of a right password
// is remembered, as a keyed hash that means nothing outside this process.
type authenticator struct {
	path, realm string
	next        http.Handler
	key         [32]byte
	checks      chan struct{} // bcrypt computations at once: guessing must not take all the cores

	mu       sync.Mutex
	modified time.Time
	size     int64
	accounts map[string][]byte
	right    map[[32]byte]bool
}

// newAuthenticator fails if the file cannot be read: a registry that lets everybody or nobody in helps nobody.
func newAuthenticator(path, realm string, next http.Handler) (*authenticator, error) {
	if realm == "" {
		realm = "sealbuild"
	}
	a := &authenticator{path: path, realm: realm, next: next, checks: make(chan struct{}, 2)}
	_, _ = rand.Read(a.key[:])
	a.mu.Lock()
	defer a.mu.Unlock()
	if err := a.reload(); err != nil {
		return nil, fmt.Errorf("serve registry: %w", err)
	}
	return a, nil
}

func (a *authenticator) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	user, password, ok := r.BasicAuth()
	if !ok || !a.allow(r, user, password) {
		w.Header().Set("WWW-Authenticate", fmt.Sprintf("Basic realm=%q", a.realm))
		writeError(w, http.StatusUnauthorized, "UNAUTHORIZED", "authentication required", nil)
		return
	}
	a.next.ServeHTTP(w, r)
}

func (a *authenticator) allow(r *http.Request, user, password string) bool {
	mac := hmac.New(sha256.New, a.key[:])
	fmt.Fprintf(mac, "%d:%s:%s", len(user), user, password)
	proof := [32]byte(mac.Sum(nil))

	a.mu.Lock()
	err := a.reload()
	hash, known := a.accounts[user]
	right := a.right[proof]
	a.mu.Unlock()
	if err != nil {
		return false
	}
	if right {
		return true
	}
	if !known {
		hash = []byte(noAccount) // so that an unknown user takes as long as a known one
	}
	select {
	case a.checks <- struct{}{}:
		defer func() { <-a.checks }()
	case <-r.Context().Done():
		return false
	}
	if bcrypt.CompareHashAndPassword(hash, []byte(password)) != nil || !known {
		return false
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if bytes.Equal(a.accounts[user], hash) { // the file may have changed meanwhile
		a.right[proof] = true
	}
	return true
}

// noAccount is a hash of the usual cost that no password has.
const noAccount = "$2a$10$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"

// reload reads the file if it has changed. It is called with mu held.
func (a *authenticator) reload() error {
	fi, err := os.Stat(a.path)
	if err != nil {
		return fmt.Errorf("accounts file: %w", err)
	}
	if a.accounts != nil && fi.ModTime().Equal(a.modified) && fi.Size() == a.size {
		return nil
	}
	if fi.Size() > maxHtpasswd {
		return fmt.Errorf("accounts file %s: %d bytes: %w", a.path, fi.Size(), ErrInvalid)
	}
	data, err := os.ReadFile(a.path)
	if err != nil {
		return fmt.Errorf("accounts file: %w", err)
	}
	accounts, err := parseHtpasswd(data)
	if err != nil {
		return fmt.Errorf("accounts file %s: %w", a.path, err)
	}
	a.accounts, a.right = accounts, map[[32]byte]bool{}
	a.modified, a.size = fi.ModTime(), fi.Size()
	return nil
}

func parseHtpasswd(data []byte) (map[string][]byte, error) {
	accounts := map[string][]byte{}
	lines := bufio.NewScanner(bytes.NewReader(data))
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		user, hash, ok := strings.Cut(line, ":")
		if !ok {
			return nil, fmt.Errorf("line %d is not user:hash: %w", n, ErrInvalid)
		}
		if _, err := bcrypt.Cost([]byte(hash)); err != nil {
			return nil, fmt.Errorf("line %d: only bcrypt is taken (htpasswd -B): %w", n, errors.Join(err, ErrInvalid))
		}
		accounts[user] = []byte(hash)
	}
	return accounts, lines.Err()
}
