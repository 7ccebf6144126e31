package facts

import (
	"context"
	"encoding/hex"
	"math/bits"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/sealbuild/sealbuild/installer/agent"
	"github.com/sealbuild/sealbuild/installer/care"
)

const (
	dnsTimeout     = time.Second
	resolveTimeout = 2 * time.Second
	maxNameservers = 16
)

func (m machine) networkFacts(f *agent.Facts) {
	f.Addresses, f.Routes, f.PortsInUse = []string{}, []string{}, m.listening()
	interfaces, _ := net.Interfaces()
	for _, i := range interfaces {
		addresses, _ := i.Addrs()
		for _, a := range addresses {
			f.Addresses = append(f.Addresses, a.String())
		}
	}
	routes := append(parseRoutes4(m.Lines("/proc/net/route")), parseRoutes6(m.Lines("/proc/net/ipv6_route"))...)
	for _, r := range routes {
		if r.Bits() == 0 {
			f.DefaultRoute = true
		} else if !slices.Contains(f.Routes, r.String()) {
			f.Routes = append(f.Routes, r.String())
		}
	}
}

// parseRoutes4 reads /proc/net/route: addresses are hexadecimal in the byte order of the machine, least first.
func parseRoutes4(lines []string) []netip.Prefix {
	var out []netip.Prefix
	for _, l := range lines {
		f := strings.Fields(l)
		if len(f) < 8 || f[0] == "lo" {
			continue
		}
		dest, err1 := strconv.ParseUint(f[1], 16, 32)
		mask, err2 := strconv.ParseUint(f[7], 16, 32)
		flags, err3 := strconv.ParseUint(f[3], 16, 16)
		if err1 != nil || err2 != nil || err3 != nil {
			continue // the heading
		}
		const reject = 0x200 // the route is "unreachable" or "prohibit"
		if flags&reject != 0 {
			continue
		}
		d := uint32(dest)
		a := netip.AddrFrom4([4]byte{byte(d), byte(d >> 8), byte(d >> 16), byte(d >> 24)})
		out = append(out, netip.PrefixFrom(a, bits.OnesCount32(uint32(mask))))
	}
	return out
}

// parseRoutes6 reads /proc/net/ipv6_route, without what every interface has: link-local, multicast and its own addresses.
func parseRoutes6(lines []string) []netip.Prefix {
	var out []netip.Prefix
	for _, l := range lines {
		f := strings.Fields(l)
		if len(f) < 10 || f[9] == "lo" {
			continue
		}
		raw, err1 := hex.DecodeString(f[0])
		length, err2 := strconv.ParseUint(f[1], 16, 8)
		if err1 != nil || err2 != nil || len(raw) != 16 || length >= 128 {
			continue
		}
		p := netip.PrefixFrom(netip.AddrFrom16([16]byte(raw)), int(length))
		if !p.IsValid() || p.Addr().IsLinkLocalUnicast() || p.Addr().IsMulticast() {
			continue
		}
		out = append(out, p)
	}
	return out
}

// listening gives the TCP ports that have a listener, on any address.
func (m machine) listening() []int {
	ports := []int{}
	for _, l := range append(m.Lines("/proc/net/tcp"), m.Lines("/proc/net/tcp6")...) {
		if port, _, ok := parseListener(l); ok {
			ports = append(ports, port)
		}
	}
	slices.Sort(ports)
	return slices.Compact(ports)
}

// askAll asks every server at once.
func askAll(ctx context.Context, servers []string) []agent.Nameserver {
	out := make([]agent.Nameserver, len(servers))
	var all sync.WaitGroup
	for i, s := range servers {
		all.Go(func() {
			started := time.Now()
			answers := answersDNS(ctx, net.JoinHostPort(s, "53"))
			out[i] = agent.Nameserver{Address: s, Answers: answers, Silent: !answers && time.Since(started) >= dnsTimeout}
		})
	}
	all.Wait()
	return out
}

// answersDNS tells whether a name server answers a question, with any answer. It asks for localhost, for which no server has to
// ask others.
func answersDNS(ctx context.Context, address string) bool {
	ctx, cancel := context.WithTimeout(ctx, dnsTimeout)
	defer cancel()
	conn, err := (&net.Dialer{}).DialContext(ctx, "udp", address)
	if err != nil {
		return false
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	id := uint16(time.Now().UnixNano())
	question := dnsmessage.Message{
		Header:    dnsmessage.Header{ID: id, RecursionDesired: true},
		Questions: []dnsmessage.Question{{Name: dnsmessage.MustNewName("localhost."), Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET}},
	}
	packet, err := question.Pack()
	if err != nil {
		return false
	}
	if _, err := conn.Write(packet); err != nil {
		return false
	}
	buf := make([]byte, 4096)
	for {
		n, err := conn.Read(buf)
		if err != nil {
			return false
		}
		var p dnsmessage.Parser
		if h, err := p.Start(buf[:n]); err == nil && h.Response && h.ID == id {
			return true
		}
	}
}

// resolves tells whether the host finds an address for its own name, in its hosts file or soon enough elsewhere.
func (m machine) resolves(ctx context.Context, name string) bool {
	if m.HasName(name) {
		return true
	}
	ctx, cancel := context.WithTimeout(ctx, resolveTimeout)
	defer cancel()
	found, err := (&net.Resolver{PreferGo: true}).LookupHost(ctx, name)
	return err == nil && len(found) > 0
}

// routeFacts asks the kernel to which of the networks it has a route.
func routeFacts(f *agent.Facts, networks []string) {
	for _, text := range networks {
		if p, err := netip.ParsePrefix(text); err == nil && p.Addr().Is4() && !care.Routed(p) {
			f.NoRoute = append(f.NoRoute, text)
		}
	}
	ours, err := care.ServiceRoutes()
	if err != nil {
		return
	}
	for _, p := range ours {
		f.ServiceRoutes = append(f.ServiceRoutes, p.String())
	}
}
