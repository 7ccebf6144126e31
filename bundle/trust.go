package bundle

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"
)

// Trust is a set of keys whose signatures are accepted.
type Trust struct {
	signers []signer
}

// signer is one key that may sign bundles.
type signer struct {
	key           ssh.PublicKey
	name          string // principals, or the comment of a plain key
	after, before time.Time
}

// maxTrustFile bounds a file of keys, in bytes.
const maxTrustFile = 1 << 20

// LoadTrust reads files of keys as ParseTrust does. A folder stands for the files in it, hidden ones left out; one without such
// a file is an error, as a file without a key is: who names keys wants signatures.
func LoadTrust(names ...string) (*Trust, error) {
	t := new(Trust)
	for _, name := range names {
		files, err := trustFiles(name)
		if err != nil {
			return nil, fmt.Errorf("read trusted keys: %w", err)
		}
		if len(files) == 0 {
			return nil, fmt.Errorf("%s: no file of keys lies in it; expected public keys (ssh-ed25519 AAAA…) or an allowed_signers file, not hidden and in no folder of its own", name)
		}
		for _, file := range files {
			data, err := readTrustFile(file)
			if err != nil {
				return nil, fmt.Errorf("read trusted keys: %w", err)
			}
			more, err := ParseTrust(file, data)
			if err != nil {
				return nil, err
			}
			t.signers = append(t.signers, more.signers...)
		}
	}
	return t, nil
}

func trustFiles(name string) ([]string, error) {
	st, err := os.Stat(name)
	if err != nil || !st.IsDir() {
		return []string{name}, err
	}
	entries, err := os.ReadDir(name)
	var files []string
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), ".") && !e.IsDir() {
			files = append(files, filepath.Join(name, e.Name()))
		}
	}
	return files, err
}

func readTrustFile(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxTrustFile+1))
	if err == nil && len(data) > maxTrustFile {
		err = fmt.Errorf("%s: larger than %d bytes", name, maxTrustFile)
	}
	return data, err
}

// ParseTrust reads lines of an allowed_signers file of OpenSSH, or public keys as ssh-keygen writes them. name is for errors. A
// file without a key, with a line that is no key, or with an option that cannot be honoured is an error: a trust that is wider or
// narrower than it was meant is worse than none.
func ParseTrust(name string, data []byte) (*Trust, error) {
	t := new(Trust)
	for n, line := range bytes.Split(data, []byte("\n")) {
		line = bytes.TrimSpace(line)
		if len(line) == 0 || line[0] == '#' {
			continue
		}
		s, err := parseSigner(string(line))
		if err != nil {
			return nil, fmt.Errorf("%s:%d: %w", name, n+1, err)
		}
		if s.key != nil {
			t.signers = append(t.signers, s)
		}
	}
	if len(t.signers) == 0 {
		return nil, fmt.Errorf("%s: it holds no key for bundles; expected lines of a public key (ssh-ed25519 AAAA…) or of an allowed_signers file", name)
	}
	return t, nil
}

// errNoKey is for a line that nobody can read: what the library misses in it helps nobody.
var errNoKey = errors.New("it is no public key (ssh-ed25519 AAAA…) and no line of an allowed_signers file")

// parseSigner reads a line. The key is nil when it is for other namespaces.
func parseSigner(line string) (signer, error) {
	if key, comment, _, _, err := ssh.ParseAuthorizedKey([]byte(line)); err == nil && strings.HasPrefix(line, key.Type()) {
		return signer{key: key, name: comment}, checkStrength(key)
	}
	principals, rest, ok := cutQuoted(line)
	if !ok {
		return signer{}, errNoKey
	}
	key, _, options, _, err := ssh.ParseAuthorizedKey([]byte(rest))
	if err != nil {
		return signer{}, errNoKey
	}
	s := signer{key: key, name: principals}
	for _, option := range options {
		name, value, _ := strings.Cut(option, "=")
		value = strings.Trim(value, `"`)
		switch strings.ToLower(name) {
		case "namespaces":
			if !matches(value, SignatureNamespace) {
				return signer{}, nil
			}
		case "valid-after":
			s.after, err = parseKeyTime(value)
		case "valid-before":
			s.before, err = parseKeyTime(value)
		case "cert-authority":
			err = errors.New("certificates are not supported: name the key itself")
		default:
			err = fmt.Errorf("unknown option %q", name)
		}
		if err != nil {
			return signer{}, err
		}
	}
	return s, checkStrength(key)
}

// cutQuoted takes off the first field, which may be in quotes.
func cutQuoted(line string) (field, rest string, ok bool) {
	if strings.HasPrefix(line, `"`) {
		field, rest, ok = strings.Cut(line[1:], `"`)
	} else if i := strings.IndexAny(line, " \t"); i > 0 {
		field, rest, ok = line[:i], line[i:], true
	}
	return field, strings.TrimSpace(rest), ok && field != ""
}

// matches tells whether a list of patterns, as OpenSSH has them, takes name.
func matches(patterns, name string) bool {
	found := false
	for _, p := range strings.Split(patterns, ",") {
		p, not := strings.CutPrefix(strings.TrimSpace(p), "!")
		if strings.ContainsAny(p, `[\`) {
			continue // no special characters in OpenSSH's patterns
		}
		if ok, err := path.Match(p, name); err == nil && ok {
			if not {
				return false
			}
			found = true
		}
	}
	return found
}

// parseKeyTime reads YYYYMMDD[HHMM[SS]], local time or UTC with a Z behind it.
func parseKeyTime(text string) (time.Time, error) {
	zone := time.Local
	digits, utc := strings.CutSuffix(text, "Z")
	if utc {
		zone = time.UTC
	}
	for _, layout := range []string{"20060102", "200601021504", "20060102150405"} {
		if len(layout) == len(digits) {
			return time.ParseInLocation(layout, digits, zone)
		}
	}
	return time.Time{}, fmt.Errorf("time %q: expected YYYYMMDD[HHMM[SS]][Z]", text)
}

// Check returns who signed the bundle. The errors are ErrUnsigned, ErrBadSignature, and ErrUntrusted for a key that is not in t or
// not valid at the time given.
func (t *Trust) Check(r *Reader, now time.Time) (name string, err error) {
	key, err := r.SignedBy()
	if err != nil {
		return "", err
	}
	err = fmt.Errorf("%w: %s %s", ErrUntrusted, key.Type(), ssh.FingerprintSHA256(key))
	for _, s := range t.signers {
		if !bytes.Equal(s.key.Marshal(), key.Marshal()) {
			continue
		}
		switch {
		case !s.after.IsZero() && now.Before(s.after):
			err = fmt.Errorf("%w, which is trusted only from %s on (is the clock right?)", err, s.after.Format(time.RFC3339))
		case !s.before.IsZero() && !now.Before(s.before):
			err = fmt.Errorf("%w, which was trusted until %s", err, s.before.Format(time.RFC3339))
		default:
			return s.name, nil
		}
	}
	return "", err
}

// TrustKeys are the keys baked in: lines as in an allowed_signers file. They count when the stub of this bundle opens other
// bundles, not for this bundle: whoever can change it can change them.
func (r *Reader) TrustKeys() []string { return append([]string(nil), r.index.Trust...) }
