package status

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/care"
	"github.com/sealbuild/sealbuild/installer/certs"
	"github.com/sealbuild/sealbuild/installer/etcd"
	"github.com/sealbuild/sealbuild/installer/preflight"
)

// soon is how long before its end a certificate is told of.
const soon = 30 * 24 * time.Hour

// certificates adds those in force on each host. What has ended has done so by the clock of the host.
func (v *verdict) certificates() {
	for i, a := range v.all.hosts {
		if !a.t.Joined() {
			continue
		}
		h := &v.Hosts[i]
		slices.SortFunc(a.certs, func(x, y certs.Info) int { return strings.Compare(x.Path, y.Path) })
		for _, c := range a.certs {
			h.Certificates = append(h.Certificates, Certificate{c.Path, c.Ends})
			for _, ip := range v.takenOut {
				if slices.Contains(c.Names, ip) {
					v.warn("%s: its certificate %s still names %s, which was taken out of the cluster (sealinstall cert --renew %s)", h.Address, c.Path, ip, strings.TrimSuffix(strings.TrimPrefix(c.Path, "pki/"), ".crt"))
				}
			}
			if h.CertsEnd.IsZero() || c.Ends.Before(h.CertsEnd) {
				h.CertsEnd, h.FirstCert = c.Ends, c.Path
			}
		}
		now := v.at.Add(a.t.Skew)
		switch {
		case h.CertsEnd.IsZero():
		case !h.CertsEnd.After(now):
			v.problem(h.Address, "certificates", "sealinstall cert --renew all", "its certificate %s ended on %s", h.FirstCert, h.CertsEnd.Format(time.DateOnly))
		case h.CertsEnd.Before(now.Add(soon)):
			v.warn("%s: its certificate %s ends on %s", h.Address, h.FirstCert, h.CertsEnd.Format(time.DateOnly))
		}
	}
}

// quotaShare is the part of etcd's quota, in percent, from which on it is a problem: at 100 nothing can be written any more.
const quotaShare = 80

// etcd puts together what the members tell of themselves.
func (v *verdict) etcd() {
	var list []etcd.Member
	own := map[string]etcd.Member{} // by id
	e := &Etcd{}
	for _, a := range v.all.hosts {
		if a.etcd == nil {
			continue
		}
		if list == nil || a.etcd.Leader && !e.Leader {
			list = a.etcd.Members // one that has a leader knows who left
		}
		e.Leader = e.Leader || a.etcd.Leader
		for _, m := range a.etcd.Members {
			if m.Answers {
				own[m.ID] = m
			}
		}
	}
	for _, a := range v.all.hosts {
		if a.etcdErr != nil && a.t.Looked {
			v.problem(a.t.IP.String(), "etcd", "look at etcd there (crictl ps -a, crictl logs)", "its member of etcd does not answer: %s", installer.TellAt(a.etcdErr, a.t.IP.String()))
		}
	}
	if list == nil {
		return
	}
	v.Etcd = e
	masters := v.c.Masters()
	e.Matches = len(list) == len(masters)
	for _, m := range list {
		if told, ok := own[m.ID]; ok {
			m = told
		}
		out := Member{
			Address: m.Host(), Name: m.Name, Leads: m.Leads, Learner: m.Learner, Answers: m.Answers, Version: m.Version,
			Size: m.Size, InUse: m.InUse, Quota: m.Quota, Alarms: m.Alarms, Error: m.Error,
		}
		if out.Answers && out.Quota == 0 {
			out.Quota = etcd.DefaultQuota
		}
		out.Quota = max(0, out.Quota)
		e.Members = append(e.Members, out)
		if !slices.ContainsFunc(masters, func(h installer.Host) bool { return m.At(h.IP.String()) }) {
			e.Matches = false
			v.differs("", "etcd", "take it out with `sealinstall etcd remove --peer ADDRESS` on a master, or name the master that has it", "%s is a member of etcd, and no master of the cluster", out.Address)
		}
		if out.Size*100 >= out.Quota*quotaShare && out.Quota > 0 {
			v.problem(out.Address, "etcd", "compact and defragment etcd, and find what fills it", "etcd's database is %s of the %s at which it refuses writes (%d %%)",
				preflight.Bytes(out.Size), preflight.Bytes(out.Quota), out.Size*100/out.Quota)
		}
	}
	for _, h := range masters {
		i := slices.IndexFunc(v.all.hosts, func(a *answers) bool { return a.t.IP == h.IP && a.t.Joined() })
		if i >= 0 && !slices.ContainsFunc(list, func(m etcd.Member) bool { return m.At(h.IP.String()) }) {
			e.Matches = false
			v.differs(h.IP.String(), "etcd", "run the installation again", "the master has no member of etcd")
		}
	}
	alarms := map[string]bool{} // each member tells those of all
	for _, m := range e.Members {
		for _, name := range m.Alarms {
			alarms[name] = true
		}
	}
	for _, name := range slices.Sorted(maps.Keys(alarms)) {
		v.problem("", "etcd", "mend the cause (NOSPACE: compact and defragment), then disarm the alarm", "etcd has raised the alarm %s", name)
	}
}

