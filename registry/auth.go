package registry

import (
	"bufio"
	"bytes"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"strings"
	"sync"

	"github.com/distribution/distribution/v3/registry/api/errcode"
	"github.com/sealbuild/sealbuild/registry/api"
	"github.com/sealbuild/sealbuild/registry/catalog"
	"golang.org/x/crypto/bcrypt"
)

// maxHtpasswd bounds the accounts file, in bytes.
const maxHtpasswd = 1 << 20

// Account is somebody who may use a registry.
type Account struct {
	User, Password string
	PullOnly       bool // may neither push nor delete
}

// pullOnly begins the line of an accounts file that tells of an account which may pull only. To other programs that
// read such files it is a comment, and htpasswd keeps it.
const pullOnly = "# pull-only: "

// Accounts returns an htpasswd file (bcrypt) of these accounts.
func Accounts(list ...Account) ([]byte, error) {
	var out []byte
	for _, a := range list {
		if a.User == "" || strings.ContainsAny(a.User, ":\r\n\x00") || strings.TrimSpace(a.User) != a.User || a.User[0] == '#' {
			return nil, fmt.Errorf("user name %q: %w", a.User, catalog.ErrInvalid)
		}
		if a.Password == "" {
			return nil, fmt.Errorf("the password of user %s is empty: %w", a.User, catalog.ErrInvalid)
		}
		hash, err := bcrypt.GenerateFromPassword([]byte(a.Password), bcrypt.DefaultCost)
		if err != nil {
			return nil, fmt.Errorf("hash the password of user %s: %w", a.User, err)
		}
		if a.PullOnly {
			out = append(append(out, pullOnly...), a.User+"\n"...)
		}
		out = fmt.Appendf(out, "%s:%s\n", a.User, hash)
	}
	return out, nil
}

// SameAccounts tells whether an htpasswd file holds exactly these accounts.
func SameAccounts(file []byte, list ...Account) bool {
	found, err := parseHtpasswd(file)
	if err != nil || len(found) != len(list) {
		return false
	}
	for _, a := range list {
		f, ok := found[a.User]
		if !ok || f.pullOnly != a.PullOnly || bcrypt.CompareHashAndPassword(f.hash, []byte(a.Password)) != nil {
			return false
		}
	}
	return true
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
	read     fs.FileInfo // of the file when it was read
	accounts map[string]account
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
	var who account
	if ok {
		who, ok = a.allow(r, user, password)
	}
	switch {
	case !ok:
		w.Header().Set("WWW-Authenticate", fmt.Sprintf("Basic realm=%q", a.realm))
		api.Refuse(w, errcode.ErrorCodeUnauthorized, "authentication required", nil)
	case who.pullOnly && changes(r):
		api.Refuse(w, errcode.ErrorCodeDenied, fmt.Sprintf("the account %s may only pull", user), nil)
	default:
		a.next.ServeHTTP(w, r)
	}
}

// account is what an accounts file says of a user.
type account struct {
	hash     []byte
	pullOnly bool
}

// changes tells that a request is more than a pull: it has another method than those that read, or is about an upload.
func changes(r *http.Request) bool {
	return r.Method != http.MethodGet && r.Method != http.MethodHead || strings.Contains(r.URL.Path, "/blobs/uploads")
}

func (a *authenticator) allow(r *http.Request, user, password string) (who account, ok bool) {
	mac := hmac.New(sha256.New, a.key[:])
	fmt.Fprintf(mac, "%d:%s:%s", len(user), user, password)
	proof := [32]byte(mac.Sum(nil))

	a.mu.Lock()
	err := a.reload()
	who, known := a.accounts[user]
	right := a.right[proof]
	a.mu.Unlock()
	if err != nil {
		return account{}, false
	}
	if right {
		return who, true
	}
	hash := who.hash
	if !known {
		hash = []byte(noAccount) // so that an unknown user takes as long as a known one
	}
	select {
	case a.checks <- struct{}{}:
		defer func() { <-a.checks }()
	case <-r.Context().Done():
		return account{}, false
	}
	if bcrypt.CompareHashAndPassword(hash, []byte(password)) != nil || !known {
		return account{}, false
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if bytes.Equal(a.accounts[user].hash, hash) { // the file may have changed meanwhile
		a.right[proof] = true
	}
	return who, true
}

// noAccount is a hash of the usual cost that no password has.
const noAccount = "$2a$10$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"

// reload reads the file if it has changed. It is called with mu held.
func (a *authenticator) reload() error {
	fi, err := os.Stat(a.path)
	if err != nil {
		return fmt.Errorf("accounts file: %w", err)
	}
	if a.accounts != nil && unchanged(a.read, fi) {
		return nil
	}
	if fi.Size() > maxHtpasswd {
		return fmt.Errorf("accounts file %s: %d bytes: %w", a.path, fi.Size(), catalog.ErrInvalid)
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
	a.read = fi
	return nil
}

// unchanged tells that a file is the one that was read: not replaced, not written to.
func unchanged(was, is fs.FileInfo) bool {
	return was != nil && os.SameFile(was, is) && was.ModTime().Equal(is.ModTime()) && was.Size() == is.Size()
}

func parseHtpasswd(data []byte) (map[string]account, error) {
	accounts := map[string]account{}
	restricted := map[string]bool{}
	lines := bufio.NewScanner(bytes.NewReader(data))
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if user, ok := strings.CutPrefix(line, pullOnly); ok {
			restricted[strings.TrimSpace(user)] = true
		}
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		user, hash, ok := strings.Cut(line, ":")
		if !ok {
			return nil, fmt.Errorf("line %d is not user:hash: %w", n, catalog.ErrInvalid)
		}
		if _, err := bcrypt.Cost([]byte(hash)); err != nil {
			return nil, fmt.Errorf("line %d: only bcrypt is taken (htpasswd -B): %w", n, errors.Join(err, catalog.ErrInvalid))
		}
		accounts[user] = account{hash: []byte(hash)}
	}
	for user := range restricted {
		if a, ok := accounts[user]; ok {
			a.pullOnly = true
			accounts[user] = a
		}
	}
	return accounts, lines.Err()
}
