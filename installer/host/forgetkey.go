package host

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"slices"
	"strings"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"
	"golang.org/x/sys/unix"
)

// ForgetKeys removes from a file in the form of known_hosts the keys of hosts that are gone for good: another machine may
// get one of their addresses, with a key of its own. Only lines about nothing but one of these addresses go, on whatever port; all
// others stay as they are. A file that does not exist is no error.
func ForgetKeys(file string, addresses []netip.Addr) error {
	f, err := os.OpenFile(file, os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("open known hosts: %w", err)
	}
	defer f.Close() // and with it the lock
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		return fmt.Errorf("lock known hosts: %w", err)
	}
	text, err := io.ReadAll(io.LimitReader(f, maxKnownHosts))
	if err != nil {
		return fmt.Errorf("read known hosts: %w", err)
	}
	var kept bytes.Buffer
	for line := range bytes.Lines(text) {
		marker, hosts, _, _, _, err := ssh.ParseKnownHosts(line)
		gone := err == nil && marker == "" && len(hosts) == 1 && slices.ContainsFunc(addresses, func(ip netip.Addr) bool {
			return hosts[0] == ip.String() || strings.HasPrefix(hosts[0], "["+ip.String()+"]:") || hosts[0] == knownhosts.Normalize(ip.String())
		})
		if !gone {
			kept.Write(line)
		}
	}
	if kept.Len() == len(text) {
		return nil
	}
	// It is written in place: other processes hold the lock of this file. One that is cut off here loses keys that are accepted
	// anew, at most.
	if _, err := f.WriteAt(kept.Bytes(), 0); err != nil {
		return fmt.Errorf("write known hosts: %w", err)
	}
	if err := f.Truncate(int64(kept.Len())); err != nil {
		return fmt.Errorf("write known hosts: %w", err)
	}
	return f.Sync()
}
