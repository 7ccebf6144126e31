package preflight

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sealbuild/sealbuild/installer/agent"
)

// goodFacts are those of a host that nothing stands in the way of.
func goodFacts() agent.Facts {
	return agent.Facts{
		Hostname: "node-1.example", Arch: "amd64", MemoryBytes: 4 << 30, CPUs: 2, ResolvesOwnName: true,
		Modules:    map[string]bool{"overlay": true, "br_netfilter": true},
		Tools:      map[string]bool{"bash": true, "tar": true, "systemctl": true, "iptables": true, "mount": true},
		PortsInUse: []int{22, 111}, CgroupVersion: 2, Controllers: []string{"cpu", "memory", "pids"}, TimeService: "chronyd", ClockSynced: true,
		Disks: map[string]agent.Mount{"/var/lib/sealos": {Path: "/", Total: 200 << 30, Free: 100 << 30}},
	}
}

// viewOf is a master of v1.36 in a cluster whose bundle needs one MiB.
func viewOf(f agent.Facts, change func(*Host)) Host {
	room := map[string]int64{"/var/lib/sealos": 1 << 20}
	v := Host{
		IP: "10.0.0.2", Master: true, Facts: f, Arch: "amd64", RegistryPort: 5000, Settings: Settings{Minor: 36, FailCgroupV1: true},
		Direct: []string{"10.0.0.2", "sealos.hub"}, Services: []string{"10.103.97.2"},
		Needs: Needs{Least: room, Most: room, Places: Places{
			Data: "/var/lib/sealos", Bin: "/usr/bin", CRI: "/var/lib/containerd", Registry: "/var/lib/registry", Etcd: "/var/lib/etcd",
			Kubelet: "/var/lib/kubelet", Log: "/var/log", CNI: "/opt/cni/bin", Etc: "/etc",
		}},
	}
	change(&v)
	return v
}

