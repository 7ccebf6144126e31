// Package progress is what a run tells while it is under way: a stream of events, and the three ways to show it. Plain lines are
// for logs, a table that changes is for terminals, JSON lines are for programs. Whoever works tells what happens, and does not know
// how that is shown.
package progress

import "time"

// Version is the version of the event stream. It changes when an event or a field gets another meaning or goes; new ones may come.
const Version = 1

// Kind says what an event is about, and so which fields it has: see docs/progress.md.
type Kind string

// Kinds of events.
const (
	Begins     Kind = "begins"      // the stream; the first event
	StepBegins Kind = "step-begins" // a step
	StepEnds   Kind = "step-ends"   // with Error: it failed
	Hosts      Kind = "hosts"       // the hosts that work begins on, or that wait for it
	WorkBegins Kind = "work-begins" // a host, or this machine, does something
	WorkMoves  Kind = "work-moves"  // bytes of it are done
	WorkEnds   Kind = "work-ends"   // with Error: it failed
	Info       Kind = "info"
	Warning    Kind = "warning"
	Output     Kind = "output"  // a line that a script or command printed
	Problem    Kind = "problem" // something that stands in the way, or would
	Ends       Kind = "ends"    // the run; the last event. With Error: it failed
)

// Event is something that happened. Which fields are set depends on its kind; those that are not are left out of the JSON.
type Event struct {
	Time    time.Time `json:"time"`
	Kind    Kind      `json:"event"`
	Version int       `json:"version,omitempty"`

	Step   string `json:"step,omitempty"`
	Number int    `json:"number,omitempty"` // of the step in its list, from 1; 0: it has none
	Of     int    `json:"of,omitempty"`     // steps in the list
	Title  string `json:"title,omitempty"`

	Seconds float64 `json:"seconds,omitempty"` // that what ends has taken
	Changes int     `json:"changes,omitempty"` // on hosts
	Note    string  `json:"note,omitempty"`    // a few words about what was done
	Error   string  `json:"error,omitempty"`

	Hosts []string `json:"hosts,omitempty"`

	Work int64  `json:"work,omitempty"` // number of a piece of work, the same in all its events
	Host string `json:"host,omitempty"` // empty: this machine, or nobody in particular
	Does string `json:"does,omitempty"` // empty: what the step is about
	// Done of Bytes are the bytes of a piece of work. Bytes is 0 where nobody knows how many there will be.
	Done  int64 `json:"done,omitempty"`
	Bytes int64 `json:"bytes,omitempty"`

	Text   string `json:"text,omitempty"`
	Check  string `json:"check,omitempty"`  // that found a problem
	Remedy string `json:"remedy,omitempty"` // of a problem, or of the error of the run
	Log    string `json:"log,omitempty"`    // file that holds all that the run did
	Stops  bool   `json:"stops,omitempty"`  // the problem stops the run
}

// Sink takes events, from several goroutines at once.
type Sink interface{ Event(Event) }
