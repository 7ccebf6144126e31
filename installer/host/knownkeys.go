package host

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha1" // what the names in known_hosts are hashed with
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path"
	"slices"
	"strings"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"
)

// maxKnownHosts bounds a file in the form of known_hosts, in bytes.
const maxKnownHosts = 16 << 20

// knownKey is one line of a known_hosts file.
type knownKey struct {
	file   string
	line   int
	marker string   // empty, or one of the below
	hosts  []string // patterns, or one hashed name
	key    ssh.PublicKey
}

const (
	markAuthority = "cert-authority"
	markRevoked   = "revoked"
)

// readKnown reads a known_hosts file; one that does not exist is empty. Lines that are not understood are passed over, as ssh does.
func readKnown(file string) ([]knownKey, error) {
	text, err := readBounded(file, maxKnownHosts)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read known hosts: %w", err)
	}
	var known []knownKey
	n := 0
	for line := range bytes.Lines(text) {
		n++
		marker, hosts, key, _, _, err := ssh.ParseKnownHosts(line)
		if err == nil && (marker == "" || marker == markAuthority || marker == markRevoked) {
			known = append(known, knownKey{file, n, marker, hosts, key})
		}
	}
	return known, nil
}

// readBounded reads a regular file of at most so many bytes. Others are refused: a device or a pipe may never end.
func readBounded(name string, most int64) ([]byte, error) {
	info, err := os.Stat(name)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", name)
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, most+1))
	if err == nil && int64(len(text)) > most {
		err = fmt.Errorf("%s is larger than %d bytes", name, most)
	}
	return text, err
}

// names gives the names under which a host is looked up: exact with its port, unless that is 22, and bare without. A key that
// is known for the bare name is accepted on every port; another port may have another key as well.
func names(address string) (exact, bare string) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		host = address
	}
	return strings.ToLower(knownhosts.Normalize(address)), strings.ToLower(host)
}

// matches tells whether a line is about a host of this name.
func (k knownKey) matches(name string) bool {
	if len(k.hosts) == 1 && strings.HasPrefix(k.hosts[0], "|") {
		return hashMatches(k.hosts[0], name)
	}
	return patternsMatch(k.hosts, name, strings.ToLower)
}

// hashMatches compares with a name that ssh has hashed: |1|salt|hash.
func hashMatches(hashed, name string) bool {
	parts := strings.Split(hashed, "|")
	if len(parts) != 4 || parts[1] != "1" {
		return false
	}
	salt, err := base64.StdEncoding.DecodeString(parts[2])
	if err != nil {
		return false
	}
	want, err := base64.StdEncoding.DecodeString(parts[3])
	if err != nil {
		return false
	}
	mac := hmac.New(sha1.New, salt)
	mac.Write([]byte(name))
	return hmac.Equal(mac.Sum(nil), want)
}

// everybody tells whether a line is about all hosts.
func (k knownKey) everybody() bool { return slices.Contains(k.hosts, "*") }

func sameKey(a, b ssh.PublicKey) bool { return bytes.Equal(a.Marshal(), b.Marshal()) }

// sshPattern makes path.Match read a pattern as ssh does: only * and ? are special, and * matches any character.
var sshPattern = strings.NewReplacer(`\`, `\\`, "[", `\[`, "/", "\n")

// matchPattern tells whether text matches a pattern of ssh, in which * is any text and ? any one character.
func matchPattern(text, pattern string) bool {
	ok, err := path.Match(sshPattern.Replace(pattern), strings.ReplaceAll(text, "/", "\n"))
	return ok && err == nil
}
