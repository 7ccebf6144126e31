package installer

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func hostsOf(list string) []Host {
	var out []Host
	for f := range strings.FieldsSeq(list) { // m10.0.0.2 is a master, n10.0.0.5 a node, a trailing ! is away
		ip, away := strings.CutSuffix(f[1:], "!")
		out = append(out, Host{IP: netip.MustParseAddr(ip), Master: f[0] == 'm', Away: away})
	}
	return out
}

func told(hosts []Host) string {
	var out []string
	for _, h := range hosts {
		s := "n"
		if h.Master {
			s = "m"
		}
		s += h.IP.String()
		if h.Away {
			s += "!"
		}
		out = append(out, s)
	}
	return strings.Join(out, " ")
}

func TestAWishKeepsEveryHostThatIsRecorded(t *testing.T) {
	recorded := "m10.0.0.2 m10.0.0.3 n10.0.0.5"
	for wish, want := range map[string]string{
		"m10.0.0.2":                         "m10.0.0.2 m10.0.0.3! n10.0.0.5!",
		"m10.0.0.3 n10.0.0.6":               "m10.0.0.2! m10.0.0.3 n10.0.0.5! n10.0.0.6",
		"m10.0.0.4 m10.0.0.2 n10.0.0.5":     "m10.0.0.2 m10.0.0.3! n10.0.0.5 m10.0.0.4",
		"m10.0.0.3 m10.0.0.2 n10.0.0.5":     "m10.0.0.2 m10.0.0.3 n10.0.0.5",
		"m10.0.0.4":                         "foreign",
		"m10.0.0.4 n10.0.0.5":               "foreign",
		"m10.0.0.2 m10.0.0.5":               "role",
		"m10.0.0.2 n10.0.0.3":               "role",
		"m10.0.0.2 m10.0.0.3 n10.0.0.5":     "m10.0.0.2 m10.0.0.3 n10.0.0.5",
		"n10.0.0.5":                         "foreign",
		"m10.0.0.2 n10.0.0.5 n10.0.0.5":     "m10.0.0.2 m10.0.0.3! n10.0.0.5",
		"m10.0.0.2 n10.0.0.9 n10.0.0.8":     "m10.0.0.2 m10.0.0.3! n10.0.0.5! n10.0.0.9 n10.0.0.8",
		"m10.0.0.9 m10.0.0.2 m10.0.0.3":     "m10.0.0.2 m10.0.0.3 n10.0.0.5! m10.0.0.9",
		"m10.0.0.2 m10.0.0.3 n2001:db8::77": "m10.0.0.2 m10.0.0.3 n10.0.0.5! n2001:db8::77",
	} {
		c := &Cluster{Hosts: hostsOf(wish)}
		err := c.Extend(&Cluster{Name: "site", Hosts: hostsOf(recorded), Images: []string{"k8s", "app"}})
		var foreign *ForeignClusterError
		got := told(c.Hosts)
		switch {
		case errors.As(err, &foreign):
			got = "foreign"
		case err != nil:
			got = "role"
		}
		if got != want {
			t.Errorf("%s over %s: %s, want %s (%v)", wish, recorded, got, want, err)
		}
		if err == nil && cmp.Diff([]string{"k8s", "app"}, c.Kept) != "" {
			t.Errorf("images kept: %v", c.Kept)
		}
	}
}

func TestSSHOfARecordFillsWhatAWishLeavesOpen(t *testing.T) {
	recorded := &Cluster{SSH: SSH{User: "admin", Port: DefaultSSHPort}, Hosts: hostsOf("m10.0.0.2 n10.0.0.5")}
	recorded.Hosts[0].SSH.Port = 2222
	c := &Cluster{SSH: SSH{KeyFile: "key"}, Hosts: hostsOf("m10.0.0.2 n10.0.0.6")}
	if err := c.Extend(recorded); err != nil {
		t.Fatal(err)
	}
	if got := c.Hosts[0].SSH; got.User != "admin" || got.Port != 2222 || got.KeyFile != "key" {
		t.Errorf("recorded host: %+v", got)
	}
	c = &Cluster{SSH: SSH{User: "root", Port: 22}, Hosts: hostsOf("m10.0.0.2")}
	if err := c.Extend(recorded); err != nil {
		t.Fatal(err)
	}
	if got := c.Hosts[0].SSH; got.User != "root" || got.Port != 22 {
		t.Errorf("what flags say comes before the record: %+v", got)
	}
}

