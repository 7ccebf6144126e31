package installer

import (
	"sync"
	"time"

	"github.com/sealbuild/sealbuild/ground/progress"
)

// Work is something that a host, or this machine, does for a while. It is safe for use by several goroutines.
type Work struct {
	r *Reporter

	mu    sync.Mutex
	event progress.Event
	told  time.Time // when the bytes were told last
}

// workEvery is the least time between two events about the bytes of one piece of work.
const workEvery = time.Second

// Does tells that a host begins something; an empty host is this machine. what says in a few words what it is; empty: what the step is
// about. bytes is how much there is to be done, 0 where nobody knows.
func (r *Reporter) Does(host, what string, bytes int64) *Work {
	w := &Work{r: r, event: progress.Event{Kind: progress.WorkBegins, Work: r.works.Add(1), Host: host, Does: what, Bytes: bytes}}
	w.told = r.now()
	r.tell(w.event)
	return w
}

// Of tells how many bytes there are to be done.
func (w *Work) Of(bytes int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.event.Bytes = bytes
	w.moved(true)
}

// Did tells that so many bytes more are done.
func (w *Work) Did(bytes int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.event.Done += bytes
	w.moved(false)
}

func (w *Work) moved(now bool) {
	if w.event.Kind == progress.WorkEnds { // a transfer that was given up may still come to its end
		return
	}
	if at := w.r.now(); now || at.Sub(w.told) >= workEvery {
		w.told, w.event.Kind = at, progress.WorkMoves
		w.r.tell(w.event)
	}
}

// End tells that the work has ended, with its error or without one.
func (w *Work) End(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.event.Kind == progress.WorkEnds {
		return
	}
	w.event.Kind, w.event.Error = progress.WorkEnds, Tell(err)
	w.r.tell(w.event)
}

// About tells which hosts a piece of work is about that begins now on some of them.
func (r *Reporter) About(hosts []string) {
	r.tell(progress.Event{Kind: progress.Hosts, Hosts: hosts})
}
