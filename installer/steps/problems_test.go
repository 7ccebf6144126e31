package steps

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/host"
	"github.com/sealbuild/sealbuild/installer/node"
)

// goodFacts are those of a host that nothing stands in the way of.
func goodFacts() node.Facts {
	return node.Facts{
		Hostname: "node-1.example", Arch: "amd64", MemoryBytes: 4 << 30, CPUs: 2, ResolvesOwnName: true,
		Modules:    map[string]bool{"overlay": true, "br_netfilter": true},
		Tools:      map[string]bool{"bash": true, "tar": true, "systemctl": true, "iptables": true, "mount": true},
		PortsInUse: []int{22, 111},
		Disks:      map[string]node.Mount{dataRoot: {Path: "/", Free: 100 << 30}},
	}
}

func TestEveryCheckTellsItsProblemAndARemedy(t *testing.T) {
	cases := map[string]struct {
		spoil   func(*node.Facts)
		skew    time.Duration
		node    bool // a worker, not a master
		begun   bool // this cluster was begun here before
		check   string
		says    string // part of message or remedy
		warning bool
	}{
		"nothing":              {spoil: func(*node.Facts) {}},
		"architecture":         {spoil: func(f *node.Facts) { f.Arch = "arm64" }, check: "architecture", says: "--platform linux/arm64"},
		"clock ahead":          {spoil: func(*node.Facts) {}, skew: 31 * time.Second, check: "clock", says: "31s"},
		"clock behind":         {spoil: func(*node.Facts) {}, skew: -time.Hour, check: "clock", says: "-1h"},
		"clock at the limit":   {spoil: func(*node.Facts) {}, skew: maxSkew},
		"memory of a master":   {spoil: func(f *node.Facts) { f.MemoryBytes = 1024 << 20 }, check: "memory", says: "1700 MiB"},
		"memory of a node":     {spoil: func(f *node.Facts) { f.MemoryBytes = 1024 << 20 }, node: true},
		"little on a node":     {spoil: func(f *node.Facts) { f.MemoryBytes = 512 << 20 }, node: true, check: "memory", says: "700 MiB"},
		"one CPU on a master":  {spoil: func(f *node.Facts) { f.CPUs = 1 }, check: "cpu", says: "second CPU", warning: true},
		"one CPU on a node":    {spoil: func(f *node.Facts) { f.CPUs = 1 }, node: true},
		"swap":                 {spoil: func(f *node.Facts) { f.Swap = true }, check: "swap", says: "/etc/fstab", warning: true},
		"own name":             {spoil: func(f *node.Facts) { f.ResolvesOwnName = false }, check: "own name", says: "node-1.example", warning: true},
		"host name":            {spoil: func(f *node.Facts) { f.Hostname = "Node_1" }, check: "host name", says: `"Node_1"`},
		"module":               {spoil: func(f *node.Facts) { f.Modules["overlay"] = false }, check: "module", says: "overlay", warning: true},
		"module not asked for": {spoil: func(f *node.Facts) { f.Modules = nil }},
		"tool":                 {spoil: func(f *node.Facts) { f.Tools["iptables"] = false }, check: "tool", says: "iptables"},
		"tool on a begun host": {spoil: func(f *node.Facts) { f.Tools["bash"] = false }, begun: true, check: "tool", says: "bash"},
		"registry port":        {spoil: func(f *node.Facts) { f.PortsInUse = []int{5000} }, check: "port", says: "sport = :5000"},
		"registry port, node":  {spoil: func(f *node.Facts) { f.PortsInUse = []int{5000, 2379} }, node: true},
		"kubelet port, node":   {spoil: func(f *node.Facts) { f.PortsInUse = []int{10250} }, node: true, check: "port", says: "10250"},
		"own ports":            {spoil: func(f *node.Facts) { f.PortsInUse = []int{6443, 2379, 5000} }, begun: true},
		"runtime":              {spoil: func(f *node.Facts) { f.Runtimes = []string{"docker (/usr/bin/dockerd)"} }, check: "runtime", says: "/usr/bin/dockerd"},
		"own runtime":          {spoil: func(f *node.Facts) { f.Runtimes = []string{"containerd"} }, begun: true},
		"other cluster":        {spoil: func(f *node.Facts) { f.Kubernetes = []string{"/etc/kubernetes/admin.conf"} }, check: "kubernetes", says: "/etc/kubernetes/admin.conf"},
		"own cluster":          {spoil: func(f *node.Facts) { f.Kubernetes = []string{"/etc/kubernetes/admin.conf"} }, begun: true},
		"disk":                 {spoil: func(f *node.Facts) { f.Disks[dataRoot] = node.Mount{Path: "/data", Free: 1 << 30} }, check: "disk", says: "/data"},
		"facts of no disk":     {spoil: func(f *node.Facts) { f.Disks = nil }},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			f := goodFacts()
			c.spoil(&f)
			got := problemsOf("10.0.0.2", !c.node, c.begun, f, "amd64", need{dataRoot: 1 << 20}, c.skew)
			if c.check == "" {
				if len(got) > 0 {
					t.Errorf("problems: %+v", got)
				}
				return
			}
			if len(got) != 1 {
				t.Fatalf("%d problems, want 1: %+v", len(got), got)
			}
			p := got[0]
			if p.Host != "10.0.0.2" || p.Check != c.check || p.Warning != c.warning || p.Remedy == "" || !strings.Contains(p.Message+"\n"+p.Remedy, c.says) {
				t.Errorf("problem %+v; want check %q, warning %v, saying %q", p, c.check, c.warning, c.says)
			}
		})
	}
}

