// Package reports keeps the reports of runs in the directory of a cluster, and has the command that makes one of what is there.
package reports

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/sealbuild/sealbuild/ground/page"
	"github.com/sealbuild/sealbuild/ground/progress"
	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/report"
)

const (
	dir  = "reports" // below the directory of the cluster
	kept = 50        // runs of which the reports are kept
)

// Stamp is the form of the time in the names of files about a run.
const Stamp = "20060102T150405.000Z"

// Run hands the events of a run on, and writes the report of one that changed something or failed when it ends.
type Run struct {
	To    progress.Sink
	State *installer.State
	Start time.Time
	Mask  func(string) string // replaces the secrets that the run knows
	Page  string              // that was written, once the run has ended; empty: none

	report.Recorder
}

// Event takes an event. That no report can be written is a warning.
func (r *Run) Event(e progress.Event) {
	r.Recorder.Event(e)
	if e.Kind == progress.Ends {
		made := r.Report()
		if made.Outcome != report.Done || made.Changes > 0 {
			if err := r.write(made); err != nil {
				r.To.Event(progress.Event{Time: e.Time, Kind: progress.Warning, Text: r.Mask(installer.Plain(fmt.Sprintf("there is no report of this run: %v", err)))})
			}
		}
		e.Report = r.Page
	}
	r.To.Event(e)
}

func (r *Run) write(made report.Report) error {
	name := r.Start.UTC().Format(Stamp)
	if err := write(r.State.Path(dir, name+".html"), page.Masked(made, r.Mask)); err != nil {
		return err
	}
	r.Page = r.State.Path(dir, name+".html")
	return prune(r.State)
}

// write writes a page, and the same beside it as JSON, for their owner alone.
func write(name string, made report.Report) error {
	text, err := made.JSON()
	if err != nil {
		return err
	}
	html, err := made.HTML()
	if err != nil {
		return err
	}
	s := installer.State{Dir: filepath.Dir(name)}
	base := filepath.Base(name)
	// The page comes last: where one is, there is its JSON.
	return errors.Join(s.Write(strings.TrimSuffix(base, filepath.Ext(base))+".json", 0o600, text), s.Write(base, 0o600, html))
}

// prune removes the reports of all but the last runs.
func prune(s *installer.State) error {
	names, err := runs(s)
	if err != nil {
		return err
	}
	var errs []error
	for _, name := range names[:max(0, len(names)-kept)] {
		errs = append(errs, s.Remove(filepath.Join(dir, name+".html")), s.Remove(filepath.Join(dir, name+".json")))
	}
	return errors.Join(errs...)
}

// runs lists the runs of which there is a report, by the names of their files without the ending, the last one last.
func runs(s *installer.State) ([]string, error) {
	entries, err := os.ReadDir(s.Path(dir))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("look for reports: %w", err)
	}
	var out []string
	for _, e := range entries {
		name, ok := strings.CutSuffix(e.Name(), ".json")
		if _, err := time.Parse(Stamp, name); ok && err == nil {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out, nil
}

// read reads the report of a run.
func read(s *installer.State, name string) (made report.Report, err error) {
	file := s.Path(dir, name+".json")
	text, err := os.ReadFile(file)
	if err == nil {
		err = json.Unmarshal(text, &made)
	}
	if err != nil {
		return made, fmt.Errorf("read the report %s: %w (remove it if it is damaged)", file, err)
	}
	return made, nil
}
