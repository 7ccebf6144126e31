package facts

import (
	"net"
	"net/netip"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/dns/dnsmessage"

	"github.com/sealbuild/sealbuild/installer/agent"
	"github.com/sealbuild/sealbuild/installer/agent/files/filestest"
)

func TestModulesAreFoundWhereverTheyAre(t *testing.T) {
	m := at(t.TempDir())
	filestest.Write(t, m.Path("/proc/modules"), "br_netfilter 32768 0 - Live 0x0\nip_vs_rr 1 0 - Live 0x0\n", 0o644)
	filestest.Write(t, m.Path("/sys/module/nf_conntrack/parameters/x"), "", 0o644)
	filestest.Write(t, m.Path("/lib/modules/6.1.0/modules.builtin"), "kernel/fs/overlayfs/overlay.ko\n", 0o644)
	filestest.Write(t, m.Path("/lib/modules/6.1.0/modules.dep"), "kernel/net/netfilter/ipvs/ip_vs.ko.xz: kernel/x.ko.xz\nkernel/a/xt-dash.ko:\n", 0o644)
	for name, want := range map[string]bool{"br_netfilter": true, "ip-vs-rr": true, "nf_conntrack": true, "overlay": true, "ip_vs": true, "xt_dash": true, "x": false, "ip": false} {
		if got := m.hasModule(t.Context(), name, "6.1.0"); got != want {
			t.Errorf("%s: %v", name, got)
		}
	}
	bare := at(t.TempDir())
	filestest.Write(t, bare.Path("/proc/filesystems"), "nodev\tsysfs\nnodev\toverlay\n", 0o644)
	if !bare.hasModule(t.Context(), "overlay", "6.1.0") || bare.hasModule(t.Context(), "ip_vs", "6.1.0") {
		t.Error("built in without a trace")
	}
}

func TestForeignRuntimesAreToldFromOurs(t *testing.T) {
	m := at(t.TempDir())
	if got := m.foreignRuntimes(); len(got) != 0 {
		t.Errorf("empty host: %v", got)
	}
	filestest.Write(t, m.Path("/usr/bin/containerd"), "", 0o755)
	if err := os.Symlink("usr/bin", m.Path("/bin")); err != nil {
		t.Fatal(err)
	}
	filestest.Write(t, m.Path("/run/docker.sock"), "", 0o600)
	want := []string{"docker (/run/docker.sock)", "containerd (/usr/bin/containerd)"}
	if diff := cmp.Diff(want, m.foreignRuntimes()); diff != "" {
		t.Error(diff)
	}
	filestest.Write(t, m.Path("/usr/lib/systemd/system/containerd.service"), "[Unit]\n", 0o644)
	filestest.Write(t, m.Path("/etc/systemd/system/containerd.service"), "# installed by sealos\n[Unit]\n", 0o644)
	if diff := cmp.Diff(want[:1], m.foreignRuntimes()); diff != "" {
		t.Error(diff)
	}
}

func TestTracesOfAClusterAreFound(t *testing.T) {
	m := at(t.TempDir())
	if got := m.kubernetesTraces(); len(got) != 0 {
		t.Errorf("empty host: %v", got)
	}
	filestest.Write(t, m.Path("/etc/kubernetes/admin.conf"), "", 0o600)
	filestest.Write(t, m.Path("/etc/kubernetes/manifests/etcd.yaml"), "", 0o600)
	filestest.Write(t, m.Path("/proc/77/comm"), "kubelet\n", 0o600)
	filestest.Write(t, m.Path("/proc/78/comm"), "kubelet-x\n", 0o600)
	want := []string{"/etc/kubernetes/admin.conf", "/etc/kubernetes/manifests/etcd.yaml", "kubelet runs as process 77"}
	if diff := cmp.Diff(want, m.kubernetesTraces()); diff != "" {
		t.Error(diff)
	}
}

