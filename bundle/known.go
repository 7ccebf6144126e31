package bundle

import "sync/atomic"

// knownUnits remembers which units were right, so that none is hashed twice
// while the Reader lives. A unit is named by its entry and its number in it.
type knownUnits struct {
	first []int64 // of each entry, in the numbering of all units
	bits  []atomic.Uint64
}

func newKnownUnits(ix *index) knownUnits {
	k := knownUnits{first: make([]int64, len(ix.Entries)+1)}
	for i := range ix.Entries {
		k.first[i+1] = k.first[i] + ix.Entries[i].units()
	}
	k.bits = make([]atomic.Uint64, (k.first[len(ix.Entries)]+63)/64)
	return k
}

func (k *knownUnits) right(entry int, unit int64) bool {
	n := k.first[entry] + unit
	return k.bits[n/64].Load()&(1<<(n%64)) != 0
}

func (k *knownUnits) set(entry int, unit int64) {
	n := k.first[entry] + unit
	k.bits[n/64].Or(1 << (n % 64))
}
