package facts

import (
	"encoding/binary"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sealbuild/sealbuild/installer/agent"
	"github.com/sealbuild/sealbuild/installer/agent/files/filestest"
)

func TestWhatGuardsAMachineIsFoundAmongItsProcesses(t *testing.T) {
	m := at(t.TempDir())
	if got := m.fapolicyd(m.processes()); got != "" {
		t.Errorf("empty host: %q", got)
	}
	filestest.Write(t, m.Path("/proc/7/comm"), "fapolicyd\n", 0o644)
	filestest.Write(t, m.Path("/etc/fapolicyd/fapolicyd.conf"), "# permissive = 1\npermissive = 0\n", 0o644)
	if got := m.fapolicyd(m.processes()); got != "enforcing" {
		t.Errorf("%q", got)
	}
	filestest.Write(t, m.Path("/etc/fapolicyd/fapolicyd.conf"), "permissive = 1\n", 0o644)
	if got := m.fapolicyd(m.processes()); got != "permissive" {
		t.Errorf("%q", got)
	}
	filestest.Write(t, m.Path("/proc/8/comm"), "falcon-sensor-bpf"[:15]+"\n", 0o644)
	filestest.Write(t, m.Path("/proc/9/comm"), "clamd\n", 0o644) // answers who asks, and stands in nobody's way
	filestest.Write(t, m.Path("/proc/10/comm"), "clamonacc\n", 0o644)
	want := []string{"ClamAV on-access scanning (clamonacc)", "CrowdStrike Falcon (falcon-sensor-b)"}
	if diff := cmp.Diff(want, scanners(m.processes())); diff != "" {
		t.Error(diff)
	}
	for process := range scannerNames() {
		if len(process) > 15 {
			t.Errorf("the kernel cuts %s", process)
		}
	}
}

func TestProxiesThatSystemdGivesToServicesAreFound(t *testing.T) {
	m := at(t.TempDir())
	for name, text := range map[string]string{
		"/etc/systemd/system.conf":                             "[Manager]\n#DefaultEnvironment=HTTP_PROXY=http://no\nDefaultEnvironment=\"HTTP_PROXY=http://us er:pass@proxy.example:3128\" LANG=C \\\n  'NO_PROXY=localhost,.example'\n",
		"/etc/systemd/system.conf.d/10-x.conf":                 "[Manager]\nDefaultEnvironment=https_proxy=proxy:1\nDefaultEnvironment=\n",
		"/etc/systemd/system/containerd.service.d/proxy.conf":  "[Service]\nEnvironment=\"HTTPS_PROXY=http://root:secret@proxy:3128/\"\nEnvironmentFile=-/etc/default/proxy\n",
		"/etc/default/proxy":                                   "all_proxy=socks5://proxy\nOTHER=1\n",
		"/usr/lib/systemd/system/kubelet.service.d/a.conf":     "[Service]\nEnvironment=HTTP_PROXY= ENV=x\n",
		"/etc/systemd/system/somethingelse.service.d/zzz.conf": "[Service]\nEnvironment=HTTP_PROXY=http://else\n",
	} {
		filestest.Write(t, m.Path(name), text, 0o644)
	}
	want := []agent.Proxy{
		{Where: "/etc/systemd/system.conf", Name: "HTTP_PROXY", Value: "proxy.example:3128"},
		{Where: "/etc/systemd/system.conf", Name: "NO_PROXY", Value: "localhost,.example"},
		{Where: "/etc/systemd/system/containerd.service.d/proxy.conf", Name: "HTTPS_PROXY", Value: "http://proxy:3128"},
		{Where: "/etc/default/proxy", Name: "all_proxy", Value: "socks5://proxy"},
	}
	got := m.proxies(t.Context())
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"localhost", ".example"}, agent.Facts{Proxies: got}.NoProxies()); diff != "" {
		t.Error(diff)
	}
}

