package facts

import (
	"context"
	"encoding/json"
	"net"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sealbuild/sealbuild/installer/agent"
	"github.com/sealbuild/sealbuild/installer/agent/programs"
)

// siteFacts fills in what the administration of the site decides: confinement, firewalls, the clock, the resolver.
func (m machine) siteFacts(ctx context.Context, f *agent.Facts) {
	f.AppArmor = m.Line("/sys/module/apparmor/parameters/enabled") == "Y"
	processes := m.processes()
	f.Firewalls = m.firewalls(ctx, processes)
	f.TimeService = timeService(processes)
	f.ClockSynced = clockSynced()
	f.Lookup = lookupOf(m.Lines("/etc/resolv.conf"))
	f.CNI = m.cniTraces()
	f.Fapolicyd, f.Scanners = m.fapolicyd(processes), scanners(processes)
	f.NoFileTypes = m.withoutFileTypes(f.Disks)
	f.Proxies = m.proxies(ctx)
}

// running gives the id of a process of a name, at most 15 bytes of it; empty if there is none.
func (m machine) running(name string) string { return m.processes()[name] }

// processes maps the names of all processes to an id. The kernel keeps 15 bytes of a name.
func (m machine) processes() map[string]string {
	all := map[string]string{}
	for _, comm := range m.Glob("/proc/[0-9]*/comm") {
		all[m.Line(comm)] = filepath.Base(filepath.Dir(comm))
	}
	return all
}

// timeServices are the programs that keep a clock right, as /proc names them.
func timeServices() []string {
	return []string{"chronyd", "ntpd", "systemd-timesyn", "ptp4l", "phc2sys"}
}

func timeService(processes map[string]string) string {
	for _, name := range timeServices() {
		if processes[name] != "" {
			return strings.Replace(name, "timesyn", "timesyncd", 1)
		}
	}
	return ""
}

// clockSynced asks the kernel without setting anything.
func clockSynced() bool {
	var t unix.Timex
	state, err := unix.Adjtimex(&t)
	const unsynced = 5 // TIME_ERROR
	return err == nil && state != unsynced && t.Status&unix.STA_UNSYNC == 0
}

// lookupOf reads the options of resolv.conf, with the resolver's own defaults and bounds.
func lookupOf(lines []string) agent.Lookup {
	l := agent.Lookup{TimeoutSeconds: 5, Attempts: 2}
	for _, line := range lines {
		fields := strings.Fields(line)
		if len(fields) == 0 || fields[0] != "options" {
			continue
		}
		for _, o := range fields[1:] {
			key, value, _ := strings.Cut(o, ":")
			n, err := strconv.Atoi(value)
			if err != nil || n < 0 {
				continue
			}
			switch key {
			case "timeout":
				l.TimeoutSeconds = min(n, 30)
			case "attempts":
				l.Attempts = min(n, 5)
			}
		}
	}
	return l
}

// firewalls gives the firewalls that are on: firewalld and ufw, or else a packet filter that drops by default.
func (m machine) firewalls(ctx context.Context, processes map[string]string) []string {
	var on []string
	if processes["firewalld"] != "" {
		on = append(on, "firewalld")
	}
	if slices.Contains(m.Lines("/etc/ufw/ufw.conf"), "ENABLED=yes") {
		on = append(on, "ufw")
	}
	if len(on) > 0 {
		return on
	}
	// Only where the kernel has the tables already: nft would load them, and this must not change the host.
	if m.hasLoaded("nf_tables") && m.dropsByNftables(ctx) {
		on = append(on, "nftables")
	}
	if slices.Contains(m.Lines("/proc/net/ip_tables_names"), "filter") && m.dropsByIptables(ctx) {
		on = append(on, "iptables")
	}
	return on
}

func (m machine) hasLoaded(module string) bool { return m.Exists("/sys/module/" + module) }

// toolPatience is how long a program that is asked may take.
const toolPatience = 2 * time.Second

func ask(ctx context.Context, within time.Duration, program string, args ...string) ([]byte, bool) {
	program, err := programs.Find(program)
	if err != nil {
		return nil, false
	}
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	out, err := exec.CommandContext(ctx, program, args...).Output()
	if err != nil {
		return nil, false
	}
	return out, true
}

func (m machine) dropsByNftables(ctx context.Context) bool {
	chains, _ := m.ask(ctx, toolPatience, "nft", "-j", "list", "chains")
	return nftablesDrop(chains)
}

// nftablesDrop reads `nft -j list chains`: a chain that sees what comes in, and drops it unless a rule says otherwise.
func nftablesDrop(text []byte) bool {
	var list struct {
		Nftables []struct {
			Chain struct {
				Hook   string `json:"hook"`
				Policy string `json:"policy"`
			} `json:"chain"`
		} `json:"nftables"`
	}
	if json.Unmarshal(text, &list) != nil {
		return false
	}
	for _, entry := range list.Nftables {
		if entry.Chain.Hook == "input" && entry.Chain.Policy == "drop" {
			return true
		}
	}
	return false
}

func (m machine) dropsByIptables(ctx context.Context) bool {
	rules, _ := m.ask(ctx, toolPatience, "iptables-legacy", "-w", "1", "-S", "INPUT")
	return slices.Contains(strings.Split(string(rules), "\n"), "-P INPUT DROP")
}

// link asks the kernel: /sys may show the links of another network namespace.
func link(name string) bool {
	_, err := net.InterfaceByName(name)
	return err == nil
}

// cniTraces gives what pod networks of earlier clusters left: configurations that a runtime would take, and links.
func (m machine) cniTraces() []string {
	found := m.Glob("/etc/cni/net.d/*.conf*")
	for _, link := range []string{"cni0", "flannel.1", "vxlan.calico", "cilium_host", "weave", "kube-ipvs0"} {
		if m.link(link) {
			found = append(found, "network link "+link)
		}
	}
	return found
}