func TestRoutesAndPortsAreRead(t *testing.T) {
	m := at(t.TempDir())
	filestest.Write(t, m.Path("/proc/net/route"), "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n"+
		"eth0\t00000000\t0100000A\t0003\t0\t0\t0\t00000000\t0\t0\t0\neth0\t0000000A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n", 0o644)
	filestest.Write(t, m.Path("/proc/net/ipv6_route"), ""+
		"fd000000000000000000000000000000 40 00000000000000000000000000000000 00 00000000000000000000000000000000 00000100 00000001 00000000 00000001     eth0\n"+
		"fe800000000000000000000000000000 40 00000000000000000000000000000000 00 00000000000000000000000000000000 00000100 00000001 00000000 00000001     eth0\n"+
		"00000000000000000000000000000000 00 00000000000000000000000000000000 00 00000000000000000000000000000000 ffffffff 00000001 00000000 00200200       lo\n", 0o644)
	filestest.Write(t, m.Path("/proc/net/tcp"), "  sl  local_address rem_address   st\n   0: 0100007F:192B 00000000:0000 0A 0\n   1: 0100007F:1F90 0100007F:1234 01 0\n", 0o644)
	filestest.Write(t, m.Path("/proc/net/tcp6"), "  sl  local_address rem_address   st\n   0: 00000000000000000000000000000000:192B 0:0 0A 0\n   1: 00000000000000000000000000000000:0016 0:0 0A 0\n", 0o644)
	var f agent.Facts
	m.networkFacts(&f)
	if diff := cmp.Diff([]string{"10.0.0.0/24", "fd00::/64"}, f.Routes); diff != "" {
		t.Error(diff)
	}
	if !f.DefaultRoute {
		t.Error("no default route")
	}
	if diff := cmp.Diff([]int{22, 6443}, f.PortsInUse); diff != "" {
		t.Error(diff)
	}
	if got := parseRoutes6([]string{"00000000000000000000000000000000 00 0 00 0 0 1 0 1 lo"}); len(got) != 0 {
		t.Errorf("%v", got)
	}
	if got := parseRoutes4([]string{"x", "eth0 zz 0 0 0 0 0 00FFFFFF", "eth0 0 0 0 0 0 0 1FFFFFFFF"}); len(got) != 0 {
		t.Errorf("%v", got)
	}
}

func TestCgroupsOfBothVersionsAreTold(t *testing.T) {
	m := at(t.TempDir())
	filestest.Write(t, m.Path("/proc/cgroups"), "#subsys_name\thierarchy\tnum_cgroups\tenabled\ncpu\t1\t1\t1\nmemory\t2\t1\t1\npids\t3\t1\t0\n", 0o644)
	filestest.Write(t, m.Path("/sys/fs/cgroup/cgroup.controllers"), "cpu memory\n", 0o644)
	v, c := m.cgroups([]agent.Mount{{Path: "/sys/fs/cgroup/memory", Type: "cgroup", Options: []string{"rw", "memory"}}, {Path: "/sys/fs/cgroup/cpu", Type: "cgroup", Options: []string{"cpu"}}, {Path: "/sys/fs/cgroup/unified", Type: "cgroup2"}})
	if diff := cmp.Diff([]string{"cpu", "memory"}, c); diff != "" || v != 1 {
		t.Errorf("version %d: %s", v, diff)
	}
	v, c = m.cgroups([]agent.Mount{{Path: "/sys/fs/cgroup", Type: "cgroup2"}})
	if diff := cmp.Diff([]string{"cpu", "memory"}, c); diff != "" || v != 2 {
		t.Errorf("version %d: %s", v, diff)
	}
}

