package care

import (
	"net/netip"
	"slices"
)

// Op is what happens to a real server.
type Op string

// The operations of a [Change].
const (
	Add    Op = "add"
	Update Op = "update"
	Delete Op = "delete"
)

// Change is one step from the servers of now to those wanted.
type Change struct {
	Op     Op
	Server Server
}

// plan computes the changes that lead from current to the desired servers, where fails counts each server's failed checks in a
// row: 0 = weight 1, 1 = weight 0 (connections drain), 2 and more = removed. When every desired server fails, all are treated
// as healthy. Servers that are not desired go. Additions come first, so that a swap of servers never leaves none.
func plan(current []Server, desired []netip.AddrPort, fails map[netip.AddrPort]int) []Change {
	want := map[netip.AddrPort]int{}
	allFail := !slices.ContainsFunc(desired, func(a netip.AddrPort) bool { return fails[a] == 0 })
	for _, a := range desired {
		switch {
		case allFail || fails[a] == 0:
			want[a] = 1
		case fails[a] == 1:
			want[a] = 0
		}
	}
	have := map[netip.AddrPort]int{}
	for _, s := range current {
		have[s.Addr] = s.Weight
	}
	var changes []Change
	for _, a := range desired {
		w, wanted := want[a]
		if _, has := have[a]; wanted && !has && w > 0 {
			changes = append(changes, Change{Add, Server{a, w}})
		}
	}
	for _, s := range current {
		w, wanted := want[s.Addr]
		switch {
		case !wanted:
			changes = append(changes, Change{Delete, s})
		case w != s.Weight:
			changes = append(changes, Change{Update, Server{s.Addr, w}})
		}
	}
	return changes
}
