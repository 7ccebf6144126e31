package fleet

import (
	"context"
	"errors"
	"io"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/sealbuild/sealbuild/ground/progress"
	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/agent"
)

// heard is the events that were told, without their times.
type heard []progress.Event

func (h *heard) Event(e progress.Event) {
	e.Time = time.Time{}
	*h = append(*h, e)
}

func TestItIsToldWhichHostsAreAtWork(t *testing.T) {
	var told heard
	f := &Fleet{Options: Options{Jobs: 1, Report: installer.ReportTo(&told, io.Discard, false)}}
	good, bad := target("10.0.0.2", true, agent.Facts{}), target("10.0.0.3", false, agent.Facts{})
	err := f.Each(t.Context(), []*Target{good, bad}, func(_ context.Context, t *Target) error {
		if t == bad {
			return errors.New("no")
		}
		return nil
	})
	if err == nil {
		t.Error("nothing failed")
	}
	if err := f.Each(t.Context(), nil, nil); err != nil { // of no hosts nothing is told
		t.Error(err)
	}
	if len(told) != 5 {
		t.Fatalf("%d events: %+v", len(told), told)
	}
	want := progress.Event{Kind: progress.Hosts, Hosts: []string{"10.0.0.2", "10.0.0.3"}}
	if diff := cmp.Diff(want, told[0]); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	ends := map[string]progress.Event{}
	for _, e := range told[1:] {
		ends[e.Host] = e
	}
	wantEnds := map[string]progress.Event{
		"10.0.0.2": {Kind: progress.WorkEnds, Host: "10.0.0.2"}, "10.0.0.3": {Kind: progress.WorkEnds, Host: "10.0.0.3", Error: "no"},
	}
	if diff := cmp.Diff(wantEnds, ends, cmpopts.IgnoreFields(progress.Event{}, "Work")); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestAStepIsAboutTheHostsThatItWorksOnAndNotAboutThoseThatTheseNeed(t *testing.T) {
	var told heard
	f := &Fleet{Options: Options{Jobs: 1, Report: installer.ReportTo(&told, io.Discard, false)}}
	master, worker := target("10.0.0.2", true, agent.Facts{}), target("10.0.0.3", false, agent.Facts{})
	nothing := func(context.Context, *Target) error { return nil }
	err := f.Each(t.Context(), []*Target{master}, func(ctx context.Context, _ *Target) error { return f.Each(ctx, []*Target{worker}, nothing) })
	if err != nil {
		t.Fatal(err)
	}
	var about [][]string
	for _, e := range told {
		if e.Kind == progress.Hosts {
			about = append(about, e.Hosts)
		}
	}
	if diff := cmp.Diff([][]string{{"10.0.0.2"}}, about); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
