package storesync

import (
	"context"
	"encoding/binary"
	"sync"
)

// maxPeers is how many relays a receiver is told of.
const maxPeers = 8

// Fanout makes pushes of one catalog to several hosts one chain: the first host is sent what it lacks, every later one takes it
// from the host before it, while it arrives there. So the sender's link carries each blob once. Hosts speak with each other over
// TLS, with a certificate and a token that exist for one session and that only the sender hands out; what they receive they
// verify like anything else.
//
// When a host is slow or gone, those that take blobs from it turn to the host before it, and at last to the sender: that costs
// time, nothing else. The zero value is ready. It is for one catalog and one round of pushes.
type Fanout struct {
	mu      sync.Mutex
	relays  []relayInfo // in the order in which their hosts came
	came    int         // hosts
	running int         // of those, hosts that have not ended
	// expected is how many hosts have been announced and have not come.
	expected int
	ended    chan struct{} // closed and made anew when a host ends
}

// Expect says that so many more hosts are to come: relays stay open for them. Each comes with its push, or [Fanout.Absent] says
// that it does not; a push that fails early counts as that. Without it the relays close when all hosts that have come have
// everything.
func (f *Fanout) Expect(hosts int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.expected += hosts
}

// Absent says that a host that was expected does not come.
func (f *Fanout) Absent() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.expected = max(0, f.expected-1)
	f.tell()
}

// tell wakes those who wait for the end.
func (f *Fanout) tell() {
	if f.running+f.expected == 0 {
		f.relays = nil // they close now
	}
	if f.ended != nil {
		close(f.ended)
	}
	f.ended = make(chan struct{})
}

// join adds a host and returns the relays it may take blobs from, nearest first.
func (f *Fanout) join(info *relayInfo) (peers []relayInfo) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.came++
	f.running++
	f.expected = max(0, f.expected-1)
	if f.ended == nil {
		f.ended = make(chan struct{})
	}
	for i := len(f.relays) - 1; i >= 0 && len(peers) < maxPeers; i-- {
		peers = append(peers, f.relays[i])
	}
	if info != nil {
		f.relays = append(f.relays, *info)
	}
	return peers
}

// leave says that a host needs no relay any more. A host that failed is no relay for others either.
func (f *Fanout) leave(failed *relayInfo) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.running--
	for i, r := range f.relays {
		if failed != nil && r == *failed {
			f.relays = append(f.relays[:i:i], f.relays[i+1:]...)
			break
		}
	}
	f.tell()
}

// wait returns when no host needs a relay, or when ctx ends.
func (f *Fanout) wait(ctx context.Context) {
	for {
		f.mu.Lock()
		left, ended := f.running+f.expected, f.ended
		f.mu.Unlock()
		if left == 0 {
			return
		}
		select {
		case <-ended:
		case <-ctx.Done():
			return
		}
	}
}

func (p relayInfo) encode() []byte {
	b := binary.AppendUvarint(nil, uint64(p.port))
	b = append(b, p.sum[:]...)
	return append(b, p.token[:]...)
}

func (d *decoder) relay() (p relayInfo) {
	p.port = int(d.uvarint(1<<16 - 1))
	copy(p.sum[:], d.bytes(uint64(len(p.sum))))
	copy(p.token[:], d.bytes(uint64(len(p.token))))
	return p
}

func decodeRelay(payload []byte) (relayInfo, error) {
	d := decoder{data: payload}
	p := d.relay()
	return p, d.end()
}

func encodePeers(peers []relayInfo) (b []byte) {
	for _, p := range peers {
		b = append(appendText(b, p.address), p.encode()...)
	}
	return b
}

func decodePeers(payload []byte) (peers []relayInfo, err error) {
	d := decoder{data: payload}
	for d.more() {
		address := string(d.bytes(d.uvarint(maxAddress)))
		p := d.relay()
		p.address = address
		if len(peers) == maxPeers {
			return nil, protocolError("more than %d peers", maxPeers)
		}
		peers = append(peers, p)
	}
	if err := d.end(); err != nil {
		return nil, err
	}
	if len(peers) == 0 {
		return nil, protocolError("no peers")
	}
	return peers, nil
}
