package installer

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// maxRange bounds an address range, so that a typing error such as 10.0.0.1-10.200.0.1 is an error and not millions of hosts.
const maxRange = 4096

// Address is where a host is reached: an IP and, when the operator gave one,
// the port of its ssh server (0 = the default of the run).
type Address struct {
	IP   netip.Addr
	Port int
}

// Tunnel tells that a host is reached through a tunnel that ends on this machine: a loopback address with a port.
func (a Address) Tunnel() bool { return a.IP.IsLoopback() && a.Port != 0 }

// ParseAddresses reads the value of --masters or --nodes: addresses separated by commas, each an IP, IP:PORT or an inclusive
// range IP-IP. The order is kept; an address that occurs twice is an error.
func ParseAddresses(list string) ([]Address, error) {
	var out []Address
	seen := map[netip.Addr]bool{}
	for item := range strings.SplitSeq(list, ",") {
		item = strings.TrimSpace(item)
		if item == "" {
			if strings.TrimSpace(list) == "" {
				return nil, nil
			}
			return nil, fmt.Errorf("an address is empty in %q", list)
		}
		parsed, err := parseItem(item)
		if err != nil {
			return nil, err
		}
		for _, a := range parsed {
			if seen[a.IP] {
				return nil, fmt.Errorf("address %s is given twice in %q", a.IP, list)
			}
			seen[a.IP] = true
			out = append(out, a)
		}
	}
	return out, nil
}

func parseItem(item string) ([]Address, error) {
	if from, to, isRange := strings.Cut(item, "-"); isRange {
		return parseRange(item, from, to)
	}
	if ip, err := netip.ParseAddr(item); err == nil {
		return []Address{{IP: ip.Unmap()}}, nil
	}
	hostPart, portPart, ok := strings.Cut(item, ":")
	if ap, err := netip.ParseAddrPort(item); err == nil {
		if ap.Port() == 0 {
			return nil, fmt.Errorf("address %q: port 0 is not a port", item)
		}
		return []Address{{IP: ap.Addr().Unmap(), Port: int(ap.Port())}}, nil
	}
	if ok {
		if _, err := netip.ParseAddr(hostPart); err == nil {
			if _, err := strconv.ParseUint(portPart, 10, 16); err != nil {
				return nil, fmt.Errorf("address %q: %q is not a port", item, portPart)
			}
		}
	}
	return nil, fmt.Errorf("%q is not an address: expected an IP, IP:PORT or a range IP-IP (host names are not used, since a site need not have DNS)", item)
}

func parseRange(item, from, to string) ([]Address, error) {
	first, err := netip.ParseAddr(strings.TrimSpace(from))
	if err != nil {
		return nil, fmt.Errorf("range %q: %q is not an IP", item, from)
	}
	last, err := netip.ParseAddr(strings.TrimSpace(to))
	if err != nil {
		return nil, fmt.Errorf("range %q: %q is not an IP", item, to)
	}
	if first.BitLen() != last.BitLen() || last.Less(first) {
		return nil, fmt.Errorf("range %q does not go upwards", item)
	}
	var out []Address
	for ip := first; ; ip = ip.Next() {
		out = append(out, Address{IP: ip.Unmap()})
		if ip == last {
			return out, nil
		}
		if len(out) == maxRange {
			return nil, fmt.Errorf("range %q holds more than %d addresses", item, maxRange)
		}
	}
}
