package members

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/etcd"
	"github.com/sealbuild/sealbuild/installer/fleet"
)

// hostsOf makes hosts of addresses: a capital D before one says that it is dead, a w that it is a worker.
func hostsOf(text string) (out []*fleet.Target) {
	for word := range strings.FieldsSeq(text) {
		ip := strings.TrimLeft(word, "Dw")
		out = append(out, &fleet.Target{
			Host: installer.Host{IP: netip.MustParseAddr(ip), Master: !strings.Contains(word, "w")}, Dead: strings.Contains(word, "D"),
		})
	}
	return out
}

func TestHostsLeaveDeadMastersFirstAndWorkersLast(t *testing.T) {
	var got []string
	for _, h := range LeaveOrder(hostsOf("10.0.0.1 D10.0.0.2 10.0.0.3 w10.0.0.4")) {
		got = append(got, h.IP.String())
	}
	if diff := cmp.Diff([]string{"10.0.0.2", "10.0.0.3", "10.0.0.1", "10.0.0.4"}, got); diff != "" {
		t.Error(diff)
	}
}

func TestNoMemberLeavesThatEtcdNeedsForItsMajority(t *testing.T) {
	for _, c := range []struct{ members, leaving, want string }{
		{"1 2 3", "10.0.0.2", ""},
		{"1 2 3", "10.0.0.2 10.0.0.3", ""},
		{"1 2 -3", "D10.0.0.3", ""},
		{"1 2 -3", "10.0.0.2 D10.0.0.3", ""}, // the dead one goes first
		{"1 2 -3", "10.0.0.2", "take it out first: sealinstall delete --dead --masters 10.0.0.3"},
		{"1 -2 -3", "D10.0.0.2 D10.0.0.3", "etcd has no majority: 1 of its 3 voting members answer, not 10.0.0.2, 10.0.0.3"},
		{"1 2", "10.0.0.2", ""},
		{"1 2 3", "D10.0.0.3", "only this machine does not reach it"},
		{"1 2 3 4 -5", "10.0.0.2 10.0.0.3", ""},
		{"1 2 3 4 -5", "10.0.0.2 10.0.0.3 10.0.0.4", "take it out first: sealinstall delete --dead --masters 10.0.0.5"},
		{"1", "10.0.0.9", ""}, // it has no member
	} {
		var cluster etcd.Cluster
		answer := 0
		for word := range strings.FieldsSeq(c.members) {
			n := strings.TrimPrefix(word, "-")
			m := etcd.Member{ID: n, Name: "m" + n, PeerURLs: []string{"https://10.0.0." + n + ":2380"}, Answers: n == word}
			if m.Answers {
				answer++
			}
			cluster.Members = append(cluster.Members, m)
		}
		cluster.Leader = answer > len(cluster.Members)/2
		got := fmt.Sprint(loses(cluster, LeaveOrder(hostsOf(c.leaving))))
		if (c.want == "") != (got == "[]") || !strings.Contains(got, c.want) {
			t.Errorf("of %s leave %s: %s, want %q", c.members, c.leaving, got, c.want)
		}
	}
}
