// Package report is the page about a run: what was asked for, of which bundle, what was done where and how long it took, what was
// found, and how it ended. It makes that of the events that the run tells. Pure: it reads and writes no file.
package report

import (
	"time"

	"github.com/sealbuild/sealbuild/ground/progress"
)

// Version is that of the JSON. It changes when a field gets another meaning or goes; new ones may come.
const Version = 1

// Outcome is how a run ended.
type Outcome string

// Outcomes.
const (
	Done    Outcome = "done"
	Failed  Outcome = "failed"
	Refused Outcome = "refused" // what was found stood in the way, and no host was changed
)

// Report is the report of a run, in the form of docs/schemas/report.schema.json.
type Report struct {
	Version int       `json:"version"`
	Outcome Outcome   `json:"outcome" mask:"-"`
	Begins  time.Time `json:"begins"`
	Seconds float64   `json:"seconds"`
	Changes int       `json:"changes"` // on hosts and in the cluster
	Error   string    `json:"error,omitempty"`
	Remedy  string    `json:"remedy,omitempty"`
	Log     string    `json:"log,omitempty"` // file on the machine that made the run

	Asked    progress.Asked `json:"asked"`
	Steps    []Step         `json:"steps"`
	Hosts    []Host         `json:"hosts"`
	Checks   *Checks        `json:"checks,omitempty"` // absent: no host was checked
	Problems []Problem      `json:"problems,omitempty"`
	Warnings []Told         `json:"warnings,omitempty"`
	Notes    []Told         `json:"notes,omitempty"` // what else was told, in its order

	Record  *Record   `json:"record,omitempty"`  // only of a report on demand
	Earlier []Earlier `json:"earlier,omitempty"` // likewise: the runs before, the last one first
}

// Step is a step that began.
type Step struct {
	Name    string   `json:"name"`
	Title   string   `json:"title,omitempty"`
	From    float64  `json:"from"` // seconds since the run began
	Seconds float64  `json:"seconds"`
	Changes int      `json:"changes"`
	Note    string   `json:"note,omitempty"`
	Error   string   `json:"error,omitempty"`
	Hosts   []string `json:"hosts,omitempty"` // that the error is about
}

// Host is a host of the run. One without an address is the machine that made the run.
type Host struct {
	Address string             `json:"address,omitempty"`
	About   progress.AboutHost `json:"about"`
	Changes []Changes          `json:"changes,omitempty"` // by step
	Work    []Span             `json:"work,omitempty"`
	Error   string             `json:"error,omitempty"` // for which a step failed
}

// Changes are the changes that a step made on a host.
type Changes struct {
	Step    string `json:"step"`
	Changes int    `json:"changes"`
}

// Span is a time in which a host was at work for a step.
type Span struct {
	Step   string  `json:"step"`
	From   float64 `json:"from"` // seconds since the run began
	To     float64 `json:"to"`
	Failed bool    `json:"failed,omitempty"`
}

// Checks are the checks that hosts went through.
type Checks struct {
	Hosts  []string `json:"hosts"`  // that were looked at
	Passed []string `json:"passed"` // names of checks that found nothing on any of them
}

// Problem is something that a check found.
type Problem struct {
	Check  string   `json:"check"`
	Hosts  []string `json:"hosts,omitempty"` // none: it is about the cluster as a whole
	Text   string   `json:"text"`
	Remedy string   `json:"remedy,omitempty"`
	Stops  bool     `json:"stops"` // it stopped the run
}

// Told is something that was told.
type Told struct {
	At    float64  `json:"at"` // seconds since the run began
	Hosts []string `json:"hosts,omitempty"`
	Text  string   `json:"text"`
}

// Record is what is recorded of a cluster when the report is made.
type Record struct {
	Phase   string       `json:"phase"`
	Message string       `json:"message,omitempty"`
	Hosts   []RecordHost `json:"hosts"`
	Images  []string     `json:"images,omitempty"`
	Bundles []string     `json:"bundles,omitempty"` // digests, the first one first
}

// RecordHost is a host of the record.
type RecordHost struct {
	Address string `json:"address"`
	Role    string `json:"role" mask:"-"`
}

// Earlier is a run before.
type Earlier struct {
	Begins  time.Time `json:"begins"`
	Verb    string    `json:"verb"`
	Outcome Outcome   `json:"outcome" mask:"-"`
	Seconds float64   `json:"seconds"`
	Changes int       `json:"changes"`
	File    string    `json:"file"` // name of its page
}

// HostChanges is how much was changed on a host.
func (h Host) HostChanges() (n int) {
	for _, c := range h.Changes {
		n += c.Changes
	}
	return n
}