func TestAllProblemsOfAHostAreTold(t *testing.T) {
	f := goodFacts()
	f.Arch, f.Hostname, f.MemoryBytes, f.PortsInUse, f.Runtimes = "arm64", "", 0, []int{6443, 10250}, []string{"docker", "cri-o"}
	var checks []string
	for _, p := range problemsOf("10.0.0.2", true, false, f, "amd64", nil, 0) {
		checks = append(checks, p.Check)
	}
	want := []string{"architecture", "memory", "host name", "port", "port", "runtime", "runtime"}
	if diff := cmp.Diff(want, checks); diff != "" {
		t.Errorf("checks (-want +got):\n%s", diff)
	}
}

func TestDiskNeedsAreAddedUpPerMount(t *testing.T) {
	const gib = 1 << 30
	n := need{dataRoot: 1 * gib, "/var/lib/registry": 2 * gib, "/var/lib/containerd": 6 * gib}
	root := func(free uint64) node.Mount { return node.Mount{Path: "/", Free: free} }
	registry := func(free uint64) node.Mount { return node.Mount{Path: "/var/lib/registry", Free: free} }
	cases := map[string]struct {
		disks map[string]node.Mount
		want  []string // mounts that are told
	}{
		"one disk, each alone would fit": {map[string]node.Mount{dataRoot: root(10 * gib), "/var/lib/registry": root(10 * gib), "/var/lib/containerd": root(10 * gib)}, []string{"/"}},
		"one disk, just enough":          {map[string]node.Mount{dataRoot: root(11 * gib), "/var/lib/registry": root(11 * gib), "/var/lib/containerd": root(11 * gib)}, nil},
		"two disks, just enough":         {map[string]node.Mount{dataRoot: root(9 * gib), "/var/lib/registry": registry(4 * gib), "/var/lib/containerd": root(9 * gib)}, nil},
		"the second is small":            {map[string]node.Mount{dataRoot: root(9 * gib), "/var/lib/registry": registry(4*gib - 1), "/var/lib/containerd": root(9 * gib)}, []string{"/var/lib/registry"}},
		"both are small":                 {map[string]node.Mount{dataRoot: root(1), "/var/lib/registry": registry(1), "/var/lib/containerd": root(1)}, []string{"/", "/var/lib/registry"}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			var got []string
			for _, p := range diskProblems("10.0.0.2", node.Facts{Disks: c.disks}, n) {
				mount, _, _ := strings.Cut(p.Message, " has ")
				got = append(got, mount)
				if p.Check != "disk" || p.Warning || p.Remedy == "" {
					t.Errorf("problem %+v", p)
				}
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("mounts told (-want +got):\n%s", diff)
			}
		})
	}
}

func TestHostNamesThatKubernetesTakes(t *testing.T) {
	label63 := strings.Repeat("a", 63)
	for name, want := range map[string]bool{
		"a": true, "node-1": true, "1.example.org": true, label63: true,
		strings.Join([]string{label63, label63, label63, label63[:61]}, "."): true,
		"": false, "Node": false, "node_1": false, "-a": false, "a-": false, "a..b": false, ".a": false, "a.": false,
		"a b": false, "nöde": false, label63 + "a": false,
		strings.Join([]string{label63, label63, label63, label63[:62]}, "."): false,
	} {
		if got := validHostname(name); got != want {
			t.Errorf("validHostname(%q) = %v", name, got)
		}
	}
}

func target(ip string, master bool, f node.Facts) *Target {
	return &Target{Host: installer.Host{IP: netip.MustParseAddr(ip), Master: master}, Facts: f}
}

func TestHostsOfOneNameAreToldOfEachOther(t *testing.T) {
	targets := []*Target{
		target("10.0.0.5", false, node.Facts{Hostname: "twin"}),
		target("10.0.0.2", true, node.Facts{Hostname: "clone"}),
		target("10.0.0.3", true, node.Facts{Hostname: "clone"}),
		target("10.0.0.4", true, node.Facts{Hostname: "alone"}),
		target("10.0.0.6", false, node.Facts{Hostname: "twin"}),
		target("10.0.0.7", false, node.Facts{}),
		target("10.0.0.8", false, node.Facts{}),
	}
	var got []string
	for range 20 { // the order must not depend on chance
		got = nil
		for _, p := range clusterProblems(targets, "10.103.97.2") {
			got = append(got, p.Host+" "+p.Check+" "+p.Message)
		}
		want := []string{
			`10.0.0.5 host name "twin" is the name of 10.0.0.6 too`,
			`10.0.0.2 host name "clone" is the name of 10.0.0.3 too`,
			`10.0.0.3 host name "clone" is the name of 10.0.0.2 too`,
			`10.0.0.6 host name "twin" is the name of 10.0.0.5 too`,
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("problems (-want +got):\n%s", diff)
		}
	}
}