// inForce are the servers of the virtual address that a node has in force: what the kernel has or, where a process forwards, the
// list that it follows. That also says which of them are withheld.
func inForce(vip netip.AddrPort, a *answers) []Server {
	list, err := care.ParseList(a.files[care.ListFile]) // of a broken one nothing: care goes on with the last good one, which only its log tells
	out := kernelHas(vip, string(a.files[kernelServers]))
	if len(out) == 0 && err == nil {
		for _, s := range list.Servers {
			weight := 1
			if slices.Contains(list.Withheld, s) {
				weight = 0
			}
			out = append(out, Server{Address: s.String(), Weight: weight})
		}
	}
	for i, s := range out {
		out[i].Withheld = slices.ContainsFunc(list.Withheld, func(w netip.AddrPort) bool { return w.String() == s.Address })
	}
	return out
}

// kernelHas reads /proc/net/ip_vs: a line "TCP  0A676102:192B rr", and below it for each server "  -> 0A000002:192B Masq 1 0 0", of
// which the second word is the way, the third the weight.
func kernelHas(vip netip.AddrPort, table string) []Server {
	var out []Server
	ours := false
	for line := range strings.Lines(table) {
		f := strings.Fields(line)
		switch {
		case len(f) >= 2 && f[0] != "->":
			at, ok := hexAddress(f[1])
			ours = f[0] == "TCP" && ok && at == vip
		case len(f) >= 4 && f[0] == "->" && ours:
			s := Server{}
			if at, ok := hexAddress(f[1]); ok {
				s.Address = at.String()
			}
			if _, err := fmt.Sscan(f[3], &s.Weight); err == nil && s.Address != "" {
				out = append(out, s)
			}
		}
	}
	return out
}

func hexAddress(text string) (netip.AddrPort, bool) {
	var ip [4]byte
	var port uint16
	if n, err := fmt.Sscanf(text, "%02X%02X%02X%02X:%04X", &ip[0], &ip[1], &ip[2], &ip[3], &port); n != 5 || err != nil {
		return netip.AddrPort{}, false
	}
	return netip.AddrPortFrom(netip.AddrFrom4(ip), port), true
}

// servers holds the servers of the virtual address on each node against the masters of now.
func (v *verdict) servers() {
	text := v.Payload.VIP(v.c)
	ip, err := netip.ParseAddr(text)
	if err != nil {
		v.problem("", "vip", "set it with -e defaultVIP=ADDRESS", "virtual address %q: %v", text, err)
		return
	}
	by := map[string][]string{}
	for i, a := range v.all.hosts {
		if a.t.Master || !a.t.Joined() || a.files == nil {
			continue
		}
		h := &v.Hosts[i]
		h.Servers = inForce(netip.AddrPortFrom(ip, installer.APIServerPort), a)
		if len(h.Servers) == 0 {
			continue // the API tells that the pod is missing
		}
		has := map[string]bool{}
		for _, s := range h.Servers {
			has[s.Address] = true
			if s.Withheld {
				v.differs(h.Address, "vip", "run the command again that was cut off", "an upgrade keeps new connections to the virtual address away from %s", s.Address)
			}
		}
		for _, m := range v.c.Masters() {
			at := netip.AddrPortFrom(m.IP, installer.APIServerPort).String()
			j := slices.IndexFunc(v.all.hosts, func(a *answers) bool { return a.t.IP == m.IP })
			// The kernel has no master that is dead.
			if j >= 0 && v.Hosts[j].Joined && v.Hosts[j].Stopped == "" && !has[at] {
				what := "the virtual address does not lead to the master " + m.IP.String()
				by[what] = append(by[what], h.Address)
			}
			if j < 0 || !v.Hosts[j].Reached || v.Hosts[j].Joined {
				delete(has, at)
			}
		}
		for at := range has {
			what := "the virtual address leads to " + at + ", which is no master"
			by[what] = append(by[what], h.Address)
		}
	}
	for _, what := range slices.Sorted(maps.Keys(by)) {
		for _, host := range by[what] {
			v.differs(host, "vip", "run the installation again", "%s", what)
		}
	}
}
