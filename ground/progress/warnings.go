package progress

import (
	"slices"
	"time"
)

// warnings tells each warning once, those that several hosts give alike together: they wait a moment for each other.
type warnings struct {
	known map[string][]string // the hosts that have given a warning, by its text
	next  []*group
	since time.Time // of the first that waits
}

type group struct {
	text  string
	hosts []string
}

// gather is how long warnings wait for those of other hosts.
const gather = time.Second

func (w *warnings) add(e Event) {
	if w.known == nil {
		w.known = map[string][]string{}
	}
	if slices.Contains(w.known[e.Text], e.Host) {
		return
	}
	w.known[e.Text] = append(w.known[e.Text], e.Host)
	if len(w.next) == 0 {
		w.since = e.Time
	}
	i := slices.IndexFunc(w.next, func(g *group) bool { return g.text == e.Text })
	if i < 0 {
		i, w.next = len(w.next), append(w.next, &group{text: e.Text})
	}
	if e.Host != "" {
		w.next[i].hosts = append(w.next[i].hosts, e.Host)
	}
}

// due gives the lines of warnings that have waited for long enough.
func (w *warnings) due(now time.Time) []string {
	if len(w.next) == 0 || now.Sub(w.since) < gather {
		return nil
	}
	return w.all()
}

// all gives the lines of all that wait.
func (w *warnings) all() (lines []string) {
	for _, g := range w.next {
		lines = append(lines, told(Event{Kind: Warning, Host: named(g.hosts), Text: g.text}))
	}
	w.next = nil
	return lines
}
