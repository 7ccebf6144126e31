package testbed

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os/exec"
	"strings"
)

// The same addresses serve every bed: each bed's bridge lives in a network
// namespace of its own, where nothing but its hosts can see them.
const (
	subnet          = "10.66.0.0/24"
	gatewayAddr     = "10.66.0.1"   // where the installer runs; the hosts' default route
	silentDNSAddr   = "10.66.0.253" // takes queries and never answers
	refusingDNSAddr = "10.66.0.254" // answers every query with "port unreachable"
	firstHost       = 11            // 10.66.0.11 is the first host
	maxHosts        = 100
)

// closedNetwork counts, by source and destination, whatever leaves through the
// default route, and drops it: to a sender the outside is a wire that was cut.
const closedNetwork = `table inet testbed {
	counter escaped { }
	set flows {
		type ipv4_addr . ipv4_addr
		flags dynamic
		size 65535
		counter
	}
	chain leaving {
		type filter hook postrouting priority 0; policy accept;
		oifname "out0" update @flows { ip saddr . ip daddr }
		oifname "out0" counter name escaped drop
	}
	chain nameserver {
		type filter hook input priority 0; policy accept;
		ip daddr ` + silentDNSAddr + ` drop
	}
}
`

// bedSysctls makes the bed's namespace a plain IPv4 router. Its own IPv6 chatter
// would be counted as escaping; bridged frames need no filter, and one would
// slow every pod down.
const bedSysctls = `set -e
cd /proc/sys/net
[ ! -e ipv6/conf/default ] || echo 1 > ipv6/conf/default/disable_ipv6
echo 1 > ipv4/ip_forward
# A refusal withheld is a silence: resolvers would wait five seconds for it.
echo 0 > ipv4/icmp_ratelimit
for c in all default; do
	echo 0 > ipv4/conf/$c/rp_filter
	echo 0 > ipv4/conf/$c/send_redirects
done
for f in bridge/bridge-nf-call-*tables; do
	[ ! -e "$f" ] || echo 0 > "$f"
done
`

// makeNetwork makes the bed's namespace: the bridge the hosts hang on, and a
// default route into a counting void.
func makeNetwork(ctx context.Context, ns string) error {
	if _, err := tool(ctx, "ip", "netns", "add", ns); err != nil {
		return err
	}
	if _, err := tool(ctx, "ip", "netns", "exec", ns, "sh", "-c", bedSysctls); err != nil {
		return err
	}
	script := strings.Join([]string{
		"link set lo up",
		"link add br0 type bridge forward_delay 0 mcast_snooping 0",
		"addr add " + gatewayAddr + "/24 dev br0",
		"addr add " + silentDNSAddr + "/32 dev br0",
		"addr add " + refusingDNSAddr + "/32 dev br0",
		"link set br0 up",
		// A cable whose other end hangs loose; not every kernel has dummy devices.
		"link add out0 type veth peer name loose0",
		"addr add 192.0.2.1/32 dev out0",
		"link set loose0 up",
		"link set out0 up",
		"route add default dev out0",
	}, "\n")
	if err := feed(ctx, script, "ip", "-n", ns, "-batch", "-"); err != nil {
		return fmt.Errorf("make the bridge: %w", err)
	}
	if err := feed(ctx, closedNetwork, "ip", "netns", "exec", ns, "nft", "-f", "-"); err != nil {
		return fmt.Errorf("close the network: %w", err)
	}
	return nil
}

// makeLink makes a host's namespace and plugs it into the bed's bridge.
func makeLink(ctx context.Context, bedNS, hostNS, port, addr string, defaultRoute bool) error {
	// What a boot that was cut short left, so that the next one finds none of it.
	if err := removeLink(ctx, bedNS, hostNS, port); err != nil {
		return err
	}
	if _, err := tool(ctx, "ip", "netns", "add", hostNS); err != nil {
		return err
	}
	mac, err := macOf(addr)
	if err != nil {
		return err
	}
	bed := fmt.Sprintf("link add %s type veth peer name eth0 address %s netns %s\nlink set %s master br0\nlink set %s up\n", port, mac, hostNS, port, port)
	if err := feed(ctx, bed, "ip", "-n", bedNS, "-batch", "-"); err != nil {
		return fmt.Errorf("plug %s in: %w", hostNS, err)
	}
	host := fmt.Sprintf("link set lo up\naddr add %s/24 brd + dev eth0\nlink set eth0 up\n", addr)
	if defaultRoute {
		host += "route add default via " + gatewayAddr + "\n"
	}
	if err := feed(ctx, host, "ip", "-n", hostNS, "-batch", "-"); err != nil {
		return fmt.Errorf("address %s: %w", hostNS, err)
	}
	return nil
}

