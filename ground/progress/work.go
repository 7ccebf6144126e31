package progress

import (
	"sync"
	"sync/atomic"
	"time"
)

// Teller tells of pieces of work.
type Teller struct {
	Tell  func(Event)      // takes the events; it sets their time
	Now   func() time.Time // of events
	works atomic.Int64     // numbers given to pieces of work
}

// Work is something that a host, or this machine, does for a while. It is safe for use by several goroutines.
type Work struct {
	by *Teller

	mu    sync.Mutex
	event Event
	told  time.Time // when the bytes were told last
}

// workEvery is the least time between two events about the bytes of one piece of work.
const workEvery = time.Second

// Does tells that a host begins something; an empty host is this machine. what says in a few words what it is; empty: what the step
// is about. bytes is how much there is to be done, 0 where nobody knows.
func (t *Teller) Does(host, what string, bytes int64) *Work {
	w := &Work{by: t, event: Event{Kind: WorkBegins, Work: t.works.Add(1), Host: host, Does: what, Bytes: bytes}, told: t.Now()}
	t.Tell(w.event)
	return w
}

// Of tells how many bytes there are to be done.
func (w *Work) Of(bytes int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.event.Bytes = bytes
	w.moved(true)
}

// More tells that there are so many bytes more to be done.
func (w *Work) More(bytes int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.event.Bytes += bytes
	w.moved(false)
}

// Did tells that so many bytes more are done; fewer, where some start over.
func (w *Work) Did(bytes int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.event.Done += bytes
	w.moved(false)
}

func (w *Work) moved(now bool) {
	if w.event.Kind == WorkEnds { // a transfer that was given up may still come to its end
		return
	}
	if at := w.by.Now(); now || at.Sub(w.told) >= workEvery {
		w.told, w.event.Kind = at, WorkMoves
		w.by.Tell(w.event)
	}
}

// End tells that the work has ended, and, unless why is empty, that it has failed. It gives the bytes that are done.
func (w *Work) End(why string) (bytes int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.event.Kind != WorkEnds {
		w.event.Kind, w.event.Error = WorkEnds, why
		w.by.Tell(w.event)
	}
	return w.event.Done
}
