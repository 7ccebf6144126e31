package status

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sealbuild/sealbuild/installer/care"
	"github.com/sealbuild/sealbuild/installer/preflight"
)

func TestASiteIsAskedWithinSecondsWhateverItsSize(t *testing.T) {
	for hosts, most := range map[int]time.Duration{1: 3 * time.Second, 5: 3 * time.Second, 20: 3 * time.Second, 200: 9 * time.Second, 5000: 9 * time.Second} {
		if got := Limit(hosts); got > most || got < limit {
			t.Errorf("%d hosts: %s", hosts, got)
		}
	}
	if reach >= limit {
		t.Error("a host that is dead costs the time in which the others are asked")
	}
}

func TestServersOfTheVirtualAddressComeFromTheKernelOrTheList(t *testing.T) {
	vip := netip.MustParseAddrPort("10.103.97.2:6443")
	list := care.List{Servers: []netip.AddrPort{netip.MustParseAddrPort("10.0.0.2:6443"), netip.MustParseAddrPort("10.0.0.3:6443")}}.Format()
	const others = `IP Virtual Server version 1.2.1 (size=4096)
Prot LocalAddress:Port Scheduler Flags
  -> RemoteAddress:Port Forward Weight ActiveConn InActConn
TCP  0A600001:01BB rr
  -> 0AF40002:192B      Masq    1      0          0
`
	const ours = `TCP  0A676102:192B rr
  -> 0A000002:192B      Masq    1      2          0
  -> 0A000003:192B      Masq    0      0          0
UDP  0A600001:0035 rr
  -> 0AF40002:0035      Masq    1      0          0
`
	byList := []Server{{"10.0.0.2:6443", 1, false}, {"10.0.0.3:6443", 1, false}}
	byKernel := []Server{{"10.0.0.2:6443", 1, false}, {"10.0.0.3:6443", 0, false}}
	for name, c := range map[string]struct {
		kernel string
		want   []Server
	}{"no ip_vs": {"", byList}, "a table of kube-proxy alone": {others, byList}, "a table with ours": {others + ours, byKernel}, "a broken one": {"TCP  zz rr\n  -> 1 2 3\n", byList}} {
		got := inForce(vip, &answers{files: map[string][]byte{care.ListFile: list, kernelServers: []byte(c.kernel)}})
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	withheld := append(list, "# withheld 10.0.0.3:6443\n"...)
	want := []Server{{"10.0.0.2:6443", 1, false}, {"10.0.0.3:6443", 0, true}}
	for name, kernel := range map[string]string{"no ip_vs": "", "the kernel": ours} {
		got := inForce(vip, &answers{files: map[string][]byte{care.ListFile: withheld, kernelServers: []byte(kernel)}})
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s, one is withheld (-want +got):\n%s", name, diff)
		}
	}
	text := Status{Hosts: []Host{{Address: "10.0.0.9", Servers: want}}}.serverLines()
	if diff := cmp.Diff([]string{"10.0.0.2:6443, 10.0.0.3:6443 (withheld) on 10.0.0.9"}, text); diff != "" {
		t.Error(diff)
	}
}

func TestADiskThatFillsIsFullAtSomeTime(t *testing.T) {
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	was := figure{at, 1000}
	for _, c := range []struct {
		after time.Duration
		free  uint64
		left  time.Duration // 0: it is not known, or never
	}{
		{time.Hour, 900, 9 * time.Hour}, {time.Hour, 0, -1}, {time.Hour, 1000, 0}, {time.Hour, 1100, 0}, {time.Minute, 1, 0},
	} {
		now := figure{at.Add(c.after), c.free}
		got := fullAt(was, now)
		want := time.Time{}
		if c.left != 0 {
			want = now.At.Add(max(0, c.left))
		}
		if !got.Equal(want) {
			t.Errorf("%d free after %s: full at %s, want %s", c.free, c.after, got, want)
		}
	}
	if got := fullAt(figure{}, was); !got.IsZero() {
		t.Errorf("one figure makes a trend: %s", got)
	}
}

func TestTextTellsTheWorstFirstAndGroupsHosts(t *testing.T) {
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	s := Status{Cluster: "c", Asked: true, At: at}
	for i := range 200 {
		h := Host{Address: netip.AddrFrom4([4]byte{10, 0, 1, byte(i + 1)}).String(), Role: "node", Reached: i%50 != 7, Joined: i%50 != 7, CertsEnd: at.Add(time.Duration(100+i) * 24 * time.Hour)}
		if !h.Reached {
			h.CertsEnd = time.Time{}
			s.Problems = append(s.Problems, preflight.Problem{Host: h.Address, Check: "connect", Message: "no answer", Remedy: "power"})
		}
		s.Hosts = append(s.Hosts, h)
	}
	for range 30 {
		s.Warnings = append(s.Warnings, "a warning")
	}
	lines := strings.Split(strings.TrimSpace(s.Text()), "\n")
	if len(lines) > 40 || !strings.Contains(lines[1], "10.0.1.8") || !strings.Contains(lines[1], "not reached") {
		t.Errorf("%d lines:\n%s", len(lines), s.Text())
	}
	flat := strings.Join(strings.Fields(s.Text()), " ")
	for _, want := range []string{
		"196 nodes in the cluster: 10.0.1.1-10.0.1.7,10.0.1.9-", "certificates: 100 days",
		"10.0.1.8,10.0.1.58,10.0.1.108,10.0.1.158 (4 hosts): connect: no answer (power)", "and 10 more (-o json has all)", "cluster c: not ready",
	} {
		if !strings.Contains(flat, want) {
			t.Errorf("%q is not in\n%s", want, s.Text())
		}
	}
}
