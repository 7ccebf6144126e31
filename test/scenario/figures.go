package scenario

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// StepFigure is the time of one step in seconds.
type StepFigure struct {
	Step    string  `json:"step"`
	Seconds float64 `json:"seconds"`
}

// Figures are what the install scenario measures.
type Figures struct {
	Steps             []StepFigure
	Total             time.Duration // from exec until every pod is ready
	Second            time.Duration // the same command again
	Peak              int64         // resident memory of the installer, bytes
	DiskPeak, DiskEnd int64         // growth of the disk that holds all hosts, bytes
}

func (f Figures) print(st *story) {
	st.heading("figures")
	for _, s := range f.Steps {
		st.say("  %-22s %6.1f s", s.Step, s.Seconds)
	}
	st.say("  %-22s %6.1f s   (from exec until every node is Ready and every pod runs)", "whole", f.Total.Seconds())
	st.say("  %-22s %6.1f s", "second run", f.Second.Seconds())
	st.say("  %-22s %6.0f MiB", "peak memory", float64(f.Peak)/(1<<20))
	st.say("  %-22s %6.0f MiB at its peak, %.0f MiB at the end, all hosts together", "disk", float64(f.DiskPeak)/(1<<20), float64(f.DiskEnd)/(1<<20))
}

// Row is one line of the measured table.
type Row struct {
	Name  string  `json:"name"`
	Value float64 `json:"value"`
	Unit  string  `json:"unit"`
	Limit float64 `json:"limit,omitempty"`
	OK    bool    `json:"ok"`
}

// Rows are the figures as the table of make bench has them.
func (f Figures) Rows() []Row {
	rows := []Row{}
	for _, s := range f.Steps {
		rows = append(rows, Row{"install/step/" + s.Step, s.Seconds, "s", 0, true})
	}
	limited := func(name string, v float64, unit string, limit float64) {
		rows = append(rows, Row{name, v, unit, limit, v <= limit})
	}
	limited("install/whole", f.Total.Seconds(), "s", 60)
	limited("install/second-run", f.Second.Seconds(), "s", 10)
	limited("install/peak-memory", float64(f.Peak)/(1<<20), "MiB", 512)
	rows = append(rows, Row{"install/disk-peak", float64(f.DiskPeak) / (1 << 20), "MiB", 0, true}, Row{"install/disk-end", float64(f.DiskEnd) / (1 << 20), "MiB", 0, true})
	return rows
}

// writeFigures leaves the last figures where make bench picks them up.
func writeFigures(root string, f Figures) error {
	data, err := json.MarshalIndent(f.Rows(), "", "  ")
	if err != nil {
		return err
	}
	dir := filepath.Join(root, "test", "bench")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "install.json"), append(data, '\n'), 0o644)
}

// spread is what several runs of one measurement gave.
type spread struct {
	name, unit string
	values     []float64
}

func (s *spread) add(v float64) { s.values = append(s.values, v) }

// String is a row of the measured tables: median, least, most.
func (s spread) String() string {
	v := slices.Sorted(slices.Values(s.values))
	if len(v) == 0 {
		return fmt.Sprintf("| %s | | | | %s |", s.name, s.unit)
	}
	median := (v[(len(v)-1)/2] + v[len(v)/2]) / 2
	return fmt.Sprintf("| %s | %.3g | %.3g | %.3g | %s |", s.name, median, v[0], v[len(v)-1], s.unit)
}