func TestEveryCheckTellsItsProblemAndARemedy(t *testing.T) {
	cases := map[string]struct {
		spoil   func(*agent.Facts)
		skew    time.Duration
		node    bool // a worker, not a master
		begun   bool // this cluster was begun here before
		check   string
		says    string // part of message or remedy
		warning bool
	}{
		"nothing":               {spoil: func(*agent.Facts) {}},
		"architecture":          {spoil: func(f *agent.Facts) { f.Arch = "arm64" }, check: "architecture", says: "--platform linux/arm64"},
		"clock ahead":           {spoil: func(*agent.Facts) {}, skew: 31 * time.Second, check: "clock", says: "31s ahead of the other hosts'; chronyd runs there"},
		"clock behind":          {spoil: func(*agent.Facts) {}, skew: -time.Hour, check: "clock", says: "1h0m0s behind"},
		"clock at the limit":    {spoil: func(*agent.Facts) {}, skew: maxSkew},
		"memory of a master":    {spoil: func(f *agent.Facts) { f.MemoryBytes = 1024 << 20 }, check: "memory", says: "1700 MiB"},
		"memory of a node":      {spoil: func(f *agent.Facts) { f.MemoryBytes = 1024 << 20 }, node: true},
		"little on a node":      {spoil: func(f *agent.Facts) { f.MemoryBytes = 512 << 20 }, node: true, check: "memory", says: "700 MiB"},
		"one CPU on a master":   {spoil: func(f *agent.Facts) { f.CPUs = 1 }, check: "cpu", says: "second CPU"},
		"one CPU on a node":     {spoil: func(f *agent.Facts) { f.CPUs = 1 }, node: true},
		"swap":                  {spoil: func(f *agent.Facts) { f.Swap = true }, check: "swap", says: "/etc/fstab", warning: true},
		"own name":              {spoil: func(f *agent.Facts) { f.ResolvesOwnName = false }, check: "own-name", says: "/etc/hosts", warning: true},
		"host name":             {spoil: func(f *agent.Facts) { f.Hostname = "Node_1" }, check: "host-name", says: `"Node_1"`},
		"name with capitals":    {spoil: func(f *agent.Facts) { f.Hostname = "SRV-K8S-01.Example" }},
		"name that is too long": {spoil: func(f *agent.Facts) { f.Hostname = strings.Repeat("a", 40) + "." + strings.Repeat("b", 23) }, check: "host-name", says: "has 64 characters; that of a Kubernetes node has at most 63"},
		"localhost in capitals": {spoil: func(f *agent.Facts) { f.Hostname = "LocalHost" }, check: "host-name", says: "every host has"},
		"name by DHCP":          {spoil: func(f *agent.Facts) { f.TransientName = true }, check: "host-name", says: "/etc/hostname has none\nmake it last: hostnamectl set-hostname node-1.example", warning: true},
		"name set for now":      {spoil: func(f *agent.Facts) { f.BootName, f.TransientName = "other", true }, check: "host-name", says: "/etc/hostname says other", warning: true},
		"module":                {spoil: func(f *agent.Facts) { f.Modules["overlay"] = false }, check: "module", says: "overlay", warning: true},
		"module not asked for":  {spoil: func(f *agent.Facts) { f.Modules = nil }},
		"tool":                  {spoil: func(f *agent.Facts) { f.Tools["iptables"] = false }, check: "tool", says: "iptables"},
		"tool on a begun host":  {spoil: func(f *agent.Facts) { f.Tools["bash"] = false }, begun: true, check: "tool", says: "bash"},
		"registry port":         {spoil: func(f *agent.Facts) { f.PortsInUse = []int{5000} }, check: "port", says: "sport = :5000"},
		"registry port, node":   {spoil: func(f *agent.Facts) { f.PortsInUse = []int{5000, 2379} }, node: true},
		"kubelet port, node":    {spoil: func(f *agent.Facts) { f.PortsInUse = []int{10250} }, node: true, check: "port", says: "10250"},
		"own ports":             {spoil: func(f *agent.Facts) { f.PortsInUse = []int{6443, 2379, 5000} }, begun: true},
		"a port and its owner": {spoil: func(f *agent.Facts) {
			f.PortsInUse, f.Listeners = []int{6443}, []agent.Listener{{Port: 6443, Process: "haproxy", Unit: "haproxy.service"}}
		}, check: "port", says: "port 6443 is taken by haproxy (haproxy.service)\nstop it"},
		"another's port on a begun host": {spoil: func(f *agent.Facts) {
			f.PortsInUse, f.Listeners = []int{5000, 6443}, []agent.Listener{{Port: 5000, Process: "sshd", Unit: "ssh.service"}, {Port: 6443, Process: "kube-apiserver", Unit: "kubepods"}}
		}, begun: true, check: "port", says: "port 5000 is taken by sshd (ssh.service)\nstop it, or choose another with -e registryPort=PORT"},
		"another's registry on a begun host": {spoil: func(f *agent.Facts) {
			f.PortsInUse, f.Listeners = []int{5000}, []agent.Listener{{Port: 5000, Process: "registry", Unit: "docker-registry.service"}}
		}, begun: true, check: "port", says: "docker-registry.service"},
		"own ports and who has them": {spoil: func(f *agent.Facts) {
			f.PortsInUse = []int{2379, 5000, 6443, 10250, 10259}
			f.Listeners = []agent.Listener{
				{Port: 5000, Process: "sealinstall", Unit: "registry.service"},
				{Port: 6443, Process: "kube-apiserver", Unit: "kubepods"},
				{Port: 10250, Process: "kubelet", Unit: "kubelet.service"},
				{Port: 2379, Process: "etcd"},
				{Port: 10259},
			}
		}, begun: true},
		"XFS without file types":            {spoil: func(f *agent.Facts) { f.NoFileTypes = []string{"/var/lib/containerd"} }, check: "file-types", says: "mkfs.xfs -n ftype=1"},
		"XFS without file types, elsewhere": {spoil: func(f *agent.Facts) { f.NoFileTypes = []string{"/var/log"} }},
		"fapolicyd":                         {spoil: func(f *agent.Facts) { f.Fapolicyd = "enforcing" }, check: "fapolicyd", says: "systemctl disable --now fapolicyd"},
		"fapolicyd that only logs":          {spoil: func(f *agent.Facts) { f.Fapolicyd = "permissive" }, check: "fapolicyd", says: "only logs", warning: true},
		"antivirus":                         {spoil: func(f *agent.Facts) { f.Scanners = []string{"ESET (esets_daemon)"} }, check: "antivirus", says: "ESET (esets_daemon) runs", warning: true},
		"a fast disk":                       {spoil: func(f *agent.Facts) { f.SyncMicros, f.Sync99Micros = 300, 10_000 }},
		"a slow disk":                       {spoil: func(f *agent.Facts) { f.SyncMicros, f.Sync99Micros = 2_000, 30_000 }, check: "disk-speed", says: "takes 2ms until it is durable, and 1 of 100 takes 30ms; etcd wants no more than 10ms", warning: true},
		"a slow disk of a node":             {spoil: func(f *agent.Facts) { f.SyncMicros, f.Sync99Micros = 200_000, 900_000 }, node: true},
		"a hopeless disk":                   {spoil: func(f *agent.Facts) { f.SyncMicros, f.Sync99Micros = 20_000, 600_000 }, check: "disk-speed", says: "an SSD"},
		"a disk slow at each write":         {spoil: func(f *agent.Facts) { f.SyncMicros, f.Sync99Micros = 120_000, 130_000 }, check: "disk-speed", says: "it would lose its leader"},
		"a proxy": {spoil: func(f *agent.Facts) {
			f.Proxies = []agent.Proxy{{Where: "/etc/systemd/system.conf", Name: "HTTPS_PROXY", Value: "http://proxy:3128"}, {Where: "/etc/systemd/system.conf", Name: "NO_PROXY", Value: "localhost,10.0.0.0/24"}}
		}, check: "proxy", says: "HTTPS_PROXY of /etc/systemd/system.conf\nadd to NO_PROXY beside it: sealos.hub,10.103.97.2;"},
		"a proxy past the cluster": {spoil: func(f *agent.Facts) {
			f.Proxies = []agent.Proxy{{Name: "https_proxy", Value: "x"}, {Name: "no_proxy", Value: "10.0.0.0/8 .hub"}}
		}},
		"a proxy past the registry": {spoil: func(f *agent.Facts) {
			f.Proxies = []agent.Proxy{{Name: "https_proxy", Value: "x"}, {Name: "no_proxy", Value: "10.0.0.0/24 .hub"}}
		}, check: "proxy", says: "NO_PROXY beside it: 10.103.97.2;", warning: true},
		"only NO_PROXY":         {spoil: func(f *agent.Facts) { f.Proxies = []agent.Proxy{{Name: "NO_PROXY", Value: "x"}} }},
		"runtime":               {spoil: func(f *agent.Facts) { f.Runtimes = []string{"docker (/usr/bin/dockerd)"} }, check: "runtime", says: "/usr/bin/dockerd"},
		"own runtime":           {spoil: func(f *agent.Facts) { f.Runtimes = []string{"containerd"} }, begun: true},
		"other cluster":         {spoil: func(f *agent.Facts) { f.Kubernetes = []string{"/etc/kubernetes/admin.conf"} }, check: "kubernetes", says: "/etc/kubernetes/admin.conf"},
		"own cluster":           {spoil: func(f *agent.Facts) { f.Kubernetes = []string{"/etc/kubernetes/admin.conf"} }, begun: true},
		"clock nobody sets":     {spoil: func(f *agent.Facts) { f.TimeService, f.ClockSynced = "", false }, check: "clock", says: "drift", warning: true},
		"clock that is not set": {spoil: func(f *agent.Facts) { f.ClockSynced = false }, skew: time.Minute, check: "clock", says: "has not set the clock"},
		"clock without service": {spoil: func(f *agent.Facts) { f.TimeService = "" }, skew: time.Minute, check: "clock", says: "no time service runs there"},
		"name of every host":    {spoil: func(f *agent.Facts) { f.Hostname = "localhost.localdomain" }, check: "host-name", says: "every host has"},
		"a silent nameserver": {spoil: func(f *agent.Facts) {
			f.Nameservers, f.Lookup = []agent.Nameserver{{Address: "10.0.0.53", Silent: true}, {Address: "10.0.0.54", Answers: true}}, agent.Lookup{TimeoutSeconds: 5, Attempts: 2}
		}, check: "nameserver", says: "10.0.0.53 never answers: a lookup of a foreign name waits up to 5 s before another answers", warning: true},
		"a nameserver that refuses": {spoil: func(f *agent.Facts) { f.Nameservers = []agent.Nameserver{{Address: "10.0.0.53"}} }},
		"only silent nameservers": {spoil: func(f *agent.Facts) {
			f.Nameservers, f.Lookup = []agent.Nameserver{{Address: "10.0.0.53", Silent: true}, {Address: "10.0.0.54", Silent: true}}, agent.Lookup{TimeoutSeconds: 5, Attempts: 2}
		}, check: "nameserver", says: "up to 20 s before it fails", warning: true},
		"no control groups":      {spoil: func(f *agent.Facts) { f.CgroupVersion = 0 }, check: "cgroup", says: "/sys/fs/cgroup"},
		"old control groups":     {spoil: func(f *agent.Facts) { f.CgroupVersion = 1 }, check: "cgroup", says: "failCgroupV1: false"},
		"no memory controller":   {spoil: func(f *agent.Facts) { f.Controllers = []string{"cpu", "pids"} }, check: "cgroup", says: "cgroup_enable=memory"},
		"SELinux":                {spoil: func(f *agent.Facts) { f.SELinux = "enforcing" }, check: "selinux", says: "container-selinux", warning: true},
		"AppArmor":               {spoil: func(f *agent.Facts) { f.AppArmor = true }},
		"AppArmor, no parser":    {spoil: func(f *agent.Facts) { f.AppArmor = true; f.Tools["apparmor_parser"] = false }, check: "apparmor", says: "package apparmor", warning: true},
		"a link of a cluster":    {spoil: func(f *agent.Facts) { f.CNI = []string{"network link cni0"} }, check: "leftovers", says: "ip link delete cni0", warning: true},
		"a network of a cluster": {spoil: func(f *agent.Facts) { f.CNI = []string{"/etc/cni/net.d/10-x.conflist"} }, check: "leftovers", says: "/etc/cni/net.d/10-x.conflist", warning: true},
		"own network":            {spoil: func(f *agent.Facts) { f.CNI = []string{"network link cni0"} }, begun: true},
		"read-only":              {spoil: func(f *agent.Facts) { f.Disks["/usr/bin"] = agent.Mount{Path: "/usr", Options: []string{"ro"}} }, check: "read-only", says: "-e BIN_DIR=DIR"},
		"noexec": {spoil: func(f *agent.Facts) {
			f.Disks["/opt/cni/bin"] = agent.Mount{Path: "/opt", Options: []string{"rw", "noexec"}}
		}, check: "noexec", says: "remount,exec /opt"},
		"noexec where nothing runs": {spoil: func(f *agent.Facts) { f.Disks["/var/log"] = agent.Mount{Path: "/var/log", Options: []string{"noexec"}} }},
		"registry's disk of a node": {spoil: func(f *agent.Facts) { f.Disks["/var/lib/registry"] = agent.Mount{Path: "/r", Options: []string{"ro"}} }, node: true},
		"inodes": {spoil: func(f *agent.Facts) {
			f.Disks["/var/lib/sealos"] = agent.Mount{Path: "/", Total: 200 << 30, Free: 100 << 30, Inodes: 100000, InodesFree: 100}
		}, check: "inodes", says: "100 of 100000"},
		"inodes made as needed": {spoil: func(f *agent.Facts) {
			f.Disks["/var/lib/sealos"] = agent.Mount{Path: "/", Total: 200 << 30, Free: 100 << 30}
		}},
		"disk": {spoil: func(f *agent.Facts) {
			f.Disks["/var/lib/sealos"] = agent.Mount{Path: "/data", Total: 1 << 30, Free: 1 << 10}
		}, check: "disk", says: "/data"},
		"facts of no disk": {spoil: func(f *agent.Facts) { f.Disks = nil }},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			f := goodFacts()
			c.spoil(&f)
			got := Judge(viewOf(f, func(v *Host) { v.Master, v.Begun, v.Skew = !c.node, c.begun, c.skew }))
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
	for _, p := range Judge(viewOf(f, func(*Host) {})) {
		checks = append(checks, p.Check)
	}
	want := []string{"architecture", "memory", "host-name", "port", "port", "runtime", "runtime"}
	if diff := cmp.Diff(want, checks); diff != "" {
		t.Errorf("checks (-want +got):\n%s", diff)
	}
}

func TestHostNamesThatKubernetesTakes(t *testing.T) {
	label63 := strings.Repeat("a", 63)
	for name, want := range map[string]bool{
		"a": true, "node-1": true, "1.example.org": true, label63: true,
		label63[:31] + "." + label63[:31]: true,
		"":                                false, "Node": false, "node_1": false, "-a": false, "a-": false, "a..b": false, ".a": false, "a.": false,
		"a b": false, "nöde": false, label63 + "a": false,
		label63[:31] + "." + label63[:32]: false,
	} {
		if got := validHostname(name); got != want {
			t.Errorf("validHostname(%q) = %v", name, got)
		}
	}
}

func TestControlGroupsAreJudgedByTheKubeletThatWillRun(t *testing.T) {
	for name, c := range map[string]struct {
		kube Settings
		want string
	}{
		"refused":           {Settings{Minor: 35, FailCgroupV1: true}, "problem"},
		"allowed by config": {Settings{Minor: 36}, "warning"},
		"not yet refused":   {Settings{Minor: 34, FailCgroupV1: true}, "warning"},
		"before":            {Settings{Minor: 30, FailCgroupV1: true}, ""},
		"unknown version":   {Settings{}, ""},
	} {
		f := goodFacts()
		f.CgroupVersion = 1
		got := ""
		for _, p := range Judge(viewOf(f, func(v *Host) { v.Settings = c.kube })) {
			got = "problem"
			if p.Warning {
				got = "warning"
			}
		}
		if got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

func TestWhatKubeadmIsToldToIgnoreOnlyWarns(t *testing.T) {
	f := goodFacts()
	f.CPUs, f.MemoryBytes = 1, 1<<30
	for _, p := range Judge(viewOf(f, func(v *Host) { v.Settings.ignored = []string{"NumCPU", "mem"} })) {
		if !p.Warning {
			t.Errorf("%+v", p)
		}
	}
}

func TestRegistryPortIsTheOneThatWasChosen(t *testing.T) {
	f := goodFacts()
	f.PortsInUse = []int{5000, 5050}
	got := Judge(viewOf(f, func(v *Host) { v.RegistryPort = 5050 }))
	if len(got) != 1 || !strings.Contains(got[0].Remedy, "registryPort=") || got[0].Message != "port 5050 is taken" {
		t.Errorf("%+v", got)
	}
}

func TestListOfWhatIsReachedWithoutAProxyIsReadAsGoDoes(t *testing.T) {
	for _, c := range []struct {
		list, target string
		want         bool
	}{
		{"*", "sealos.hub", true},
		{"10.0.0.0/24", "10.0.0.7", true},
		{"10.0.0.7", "10.0.0.7", true},
		{"10.0.0.7:5000", "10.0.0.7", true},
		{"10.0.0", "10.0.0.7", false},
		{"10.96.0.0/12", "10.96.0.0/22", true},
		{"10.96.0.0/24", "10.96.0.0/22", false},
		{"hub", "sealos.hub", true},
		{".hub", "sealos.hub", true},
		{"*.hub", "sealos.hub", true},
		{"SEALOS.HUB", "sealos.hub", true},
		{"os.hub", "sealos.hub", false},
		{"apiserver.cluster.local", "apiserver.cluster.local", true},
	} {
		if got := passes([]string{c.list}, c.target); got != c.want {
			t.Errorf("%s passes %s: %v", c.target, c.list, got)
		}
	}
}

func TestProxyThatUnitsTakeBackOnlyWarns(t *testing.T) {
	f := goodFacts()
	f.Proxies = []agent.Proxy{{Where: "/etc/systemd/system.conf", Name: "HTTPS_PROXY", Value: "http://proxy:3128"}}
	got := Judge(viewOf(f, func(v *Host) { v.Shielded = true }))
	if len(got) != 1 || got[0].Check != "proxy" || !got[0].Warning {
		t.Errorf("%+v", got)
	}
}
