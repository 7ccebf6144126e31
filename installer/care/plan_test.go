package care

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

var (
	m1, m2, m3 = netip.MustParseAddrPort("10.0.0.1:6443"), netip.MustParseAddrPort("10.0.0.2:6443"), netip.MustParseAddrPort("10.0.0.3:6443")
	sameAddr   = cmpopts.EquateComparable(netip.AddrPort{})
)

// at is a server with a weight, and open connections.
func at(a netip.AddrPort, weight int, open ...int) Server {
	s := Server{Addr: a, Weight: weight}
	for _, n := range open {
		s.Open = n
	}
	return s
}

func TestPlan(t *testing.T) {
	type found = map[netip.AddrPort]standing
	all := List{Servers: []netip.AddrPort{m1, m2}}
	withheld := List{all.Servers, []netip.AddrPort{m2}}
	for name, tc := range map[string]struct {
		current []Server
		desired List
		found   found
		want    []Change
	}{
		"all servers are added at the start": {nil, all, nil, []Change{{Add, at(m1, 1)}, {Add, at(m2, 1)}}},
		"nothing to do changes nothing":      {[]Server{at(m1, 1, 3)}, List{Servers: []netip.AddrPort{m1}}, nil, nil},
		"one that is not ready gets no more": {[]Server{at(m1, 1), at(m2, 1)}, all, found{m2: unready}, []Change{{Update, at(m2, 0)}}},
		"one that is not ready stays":        {[]Server{at(m1, 1), at(m2, 0)}, all, found{m2: unready}, nil},
		"a silent one gets no more first":    {[]Server{at(m1, 1), at(m2, 1)}, all, found{m2: silent}, []Change{{Update, at(m2, 0)}}},
		"a silent one without connections goes": {
			[]Server{at(m1, 1), at(m2, 0)}, all, found{m2: silent}, []Change{{Delete, at(m2, 0)}},
		},
		"a silent one with connections waits for them": {[]Server{at(m1, 1), at(m2, 0, 1)}, all, found{m2: silent}, nil},
		"one that went stays away while silent":        {[]Server{at(m1, 1)}, all, found{m2: silent}, nil},
		"one that went is back once it answers":        {[]Server{at(m1, 1)}, all, nil, []Change{{Add, at(m2, 1)}}},
		"one without weight gets it back":              {[]Server{at(m1, 1), at(m2, 0, 4)}, all, nil, []Change{{Update, at(m2, 1)}}},
		"one that is no master any more gets no more, after the new one came": {
			[]Server{at(m1, 1), at(m2, 1)}, List{Servers: []netip.AddrPort{m1, m3}}, nil, []Change{{Add, at(m3, 1)}, {Update, at(m2, 0)}},
		},
		"one that is no master any more goes without connections": {
			[]Server{at(m1, 1), at(m2, 0), at(m3, 0, 1)}, List{Servers: []netip.AddrPort{m1}}, nil, []Change{{Delete, at(m2, 0)}},
		},
		"when none answers all are kept": {
			[]Server{at(m1, 1), at(m2, 0)}, all, found{m1: silent, m2: silent}, []Change{{Update, at(m2, 1)}},
		},
		"when none answers those that do not refuse are kept": {
			[]Server{at(m1, 1), at(m2, 0)}, all, found{m1: refusing, m2: silent}, []Change{{Update, at(m2, 1)}, {Update, at(m1, 0)}},
		},
		"when all refuse all are kept": {
			[]Server{at(m1, 1), at(m2, 0)}, all, found{m1: refusing, m2: refusing}, []Change{{Update, at(m2, 1)}},
		},
		"when none is ready those that answer are used": {
			[]Server{at(m1, 1), at(m2, 0)}, all, found{m1: silent, m2: unready}, []Change{{Update, at(m2, 1)}, {Update, at(m1, 0)}},
		},
		"one that is withheld gets no more, and keeps what is open": {
			[]Server{at(m1, 1), at(m2, 1, 3)}, withheld, nil, []Change{{Update, at(m2, 0)}},
		},
		"one that is withheld stays without connections": {[]Server{at(m1, 1), at(m2, 0)}, withheld, nil, nil},
		"one that is withheld is not added":              {[]Server{at(m1, 1)}, withheld, nil, nil},
		"one that is withheld and silent goes":           {[]Server{at(m1, 1), at(m2, 0)}, withheld, found{m2: silent}, []Change{{Delete, at(m2, 0)}}},
		"one that is released gets its weight back":      {[]Server{at(m1, 1), at(m2, 0, 3)}, all, nil, []Change{{Update, at(m2, 1)}}},
		"one that is withheld is used when no other is fit": {
			[]Server{at(m1, 1), at(m2, 0)}, withheld, found{m1: unready}, []Change{{Update, at(m2, 1)}, {Update, at(m1, 0)}},
		},
		"one that is withheld is not used when the others are no worse": {
			[]Server{at(m1, 1), at(m2, 0)}, withheld, found{m1: unready, m2: unready}, nil,
		},
		"the only server is used though it is withheld": {nil, List{[]netip.AddrPort{m2}, []netip.AddrPort{m2}}, nil, []Change{{Add, at(m2, 1)}}},
	} {
		t.Run(name, func(t *testing.T) {
			got := plan(tc.current, tc.desired, tc.found, func(s Server) bool { return s.Open == 0 })
			if d := cmp.Diff(tc.want, got, sameAddr); d != "" {
				t.Error(d)
			}
		})
	}
}

// TestASwapOfServersNeverLeavesNone takes every step from every state of three servers to every other.
func TestASwapOfServersNeverLeavesNone(t *testing.T) {
	all := []netip.AddrPort{m1, m2, m3}
	standings := func(n int) map[netip.AddrPort]standing {
		out := map[netip.AddrPort]standing{}
		for _, a := range all {
			out[a], n = standing(n%4), n/4
		}
		return out
	}
	for withheld := range len(all) + 1 {
		list := List{Servers: all, Withheld: all[:withheld]}
		for from := range 4 * 4 * 4 {
			var current []Server
			for _, a := range all {
				s := at(a, 0, 1)
				if slices.Contains(taking(List{Servers: all}, standings(from)), a) {
					s.Weight = 1
				}
				current = append(current, s)
			}
			for to := range 4 * 4 * 4 {
				b := &table{servers: slices.Clone(current)}
				for _, c := range plan(current, list, standings(to), func(Server) bool { return true }) {
					if err := b.Apply(c); err != nil {
						t.Fatal(err)
					}
					if !slices.ContainsFunc(b.servers, func(s Server) bool { return s.Weight > 0 }) {
						t.Fatalf("from %v to %v, %d withheld: none is left after %v", standings(from), standings(to), withheld, c)
					}
				}
			}
		}
	}
}