func TestMountOfAPathIsTheDeepestOne(t *testing.T) {
	m := at(t.TempDir())
	filestest.Write(t, m.Path("/data/x"), "", 0o644)
	if err := os.MkdirAll(m.Path("/var/lib"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(m.Path("/data"), m.Path("/var/lib/registry")); err != nil {
		t.Fatal(err)
	}
	table := []agent.Mount{{Path: "/"}, {Path: "/var"}, {Path: "/data"}, {Path: "/da"}}
	for path, want := range map[string]string{"/var/lib/etcd/member": "/var", "/var/lib/registry/docker": "/data", "/dat": "/", "/": "/", "/var": "/var"} {
		if got, ok := m.mountOf(path, table); !ok || got.Path != want {
			t.Errorf("%s: %q", path, got.Path)
		}
	}
}

func TestNameserverThatAnswersAnythingAnswers(t *testing.T) {
	silent, refusing := listenDNS(t, false), listenDNS(t, true)
	if answersDNS(t.Context(), silent) { // it is given up by itself, or this test does not end
		t.Error("a silent one answers")
	}
	if !answersDNS(t.Context(), refusing) {
		t.Error("one that refuses does not answer")
	}
	if answersDNS(t.Context(), "127.0.0.1:1") {
		t.Error("nobody answers")
	}
}

func TestNameserversAreThoseThatPodsCanUse(t *testing.T) {
	const stub = "# resolved\nnameserver 127.0.0.53\noptions edns0\n"
	for name, tc := range map[string]struct {
		etc, run string
		want     []string
	}{
		"no file":                    {want: []string{}},
		"real ones":                  {"search x\nnameserver 10.0.0.1\nnameserver fd00::1\nnameserver\nnameserver x\n", "", []string{"10.0.0.1", "fd00::1"}},
		"real ones beside resolved":  {"nameserver 10.0.0.1\n", "nameserver 10.0.0.2\n", []string{"10.0.0.1"}},
		"dnsmasq":                    {"nameserver 127.0.0.1\nnameserver ::1\nnameserver 0.0.0.0\nnameserver ::ffff:127.0.0.1\n", "nameserver 10.0.0.2\n", []string{}},
		"dnsmasq and a real one":     {"nameserver 127.0.0.1\nnameserver 10.0.0.1\n", "", []string{"10.0.0.1"}},
		"resolved":                   {stub, "nameserver 10.0.0.2\nnameserver 10.0.0.2\nnameserver 127.0.0.1\n", []string{"10.0.0.2"}},
		"resolved without upstream":  {stub, "# No DNS servers known.\n", []string{}},
		"resolved, no file of its":   {stub, "", []string{}},
		"resolved and a real one":    {stub + "nameserver 10.0.0.1\n", "nameserver 10.0.0.2\n", []string{"10.0.0.1", "10.0.0.2"}},
		"resolved names itself only": {stub, stub, []string{}},
	} {
		m := at(t.TempDir())
		for file, text := range map[string]string{"/etc/resolv.conf": tc.etc, "/run/systemd/resolve/resolv.conf": tc.run} {
			if text != "" {
				filestest.Write(t, m.Path(file), text, 0o644)
			}
		}
		if diff := cmp.Diff(tc.want, nameservers(m.resolvFiles())); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

func listenDNS(t *testing.T, answer bool) string {
	t.Helper()
	conn, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.MustParseAddrPort("127.0.0.1:0")))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	go func() {
		buf := make([]byte, 512)
		for {
			n, from, err := conn.ReadFromUDP(buf)
			if err != nil {
				return
			}
			var msg dnsmessage.Message
			if !answer || msg.Unpack(buf[:n]) != nil {
				continue
			}
			msg.Response, msg.RCode = true, dnsmessage.RCodeRefused
			reply, _ := msg.Pack()
			conn.WriteToUDP([]byte("noise"), from)
			conn.WriteToUDP(reply, from)
		}
	}()
	return conn.LocalAddr().String()
}

func TestOwnNameIsLookedForInTheHostsFileFirst(t *testing.T) {
	m := at(t.TempDir())
	filestest.Write(t, m.Path("/etc/hosts"), "10.0.0.1 Node1.example node1 # x\n", 0o644)
	if !m.resolves(t.Context(), "node1") {
		t.Error("it is there")
	}
}
