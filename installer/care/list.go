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
	ListFile = Dir + "/servers" //docs:file workers: the masters behind the virtual address
)

// withheldMark begins the line that withholds a server. To a care that does not know of it, it is a comment: that care goes on
// sending connections there until /readyz is red, and takes the list as it is otherwise.
const withheldMark = "# withheld "

// List is what a list file says.
type List struct {
	Servers  []netip.AddrPort // the API servers
	Withheld []netip.AddrPort // those of them that get no new connections while another takes them
}

// Format is the text of a list file: one ADDRESS:PORT a line for the servers, and "# withheld ADDRESS:PORT" for those withheld.
func (l List) Format() []byte {
	var b strings.Builder
	for _, s := range l.Servers {
		b.WriteString(s.String() + "\n")
	}
	for _, s := range l.Withheld {
		b.WriteString(withheldMark + s.String() + "\n")
	}
	return []byte(b.String())
}

// ParseList reads the text of a list file. Empty lines mean nothing, nor do those that begin with #, but for those that withhold a
// server. A list without a server, with one twice, that withholds one which is not there, or with anything but IPv4 addresses and
// ports is an error that names the line.
func ParseList(text []byte) (List, error) {
	var out List
	n := 0
	lines := map[netip.AddrPort]int{} // that withhold
	for line := range bytes.Lines(text) {
		n++
		word := strings.TrimSpace(string(line))
		into := &out.Servers
		if name, ok := strings.CutPrefix(word, withheldMark); ok {
			word, into = strings.TrimSpace(name), &out.Withheld
		} else if word == "" || strings.HasPrefix(word, "#") {
			continue
		}
		a, err := netip.ParseAddrPort(word)
		switch {
		case err != nil || !a.Addr().Is4() || a.Port() == 0:
			return List{}, fmt.Errorf("line %d: %q: expected IPv4:PORT", n, word)
		case slices.Contains(*into, a):
			return List{}, fmt.Errorf("line %d: %s is there twice", n, a)
		case into == &out.Withheld:
			lines[a] = n
		}
		*into = append(*into, a)
	}
	for _, a := range out.Withheld {
		if !slices.Contains(out.Servers, a) {
			return List{}, fmt.Errorf("line %d: %s is withheld, and is none of the servers", lines[a], a)
		}
	}
	if len(out.Servers) == 0 {
		return List{}, errors.New("no server in it")
	}
	return out, nil
}

// ReadList reads a list file.
func ReadList(file string) (List, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return List{}, fmt.Errorf("read the list of servers: %w", err)
	}
	l, err := ParseList(text)
	if err != nil {
		return List{}, fmt.Errorf("the list of servers in %s: %w", file, err)
	}
	return l, nil
}

// equal tells whether two lists say the same, in the same order.
func (l List) equal(other List) bool {
	return slices.Equal(l.Servers, other.Servers) && slices.Equal(l.Withheld, other.Withheld)
}

// sameSet tells whether two lists hold the same servers, in whatever order.
func sameSet(a, b []netip.AddrPort) bool {
	sorted := func(list []netip.AddrPort) []netip.AddrPort {
		return slices.SortedFunc(slices.Values(list), netip.AddrPort.Compare)
	}
	return slices.Equal(sorted(a), sorted(b))
}

// socket is where the care that follows a list tells its status.
func socket(list string) string { return filepath.Join(filepath.Dir(list), "status.sock") }