func TestVirtualAddressOfAHostIsRefusedUnlessItIsOurs(t *testing.T) {
	owner := target("10.0.0.2", true, node.Facts{Addresses: []string{"10.0.0.2/24", "10.0.0.9/32"}})
	got := clusterProblems([]*Target{owner}, "10.0.0.9")
	if len(got) != 1 || got[0].Check != "vip" || got[0].Host != "10.0.0.2" || !strings.Contains(got[0].Remedy, "defaultVIP=") {
		t.Errorf("problems: %+v", got)
	}
	if got := clusterProblems([]*Target{owner}, "10.0.0.90"); len(got) > 0 {
		t.Errorf("an address that only begins like it: %+v", got)
	}
	owner.marks = map[string]string{markInit: "x"} // care put it there
	if got := clusterProblems([]*Target{owner}, "10.0.0.9"); len(got) > 0 {
		t.Errorf("on a host of this cluster: %+v", got)
	}
}

func TestPreflightErrorNamesEveryProblemWithItsRemedy(t *testing.T) {
	err := &PreflightError{Problems: []Problem{
		{Host: "10.0.0.2", Check: "port", Message: "port 6443 is taken", Remedy: "stop it"},
		{Host: "10.0.0.2", Check: "memory", Message: "too little", Remedy: "give more"},
		{Host: "10.0.0.3", Check: "connect", Message: "login refused", Remedy: "check the key"},
	}}
	text := err.Error()
	first, rest, _ := strings.Cut(text, "\n")
	if first != "3 problems on 2 hosts; no host was changed" {
		t.Errorf("first line %q", first)
	}
	at := 0
	for _, p := range err.Problems { // in order, each remedy right below its message
		for _, part := range []string{p.Host, p.Check, p.Message, "remedy: " + p.Remedy} {
			i := strings.Index(rest[at:], part)
			if i < 0 {
				t.Fatalf("%q is missing or out of order in:\n%s", part, text)
			}
			at += i
		}
	}
}

func TestProblemsOfJoinedHostErrors(t *testing.T) {
	unreachable := &host.Error{Host: "10.0.0.2", Kind: host.ErrUnreachable, Err: errors.New("connection refused"), Remedy: "is the host up?"}
	auth := &host.Error{Host: "10.0.0.3", Kind: host.ErrAuth}
	script := &node.ScriptError{Host: "10.0.0.4", Line: "bash check.sh", Code: 1, Tail: []string{"swap is on", "firewalld is active"}}
	err := errors.Join(
		&installer.HostError{Host: "10.0.0.2", Err: unreachable},
		&installer.HostError{Host: "10.0.0.3", Err: auth},
		nil,
		&installer.HostError{Host: "10.0.0.4", Err: errors.Join(fmt.Errorf("check: %w", script), errors.New("remove: busy"))},
		&installer.HostError{Host: "10.0.0.5", Err: fmt.Errorf("read facts: %w", errors.New("broken pipe"))},
	)
	want := []Problem{
		{Host: "10.0.0.2", Check: "connect", Message: "host is unreachable: connection refused", Remedy: "is the host up?"},
		{Host: "10.0.0.3", Check: "connect", Message: "login refused", Remedy: "see the cause"},
		{Host: "10.0.0.4", Check: "connect", Message: "the image's check script fails: swap is on / firewalld is active", Remedy: "mend what it names, then run the same command again"},
		{Host: "10.0.0.5", Check: "connect", Message: "read facts: broken pipe", Remedy: "see the cause"},
	}
	if diff := cmp.Diff(want, problemsFrom(err, "connect")); diff != "" {
		t.Errorf("problems (-want +got):\n%s", diff)
	}
	if got := problemsFrom(nil, "connect"); got != nil {
		t.Errorf("problems of no error: %+v", got)
	}
}

func TestUnjoinKeepsAHostErrorWhole(t *testing.T) {
	a, b, c := errors.New("a"), errors.New("b"), errors.New("c")
	if got := unjoin(errors.Join(a, errors.Join(b, c))); len(got) != 3 || got[0] != a || got[1] != b || got[2] != c {
		t.Errorf("unjoin of nested joins = %v", got)
	}
	// It wraps two errors, as a join does, but it is one.
	he := &host.Error{Host: "10.0.0.2", Kind: host.ErrUnreachable, Err: a}
	if got := unjoin(errors.Join(he, b)); len(got) != 2 || got[0] != error(he) || got[1] != b {
		t.Errorf("unjoin of a host error = %v", got)
	}
}
