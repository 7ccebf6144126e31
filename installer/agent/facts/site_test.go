package facts

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sealbuild/sealbuild/installer/agent"
	"github.com/sealbuild/sealbuild/installer/agent/files/filestest"
)

func TestFirewallsThatAreOnAreNamed(t *testing.T) {
	m := at(t.TempDir())
	if got := m.firewalls(t.Context(), m.processes()); len(got) != 0 {
		t.Errorf("empty host: %v", got)
	}
	filestest.Write(t, m.Path("/etc/ufw/ufw.conf"), "# x\nENABLED=no\n", 0o644)
	if got := m.firewalls(t.Context(), m.processes()); len(got) != 0 {
		t.Errorf("ufw that is off: %v", got)
	}
	filestest.Write(t, m.Path("/etc/ufw/ufw.conf"), "ENABLED=yes\nLOGLEVEL=low\n", 0o644)
	filestest.Write(t, m.Path("/proc/12/comm"), "firewalld\n", 0o644)
	if diff := cmp.Diff([]string{"firewalld", "ufw"}, m.firewalls(t.Context(), m.processes())); diff != "" {
		t.Error(diff)
	}
}

func TestNftablesThatDropWhatComesInAreTold(t *testing.T) {
	for text, want := range map[string]bool{
		`{"nftables":[{"metainfo":{}},{"chain":{"family":"inet","table":"filter","name":"input","hook":"input","policy":"drop"}}]}`: true,
		`{"nftables":[{"chain":{"name":"input","hook":"input","policy":"accept"}},{"chain":{"hook":"forward","policy":"drop"}}]}`:   false,
		`{"nftables":[]}`: false, `[`: false, ``: false,
	} {
		if got := nftablesDrop([]byte(text)); got != want {
			t.Errorf("%s: %v", text, got)
		}
	}
}

func TestTimeServiceIsNamed(t *testing.T) {
	m := at(t.TempDir())
	if got := timeService(m.processes()); got != "" {
		t.Errorf("empty host: %q", got)
	}
	filestest.Write(t, m.Path("/proc/9/comm"), "systemd-timesyn\n", 0o644)
	if got := timeService(m.processes()); got != "systemd-timesyncd" {
		t.Errorf("%q", got)
	}
	filestest.Write(t, m.Path("/proc/10/comm"), "chronyd\n", 0o644)
	if got := timeService(m.processes()); got != "chronyd" {
		t.Errorf("%q", got)
	}
}

func TestOptionsOfTheResolverAreRead(t *testing.T) {
	for line, want := range map[string]agent.Lookup{
		"":                                    {TimeoutSeconds: 5, Attempts: 2},
		"options timeout:1 attempts:3 rotate": {TimeoutSeconds: 1, Attempts: 3},
		"options timeout:99 attempts:99":      {TimeoutSeconds: 30, Attempts: 5},
		"options timeout:-1 attempts:x edns0": {TimeoutSeconds: 5, Attempts: 2},
		"# options timeout:1":                 {TimeoutSeconds: 5, Attempts: 2},
		"search a\noptions ndots:1\noptions timeout:2": {TimeoutSeconds: 2, Attempts: 2},
	} {
		m := at(t.TempDir())
		filestest.Write(t, m.Path("/etc/resolv.conf"), line+"\n", 0o644)
		if got := lookupOf(m.Lines("/etc/resolv.conf")); got != want {
			t.Errorf("%q: %+v", line, got)
		}
	}
}

func TestWhatANetworkOfPodsLeftIsFound(t *testing.T) {
	m := at(t.TempDir())
	if got := m.cniTraces(); len(got) != 0 {
		t.Errorf("empty host: %v", got)
	}
	filestest.Write(t, m.Path("/etc/cni/net.d/10-flannel.conflist"), "{}", 0o644)
	filestest.Write(t, m.Path("/etc/cni/net.d/.keep"), "", 0o644)
	filestest.Write(t, m.Path("/sys/class/net/cni0/address"), "", 0o644)
	if diff := cmp.Diff([]string{"/etc/cni/net.d/10-flannel.conflist", "network link cni0"}, m.cniTraces()); diff != "" {
		t.Error(diff)
	}
}
