package main

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"text/tabwriter"
)

// row is one line of the table: name, value, unit, limit and ok as in
// scenario.Row, and how the value came about.
type row struct {
	Name    string   `json:"name"`
	Value   float64  `json:"value"` // the median
	Unit    string   `json:"unit"`
	Limit   *float64 `json:"limit,omitempty"`   // the most it may be
	AtLeast bool     `json:"atLeast,omitempty"` // or the least
	OK      bool     `json:"ok"`                // within the limit, or there is none
	Min     float64  `json:"min"`
	Max     float64  `json:"max"`
	Runs    int      `json:"runs"`
	Command string   `json:"command,omitempty"` // what was measured
}

// table gathers rows in the order in which they are to be shown.
type table struct {
	rows    []row
	command string // of the rows that follow
}

// series are the values of one measurement, one of each run.
type series []float64

// add makes a row of values; no values make none.
func (t *table) add(name, unit string, values series) {
	t.limited(name, unit, values, nil, false)
}

// most adds a row whose median may be no more than limit.
func (t *table) most(name, unit string, values series, limit float64) {
	t.limited(name, unit, values, &limit, false)
}

// least adds a row whose median may be no less than limit.
func (t *table) least(name, unit string, values series, limit float64) {
	t.limited(name, unit, values, &limit, true)
}

func (t *table) limited(name, unit string, values series, limit *float64, least bool) {
	if len(values) == 0 {
		return
	}
	m := median(values)
	ok := limit == nil || m == *limit || (m > *limit) == least
	t.rows = append(t.rows, row{
		Name: name, Value: m, Unit: unit, Limit: limit, AtLeast: least, OK: ok,
		Min: slices.Min(values), Max: slices.Max(values), Runs: len(values), Command: t.command,
	})
}

// median is the middle of the values, or of an even number of them the mean of
// the middle two.
func median(values series) float64 {
	s := slices.Sorted(slices.Values(values))
	n := len(s)
	if n%2 == 1 {
		return s[n/2]
	}
	return (s[n/2-1] + s[n/2]) / 2
}

func (t *table) print(w io.Writer) {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(tw, "median\tmin\tmax\tunit\truns\tlimit\t\t  measurement\t")
	missed := 0
	for _, r := range t.rows {
		limit, verdict := "", ""
		if r.Limit != nil {
			limit, verdict = number(*r.Limit), "ok"
			if r.AtLeast {
				limit = "≥ " + limit
			}
			if !r.OK {
				verdict = "MISSED"
				missed++
			}
		}
		fmt.Fprintf(tw, "%s\t%s\t%s\t%s\t%d\t%s\t%s\t  %s\n",
			number(r.Value), number(r.Min), number(r.Max), r.Unit, r.Runs, limit, verdict, r.Name)
	}
	tw.Flush()
	if missed > 0 {
		fmt.Fprintf(w, "\n%d of %d rows MISSED their limit.\n", missed, len(t.rows))
	}
	fmt.Fprintln(w, "\nwhat was measured:")
	last := ""
	for _, r := range t.rows {
		if r.Command != last && r.Command != "" {
			fmt.Fprintf(w, "  %-28s %s\n", r.Name, r.Command)
		}
		last = r.Command
	}
}

// number shows three significant digits, and all before the point.
func number(v float64) string {
	a := math.Abs(v)
	if v == math.Trunc(v) || a >= 100 {
		return strconv.FormatFloat(v, 'f', 0, 64)
	}
	digits := 2 - int(math.Floor(math.Log10(a)))
	return strconv.FormatFloat(v, 'f', min(digits, 6), 64)
}

// writeJSON replaces the file at once, so that a reader never sees half of it.
func writeJSON(path string, v any) error {
	data, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*.json")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // gone already when all went well
	if _, err := f.Write(append(data, '\n')); err != nil {
		f.Close()
		return err
	}
	if err := f.Chmod(0o644); err != nil {
		f.Close()
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