func TestDurableWritesAreMeasuredAndNothingIsLeft(t *testing.T) {
	m := at(t.TempDir())
	if err := os.MkdirAll(m.Path("/var/lib"), 0o755); err != nil {
		t.Fatal(err)
	}
	if middle, p99 := m.syncTimes("/var/lib/etcd/member"); middle <= 0 || p99 < middle {
		t.Logf("not measured on this file system: %s, %s", middle, p99)
	}
	entries, err := os.ReadDir(m.Path("/var/lib"))
	if err != nil || len(entries) > 0 {
		t.Errorf("left over: %v, %v", entries, err)
	}
	var took []time.Duration
	for i := range 100 {
		took = append(took, time.Duration(100-i)*time.Millisecond)
	}
	if middle, p99 := quantiles(took); middle != 51*time.Millisecond || p99 != 99*time.Millisecond {
		t.Errorf("%s, %s", middle, p99)
	}
	if middle, p99 := quantiles(took[:1]); middle != 100*time.Millisecond || p99 != 100*time.Millisecond {
		t.Errorf("%s, %s", middle, p99)
	}
	if middle, p99 := quantiles(nil); middle != 0 || p99 != 0 {
		t.Errorf("%s, %s", middle, p99)
	}
}

func TestFlagOfFileTypesIsReadOffAnXFS(t *testing.T) {
	geometry := make([]byte, xfsGeometrySize)
	if knowsFileTypes(geometry) {
		t.Error("no flag")
	}
	binary.NativeEndian.PutUint32(geometry[xfsFlagsAt:], 0x1a8a8) // of an XFS made in 2024
	if !knowsFileTypes(geometry) {
		t.Error("the flag is not seen")
	}
	// What is no XFS, whatever it says, answers nothing.
	m := at(t.TempDir())
	if got := m.withoutFileTypes(map[string]agent.Mount{"/a": {Path: "/", Type: "xfs"}, "/b": {Path: "/", Type: "ext4"}, "/c": {Path: "/gone", Type: "xfs"}}); len(got) > 0 {
		t.Errorf("%v", got)
	}
}

func TestWhoListensIsNamed(t *testing.T) {
	l, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	port := l.Addr().(*net.TCPAddr).Port
	comm, err := os.ReadFile("/proc/self/comm")
	if err != nil {
		t.Fatal(err)
	}
	got := at("").listeners([]int{port, 1})
	if len(got) != 1 || got[0].Port != port || got[0].Process+"\n" != string(comm) {
		t.Errorf("%+v; this is %s", got, comm)
	}
	m := at(t.TempDir())
	filestest.Write(t, m.Path("/proc/net/tcp"), "  sl  local_address\n   0: 00000000:1388 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 777 1\n"+
		"   1: 00000000:192B 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 888 1\n"+
		"   2: 00000000:0016 00000000:0000 01 00000000:00000000 00:00000000 00000000     0        0 999 1\n", 0o644)
	filestest.Write(t, m.Path("/proc/42/comm"), "kube-apiserver\n", 0o644)
	filestest.Write(t, m.Path("/proc/42/cgroup"), "12:cpu:/system.slice/containerd.service\n1:name=systemd:/system.slice/containerd.service/kubepods-burstable.slice/x\n", 0o644)
	if err := os.MkdirAll(m.Path("/proc/42/fd"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("socket:[888]", filepath.Join(m.Path("/proc/42/fd"), "3")); err != nil {
		t.Fatal(err)
	}
	want := []agent.Listener{{Port: 5000}, {Port: 6443, Process: "kube-apiserver", Unit: "kubepods"}}
	if diff := cmp.Diff(want, m.listeners([]int{22, 5000, 6443})); diff != "" {
		t.Error(diff)
	}
	if got := unitOf([]string{"0::/system.slice/ssh.service"}); got != "ssh.service" {
		t.Errorf("%q", got)
	}
}
