package care

import (
	"math"
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

// standing is what the probes say of a server, the best first.
type standing int

const (
	fit      standing = iota // it takes connections
	unready                  // it answers that it is not ready: it serves what it has, and is about to end or has just begun
	silent                   // it has not answered twice
	refusing                 // it refuses connections
)

// taking lists the servers that are to get new connections: those with the best standing that any has. If that is a bad one the
// probes may be wrong, as on a node that has no time for them, and then connections still work. One that is withheld gets none
// unless it stands better than all others: an address that does not answer is worse.
func taking(desired List, found map[netip.AddrPort]standing) []netip.AddrPort {
	rank := func(a netip.AddrPort) int {
		r := 2 * int(found[a])
		if slices.Contains(desired.Withheld, a) {
			r++
		}
		return r
	}
	best := math.MaxInt
	for _, a := range desired.Servers {
		best = min(best, rank(a))
	}
	return slices.DeleteFunc(slices.Clone(desired.Servers), func(a netip.AddrPort) bool { return rank(a) > best })
}

// plan computes the changes that lead from current to the desired servers. A server that is to get no new connections gets weight
// 0 first, which leaves its open ones alone. One that does not answer or is not desired goes once drained says so; one that
// answers stays, for it ends its connections itself. Those that are to get connections come first, so that a swap of servers never
// leaves none.
func plan(current []Server, desired List, found map[netip.AddrPort]standing, drained func(Server) bool) []Change {
	take := taking(desired, found)
	var changes []Change
	for _, a := range take {
		i := slices.IndexFunc(current, func(s Server) bool { return s.Addr == a })
		switch {
		case i < 0:
			changes = append(changes, Change{Add, Server{Addr: a, Weight: 1}})
		case current[i].Weight != 1:
			changes = append(changes, Change{Update, Server{Addr: a, Weight: 1}})
		}
	}
	for _, s := range current {
		switch {
		case slices.Contains(take, s.Addr):
		case s.Weight != 0:
			changes = append(changes, Change{Update, Server{Addr: s.Addr}})
		case leaves(s.Addr, desired.Servers, found) && drained(s):
			changes = append(changes, Change{Delete, Server{Addr: s.Addr}})
		}
	}
	return changes
}

// leaves tells whether a server that gets no new connections is to go at last.
func leaves(a netip.AddrPort, desired []netip.AddrPort, found map[netip.AddrPort]standing) bool {
	return !slices.Contains(desired, a) || found[a] >= silent
}
