package care

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

var (
	m1, m2, m3 = netip.MustParseAddrPort("10.0.0.1:6443"), netip.MustParseAddrPort("10.0.0.2:6443"), netip.MustParseAddrPort("10.0.0.3:6443")
	sameAddr   = cmpopts.EquateComparable(netip.AddrPort{})
)

func TestPlan(t *testing.T) {
	type fails = map[netip.AddrPort]int
	for name, tc := range map[string]struct {
		current []Server
		desired []netip.AddrPort
		fails   fails
		want    []Change
	}{
		"all servers are added at the start": {
			nil, []netip.AddrPort{m1, m2}, nil, []Change{{Add, Server{m1, 1}}, {Add, Server{m2, 1}}},
		},
		"nothing to do changes nothing": {
			[]Server{{m1, 1}}, []netip.AddrPort{m1}, fails{m1: 0}, nil,
		},
		"the first failure drains": {
			[]Server{{m1, 1}, {m2, 1}}, []netip.AddrPort{m1, m2}, fails{m2: 1}, []Change{{Update, Server{m2, 0}}},
		},
		"the second failure removes": {
			[]Server{{m1, 1}, {m2, 0}}, []netip.AddrPort{m1, m2}, fails{m2: 2}, []Change{{Delete, Server{m2, 0}}},
		},
		"a removed server that fails stays away": {
			[]Server{{m1, 1}}, []netip.AddrPort{m1, m2}, fails{m2: 7}, nil,
		},
		"a server that is back gets connections again": {
			[]Server{{m1, 1}}, []netip.AddrPort{m1, m2}, fails{m2: 0}, []Change{{Add, Server{m2, 1}}},
		},
		"a drained server that is back gets its weight": {
			[]Server{{m1, 1}, {m2, 0}}, []netip.AddrPort{m1, m2}, nil, []Change{{Update, Server{m2, 1}}},
		},
		"one that is no master any more goes, after the new one came": {
			[]Server{{m1, 1}, {m2, 1}}, []netip.AddrPort{m1, m3}, nil, []Change{{Add, Server{m3, 1}}, {Delete, Server{m2, 1}}},
		},
		"when none answers all are kept": {
			[]Server{{m1, 1}, {m2, 0}}, []netip.AddrPort{m1, m2}, fails{m1: 1, m2: 3}, []Change{{Update, Server{m2, 1}}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			if d := cmp.Diff(tc.want, plan(tc.current, tc.desired, tc.fails), sameAddr); d != "" {
				t.Error(d)
			}
		})
	}
}