func TestASelectionIsAmongTheClustersHosts(t *testing.T) {
	c := &Cluster{Name: "site", Hosts: hostsOf("m10.0.0.2 m10.0.0.3 n10.0.0.5")}
	addresses, err := ParseAddresses("10.0.0.3:2222,10.0.0.5")
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Select(addresses); err != nil {
		t.Fatal(err)
	}
	if got := told(c.Hosts); got != "m10.0.0.2! m10.0.0.3 n10.0.0.5" || c.Hosts[1].SSH.Port != 2222 {
		t.Errorf("selected: %s, port %d", got, c.Hosts[1].SSH.Port)
	}
	strange, err := ParseAddresses("10.0.0.3,10.0.0.77")
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Select(strange); err == nil || !strings.Contains(err.Error(), "10.0.0.77; its hosts are 10.0.0.2, ") {
		t.Errorf("a strange host: %v", err)
	}
}

func TestALoopbackAddressWithAPortIsATunnel(t *testing.T) {
	addresses, err := ParseAddresses("127.0.0.1:2222,127.0.0.2,10.0.0.2:2222")
	if err != nil {
		t.Fatal(err)
	}
	var got []bool
	for _, a := range addresses {
		got = append(got, a.Tunnel())
	}
	if diff := cmp.Diff([]bool{true, false, false}, got); diff != "" {
		t.Error(diff)
	}
}

func TestAnEmptyAddressInAListIsAnError(t *testing.T) {
	for _, list := range []string{"10.0.0.2,", ",10.0.0.2", "10.0.0.2,,10.0.0.3", ","} {
		if got, err := ParseAddresses(list); err == nil {
			t.Errorf("%q is taken for %v", list, got)
		}
	}
}

func TestHostsThatWereTakenOutAreRecordedUntilTheyAreBack(t *testing.T) {
	c := &Cluster{Hosts: []Host{{IP: netip.MustParseAddr("10.0.0.1"), Master: true}}}
	c.NoteTakenOut(map[string]bool{"10.0.0.8": true, "10.0.0.9": false, "10.0.0.1": false})
	c.NoteTakenOut(map[string]bool{"fd00::1": true})
	tell := func() [][]string { return [][]string{c.TakenOut(), c.Buried()} }
	if diff := cmp.Diff([][]string{{"10.0.0.8", "10.0.0.9", "fd00::1"}, {"10.0.0.8", "fd00::1"}}, tell()); diff != "" {
		t.Error(diff)
	}
	c.Hosts = append(c.Hosts, Host{IP: netip.MustParseAddr("10.0.0.8")})
	c.NoteTakenOut(map[string]bool{"10.0.0.9": true}) // it came back, and died
	if diff := cmp.Diff([][]string{{"fd00::1", "10.0.0.9"}, {"fd00::1", "10.0.0.9"}}, tell()); diff != "" {
		t.Error(diff)
	}
	c.Hosts = nil
	if slices.Contains(c.TakenOut(), "10.0.0.8") {
		t.Error("a host that was taken in again is told, once it is forgotten, as taken out")
	}
	for i := range 100 {
		c.NoteTakenOut(map[string]bool{fmt.Sprintf("10.1.0.%d", i): false})
	}
	if out := c.TakenOut(); len(out) != 64 || out[63] != "10.1.0.99" {
		t.Errorf("%d are kept: %v", len(out), out)
	}
}
