package steps

import (
	"net"
	"net/netip"
	"os"
	"path/filepath"

	"github.com/sealbuild/sealbuild/installer"
)

// localAddresses lists the addresses of this machine.
func localAddresses() []netip.Addr {
	var out []netip.Addr
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return nil // then every host is reached over ssh, this one too
	}
	for _, a := range addrs {
		if p, err := netip.ParsePrefix(a.String()); err == nil {
			out = append(out, p.Addr().Unmap())
		}
	}
	return out
}

// OwnAddress is the address of this machine that a cluster of it alone uses:
// the first one that is global and IPv4.
func OwnAddress() (netip.Addr, bool) {
	for _, a := range localAddresses() {
		if a.Is4() && a.IsGlobalUnicast() {
			return a, true
		}
	}
	return netip.Addr{}, false
}

// keyFiles lists the private keys that are tried: the one asked for, or those
// that ssh itself would try.
func keyFiles(s installer.SSH) []string {
	if s.KeyFile != "" {
		return []string{s.KeyFile}
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return nil
	}
	var out []string
	for _, name := range []string{"id_ed25519", "id_ecdsa", "id_rsa"} {
		p := filepath.Join(home, ".ssh", name)
		if _, err := os.Stat(p); err == nil {
			out = append(out, p)
		}
	}
	return out
}

// knownHosts are the files of host keys that ssh itself reads on this machine.
func knownHosts() []string {
	out := []string{"/etc/ssh/ssh_known_hosts"}
	if home, err := os.UserHomeDir(); err == nil {
		out = append([]string{filepath.Join(home, ".ssh", "known_hosts")}, out...)
	}
	return out
}
