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
	AskedFor   Kind = "asked"       // what the operator asks for, and of which bundle
	StepBegins Kind = "step-begins" // a step
	StepEnds   Kind = "step-ends"   // with Error: it failed
	Hosts      Kind = "hosts"       // the hosts that work begins on, or that wait for it
	WorkBegins Kind = "work-begins" // a host, or this machine, does something
	WorkMoves  Kind = "work-moves"  // bytes of it are done
	WorkEnds   Kind = "work-ends"   // with Error: it failed
	Info       Kind = "info"
	Warning    Kind = "warning"
	Output     Kind = "output"  // a line that a script or command printed
	Checked    Kind = "checked" // the checks that hosts went through: those without a problem have found nothing
	Problem    Kind = "problem" // something that stands in the way, or would
	Changed    Kind = "changed" // things on a host, in the step
	HostIs     Kind = "host"    // what is known of a host at the end of the run
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
	Report string `json:"report,omitempty"` // file that is the page about the run
	Stops  bool   `json:"stops,omitempty"`  // the problem stops the run

	Asked  *Asked     `json:"asked,omitempty"`
	Checks []string   `json:"checks,omitempty"` // names of those that were made
	About  *AboutHost `json:"about,omitempty"`
}

// Asked is what the operator asks for.
type Asked struct {
	Verb    string   `json:"verb"`
	Args    []string `json:"args,omitempty"`    // flags that were given, without secrets
	Cluster string   `json:"cluster,omitempty"` // its name
	Program string   `json:"program,omitempty"` // version of it
	Machine string   `json:"machine,omitempty"` // that the run is made on
	User    string   `json:"user,omitempty"`    // who makes it
	Bundle  *Bundle  `json:"bundle,omitempty"`
}

// Bundle is the bundle that a run is made with.
type Bundle struct {
	Digest string  `json:"digest"`           // of its index, which covers every byte
	Signer string  `json:"signer,omitempty"` // by the keys that this machine trusts; empty: nobody demanded a signature
	Key    string  `json:"key,omitempty"`    // fingerprint of the key that signed; empty: it is not signed
	Images []Image `json:"images,omitempty"`
}

// Image is an image of a bundle.
type Image struct {
	Name   string `json:"name"`
	Digest string `json:"digest"`
	Kind   string `json:"kind,omitempty" mask:"-"` // rootfs, patch or application; empty: it runs in pods
	Size   int64  `json:"size,omitempty"`          // bytes of all its blobs
}

// AboutHost is what is known of a host.
type AboutHost struct {
	Name         string            `json:"name,omitempty"`          // of its Node
	Role         string            `json:"role,omitempty" mask:"-"` // master or node
	Versions     map[string]string `json:"versions,omitempty"`
	Certificates []Certificate     `json:"certificates,omitempty"`
}

// Certificate is one that lies on a host.
type Certificate struct {
	Path    string    `json:"path"`
	Subject string    `json:"subject,omitempty"`
	Ends    time.Time `json:"ends"`
}

// Sink takes events, from several goroutines at once.
type Sink interface{ Event(Event) }
