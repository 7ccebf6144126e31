package preflight

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// How long a durable write may take on a master, at the 99th percentile. etcd's documentation advises 10 ms. Where each write
// takes 100 ms, or some 500 ms, leaders lose their office while they write.
const (
	slowSync       = 10 * time.Millisecond
	hopelessSync   = 500 * time.Millisecond
	hopelessMiddle = 100 * time.Millisecond
)

// siteProblems judges what the administration of a site has set up on its hosts.
func siteProblems(v Host, add adder) {
	f, p := v.Facts, v.Needs.Places
	if slices.Contains(f.NoFileTypes, p.CRI) {
		add(false, "file-types", "make the file system anew with mkfs.xfs -n ftype=1, or choose a directory on another with -e criData=DIR",
			"%s lies on an XFS without file types (ftype=0), on which containers lose files", p.CRI)
	}
	switch f.Fapolicyd {
	case "enforcing":
		add(false, "fapolicyd", fmt.Sprintf("allow what lies in %s, %s, %s and %s (fapolicyd-cli --file add DIR, then --update) and use --ignore-check fapolicyd, or stop it: systemctl disable --now fapolicyd", p.Bin, p.Data, p.CNI, p.CRI),
			"fapolicyd runs, and lets no program run that the distribution's packages did not bring: neither kubelet nor any container")
	case "permissive":
		add(true, "fapolicyd", "allow the programs of the cluster before it is made to enforce", "fapolicyd runs, and only logs: once it enforces, neither kubelet nor any container starts again")
	}
	if len(f.Scanners) > 0 {
		add(true, "antivirus", fmt.Sprintf("exclude %s from scanning on access", strings.Join(slices.Compact([]string{p.CRI, p.Kubelet, p.Etcd, p.Registry, p.Data}), ", ")),
			"%s runs: scanning each file of each container as it is opened makes pods start slowly, and a file that is held cannot be removed", strings.Join(f.Scanners, ", "))
	}
	syncProblems(v, add)
	proxyProblems(v, add)
}

func syncProblems(v Host, add adder) {
	middle, p99 := time.Duration(v.Facts.SyncMicros)*time.Microsecond, time.Duration(v.Facts.Sync99Micros)*time.Microsecond
	if !v.Master || p99 <= slowSync {
		return
	}
	remedy := fmt.Sprintf("put %s on a disk of its own, or a faster one (an SSD, not a network disk)", v.Needs.Places.Etcd)
	took := fmt.Sprintf("a small write to %s takes %s until it is durable, and 1 of 100 takes %s; etcd wants no more than %s",
		v.Needs.Places.Etcd, middle.Round(100*time.Microsecond), p99.Round(100*time.Microsecond), slowSync)
	if p99 > hopelessSync || middle > hopelessMiddle {
		add(false, "disk-speed", remedy, "%s: it would lose its leader again and again", took)
		return
	}
	add(true, "disk-speed", remedy, "%s: it answers slowly while others write there", took)
}

// proxyProblems finds proxies that systemd gives to services. They do no harm to units that unset them, as those of our own
// images do.
func proxyProblems(v Host, add adder) {
	var where []string
	for _, p := range v.Facts.Proxies {
		if text := p.Name + " of " + p.Where; !strings.EqualFold(p.Name, "no_proxy") && !slices.Contains(where, text) {
			where = append(where, text)
		}
	}
	if len(where) == 0 {
		return
	}
	list := v.Facts.NoProxies()
	lacks := func(targets []string) []string {
		return slices.DeleteFunc(slices.Clone(targets), func(target string) bool { return passes(list, target) })
	}
	missing, others := lacks(v.Direct), lacks(v.Services)
	remedy := "add to NO_PROXY beside it: " + strings.Join(slices.Concat(missing, others), ",") + "; or take the proxy away"
	switch {
	case v.Shielded:
		add(true, "proxy", "nothing to do: the units of this cluster image take no proxy", "systemd gives services a proxy: %s", strings.Join(where, ", "))
	case len(missing) > 0:
		add(false, "proxy", remedy, "systemd gives containerd and kubelet a proxy, which would be asked for the cluster's own registry and API: %s", strings.Join(where, ", "))
	case len(others) > 0:
		add(true, "proxy", remedy, "systemd gives services of this host a proxy, which would be asked for addresses of the cluster: %s", strings.Join(where, ", "))
	}
}

// passes tells whether a NO_PROXY list holds an address, a network or a name, as Go's programs read it.
func passes(list []string, target string) bool {
	network, isNetwork := parseNetwork(target)
	return slices.ContainsFunc(list, func(entry string) bool {
		entry = strings.ToLower(entry)
		if entry == "*" {
			return true
		}
		if host, _, ok := strings.Cut(entry, ":"); ok {
			entry = host // it is for one port only, nearly always the registry's
		}
		if e, ok := parseNetwork(entry); ok {
			return isNetwork && e.Bits() <= network.Bits() && e.Contains(network.Addr())
		}
		name := strings.TrimPrefix(entry, "*")
		suffix := "." + strings.TrimPrefix(name, ".")
		return !isNetwork && (strings.EqualFold(name, target) || strings.HasSuffix(strings.ToLower(target), suffix))
	})
}

func parseNetwork(text string) (netip.Prefix, bool) {
	if p, err := netip.ParsePrefix(text); err == nil {
		return p.Masked(), true
	}
	a, err := netip.ParseAddr(text)
	if err != nil {
		return netip.Prefix{}, false
	}
	return netip.PrefixFrom(a, a.BitLen()), true
}
