package care

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Files of care on a host. The directory is mounted into the pod as a whole: files in it are replaced, which a mount of one file
// would not show.
const (
	Dir      = "/var/lib/sealos/care"
	ListFile = Dir + "/servers"
)

// FormatList is the text of a list file: one ADDRESS:PORT a line.
func FormatList(servers []netip.AddrPort) []byte {
	var b strings.Builder
	for _, s := range servers {
		b.WriteString(s.String() + "\n")
	}
	return []byte(b.String())
}

// ParseList reads the text of a list file. Empty lines and those that begin with # mean nothing. A list without a server, with one
// twice, or with anything but IPv4 addresses and ports is an error that names the line.
func ParseList(text []byte) ([]netip.AddrPort, error) {
	var out []netip.AddrPort
	n := 0
	for line := range bytes.Lines(text) {
		n++
		word := strings.TrimSpace(string(line))
		if word == "" || strings.HasPrefix(word, "#") {
			continue
		}
		a, err := netip.ParseAddrPort(word)
		switch {
		case err != nil || !a.Addr().Is4() || a.Port() == 0:
			return nil, fmt.Errorf("line %d: %q: expected IPv4:PORT", n, word)
		case slices.Contains(out, a):
			return nil, fmt.Errorf("line %d: %s is there twice", n, a)
		}
		out = append(out, a)
	}
	if len(out) == 0 {
		return nil, errors.New("no server in it")
	}
	return out, nil
}

// ReadList reads a list file.
func ReadList(file string) ([]netip.AddrPort, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read the list of servers: %w", err)
	}
	servers, err := ParseList(text)
	if err != nil {
		return nil, fmt.Errorf("the list of servers in %s: %w", file, err)
	}
	return servers, nil
}

// socket is where the care that follows a list tells its status.
func socket(list string) string { return filepath.Join(filepath.Dir(list), "status.sock") }
