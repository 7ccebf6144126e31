package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/sealbuild/sealbuild/test/scenario"
	"github.com/sealbuild/sealbuild/test/testbed"
)

// installations measures whole installations on real hosts: the scenario that
// `make demo` tells, with the figures that it takes on the way.
func (b *bench) installations(ctx context.Context, runs int) error {
	if missing := testbed.Missing(); len(missing) > 0 {
		return &testbed.MissingError{What: missing}
	}
	figures := filepath.Join(b.root, "test", "bench", "install.json")
	var taken [][]scenario.Row
	var failed error
	for i := range runs {
		b.say("install, run %d of %d (minutes)", i+1, runs)
		rows, err := b.installOnce(ctx, figures)
		if rows != nil {
			taken = append(taken, rows)
		}
		if err != nil {
			failed = fmt.Errorf("run %d: %w", i+1, err)
			break
		}
	}
	b.table.command = "test/scenario, Install: sealinstall --masters IP --nodes IP on two hosts in a closed network, from exec until every pod is ready"
	b.table.addRows(taken)
	return failed
}

// installOnce returns the figures also when a promise behind them did not hold.
func (b *bench) installOnce(ctx context.Context, figures string) ([]scenario.Row, error) {
	// What an earlier run left must not pass for this one's.
	if err := os.Remove(figures); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	var story tail
	failed := scenario.Install(ctx, &story)
	if failed != nil {
		failed = fmt.Errorf("%w\n%s", failed, story.String())
	}
	data, err := os.ReadFile(figures)
	if err != nil {
		return nil, errors.Join(failed, err)
	}
	var rows []scenario.Row
	if err := json.Unmarshal(data, &rows); err != nil {
		return nil, errors.Join(failed, fmt.Errorf("%s: %w", figures, err))
	}
	return rows, failed
}

// addRows makes one row of the same row of every run.
func (t *table) addRows(runs [][]scenario.Row) {
	if len(runs) == 0 {
		return
	}
	for _, first := range runs[0] {
		var values series
		for _, rows := range runs {
			for _, r := range rows {
				if r.Name == first.Name {
					values = append(values, r.Value)
				}
			}
		}
		if first.Limit != 0 {
			t.most(first.Name, first.Unit, values, first.Limit)
		} else {
			t.add(first.Name, first.Unit, values)
		}
	}
}
