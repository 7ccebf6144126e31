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

// OwnAddress is the address that a cluster of this machine alone uses: the one from which the machine sends by its default
// route. Without a default route it is the first global IPv4 address of a link that is not a bridge of virtual machines or
// containers, which the kernel may list first.
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

// sourceOfDefaultRoute asks the kernel which address it would send from. A UDP socket that is connected and not written to
// sends nothing.
func sourceOfDefaultRoute() (netip.Addr, bool) {
	conn, err := net.Dial("udp4", "192.0.2.1:9") // an address for documentation, which only the default route leads to
	if err != nil {
		return netip.Addr{}, false
	}
	defer conn.Close()
	local, err := netip.ParseAddrPort(conn.LocalAddr().String())
	return local.Addr(), err == nil && local.Addr().IsGlobalUnicast()
}

// isVirtual tells, by its customary name, whether a link is one that this machine made for virtual machines or containers.
func isVirtual(link string) bool {
	for _, prefix := range []string{"virbr", "docker", "br-", "cni", "flannel", "veth", "podman", "lxc", "lxd", "cali", "tunl", "vmnet", "vboxnet"} {
		if strings.HasPrefix(link, prefix) {
			return true
		}
	}
	return false
}

// keyFiles lists the private keys to try: the one that was asked for, or those that ssh itself would try.
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
