package fleet

import (
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

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

// OwnAddress is the address of this machine that a cluster of it alone uses: the
// one from which it would send to elsewhere, by its default route. The kernel
// lists bridges of virtual machines and containers first on some hosts; where
// there is no default route, those are passed over.
func OwnAddress() (netip.Addr, bool) {
	if a, ok := sourceOfDefaultRoute(); ok {
		return a, true
	}
	interfaces, err := net.Interfaces()
	if err != nil {
		return netip.Addr{}, false
	}
	var last netip.Addr
	for _, i := range interfaces {
		addrs, err := i.Addrs()
		if err != nil {
			continue
		}
		for _, a := range addrs {
			p, err := netip.ParsePrefix(a.String())
			if err != nil || !p.Addr().Is4() || !p.Addr().IsGlobalUnicast() {
				continue
			}
			if !isVirtual(i.Name) {
				return p.Addr(), true
			}
			if !last.IsValid() {
				last = p.Addr()
			}
		}
	}
	return last, last.IsValid()
}

// sourceOfDefaultRoute asks the kernel which address it would send from. A UDP
// socket that is connected and not written to sends nothing.
func sourceOfDefaultRoute() (netip.Addr, bool) {
	conn, err := net.Dial("udp4", "192.0.2.1:9") // an address for documentation, which only the default route leads to
	if err != nil {
		return netip.Addr{}, false
	}
	defer conn.Close()
	local, err := netip.ParseAddrPort(conn.LocalAddr().String())
	return local.Addr(), err == nil && local.Addr().IsGlobalUnicast()
}

// isVirtual tells bridges and links that this machine itself made, by their customary names.
func isVirtual(link string) bool {
	for _, prefix := range []string{"virbr", "docker", "br-", "cni", "flannel", "veth", "podman", "lxc", "lxd", "cali", "tunl", "vmnet", "vboxnet"} {
		if strings.HasPrefix(link, prefix) {
			return true
		}
	}
	return false
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
		for _, file := range []string{p, p + "-cert.pub"} { // an agent may hold the key of a certificate
			if _, err := os.Stat(file); err == nil {
				out = append(out, p)
				break
			}
		}
	}
	return out
}

// knownHosts are the files of host keys that ssh itself reads on this machine.
func knownHosts() []string {
	out := []string{"/etc/ssh/ssh_known_hosts", "/etc/ssh/ssh_known_hosts2"}
	if home, err := os.UserHomeDir(); err == nil {
		out = append([]string{filepath.Join(home, ".ssh", "known_hosts"), filepath.Join(home, ".ssh", "known_hosts2")}, out...)
	}
	return out
}