// removeLink undoes makeLink; of what is not there it says nothing. The cable
// goes first: the kernel takes a namespace, and the cables in it, apart some time
// after it has lost its name, and until then the port's name is taken.
func removeLink(ctx context.Context, bedNS, hostNS, port string) error {
	plugged := func() bool {
		_, err := tool(ctx, "ip", "-n", bedNS, "link", "show", "dev", port)
		return err == nil
	}
	if plugged() {
		// The kernel may be faster than we are.
		if _, err := tool(ctx, "ip", "-n", bedNS, "link", "del", "dev", port); err != nil && plugged() {
			return fmt.Errorf("take the cable of %s away: %w", hostNS, err)
		}
	}
	return removeNetns(ctx, hostNS)
}

// macOf gives a host the same card whenever it has power: its neighbours
// remember it for a minute.
func macOf(addr string) (net.HardwareAddr, error) {
	ip, err := netip.ParseAddr(addr)
	if err != nil || !ip.Is4() {
		return nil, fmt.Errorf("address %q of a host: not IPv4", addr)
	}
	b := ip.As4()
	return append(net.HardwareAddr{0x02, 0x00}, b[:]...), nil
}

func removeNetns(ctx context.Context, ns string) error {
	if !exists("/run/netns/" + ns) {
		return nil
	}
	_, err := tool(ctx, "ip", "netns", "del", ns)
	return err
}

// feed runs argv with input on stdin.
func feed(ctx context.Context, input string, argv ...string) error {
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Stdin = strings.NewReader(input)
	out, err := cmd.CombinedOutput()
	return commandError(ctx, argv, err, string(out))
}

// Flow is traffic that tried to leave the bed and was dropped.
type Flow struct {
	From, To netip.Addr
	Packets  int
}

// Escaped counts the packets that tried to leave the bed's subnet since Start;
// all were dropped.
func (b *Bed) Escaped(ctx context.Context) (packets int, err error) {
	var listing struct {
		Nftables []struct {
			Counter *struct{ Packets int }
		}
	}
	if err := b.nft(ctx, &listing, "list", "counter", "inet", "testbed", "escaped"); err != nil {
		return 0, err
	}
	for _, o := range listing.Nftables {
		if o.Counter != nil {
			return o.Counter.Packets, nil
		}
	}
	return 0, errors.New("nft shows no counter of escaped packets")
}

// EscapedFlows tells who tried to reach what outside the bed.
func (b *Bed) EscapedFlows(ctx context.Context) ([]Flow, error) {
	var listing struct {
		Nftables []struct {
			Set *struct {
				Elem []struct {
					Elem struct {
						Val     struct{ Concat []netip.Addr }
						Counter struct{ Packets int }
					}
				}
			}
		}
	}
	if err := b.nft(ctx, &listing, "list", "set", "inet", "testbed", "flows"); err != nil {
		return nil, err
	}
	var flows []Flow
	for _, o := range listing.Nftables {
		if o.Set == nil {
			continue
		}
		for _, e := range o.Set.Elem {
			if c := e.Elem.Val.Concat; len(c) == 2 {
				flows = append(flows, Flow{From: c[0], To: c[1], Packets: e.Elem.Counter.Packets})
			}
		}
	}
	return flows, nil
}

func (b *Bed) nft(ctx context.Context, into any, args ...string) error {
	out, err := tool(ctx, append([]string{"ip", "netns", "exec", b.ns, "nft", "-j"}, args...)...)
	if err != nil {
		return err
	}
	if err := json.Unmarshal([]byte(out), into); err != nil {
		return fmt.Errorf("read nft's answer: %w", err)
	}
	return nil
}

// Unplug takes the host off the network, as pulling its cable would.
func (h *Host) Unplug(ctx context.Context) error {
	_, err := tool(ctx, "ip", "-n", h.bed.ns, "link", "set", h.port, "down")
	return err
}

// Plug undoes Unplug.
func (h *Host) Plug(ctx context.Context) error {
	_, err := tool(ctx, "ip", "-n", h.bed.ns, "link", "set", h.port, "up")
	return err
}

// NetnsPath is the bed's network namespace, for dialing its hosts from Go.
func (b *Bed) NetnsPath() string { return "/run/netns/" + b.ns }
