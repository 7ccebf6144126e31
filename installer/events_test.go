package installer

import (
	"context"
	"errors"
	"io"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sealbuild/sealbuild/ground/progress"
)

// heard is the events that a reporter has told.
type heard []progress.Event

func (h *heard) Event(e progress.Event) { *h = append(*h, e) }

// listened is a reporter with a clock of its own, and what it tells.
func listened() (*Reporter, *heard, *time.Time) {
	now := time.Date(2026, 11, 30, 8, 0, 0, 0, time.UTC)
	told := new(heard)
	r := ReportTo(told, io.Discard, false)
	r.works.Now = func() time.Time { return now }
	return r, told, &now
}

func TestBytesAreToldOnceASecondAndAtTheEnd(t *testing.T) {
	r, told, now := listened()
	begin := *now
	w := r.Does("10.0.0.2", "gets images", 0)
	w.Of(1000)
	for range 30 {
		*now = now.Add(100 * time.Millisecond)
		w.Did(20)
	}
	w.End(nil)
	w.Did(7) // of a transfer that was left behind
	w.End(errors.New("late"))
	at := func(d time.Duration, kind progress.Kind, done, bytes int64) progress.Event {
		return progress.Event{Time: begin.Add(d), Kind: kind, Work: 1, Host: "10.0.0.2", Does: "gets images", Done: done, Bytes: bytes}
	}
	want := heard{
		at(0, progress.WorkBegins, 0, 0), at(0, progress.WorkMoves, 0, 1000), at(time.Second, progress.WorkMoves, 200, 1000),
		at(2*time.Second, progress.WorkMoves, 400, 1000), at(3*time.Second, progress.WorkMoves, 600, 1000), at(3*time.Second, progress.WorkEnds, 600, 1000),
	}
	if diff := cmp.Diff(want, *told); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestWhatIsToldOfAHostNamesItApart(t *testing.T) {
	r, told, now := listened()
	r.Warnf("%s: /var is slow", "10.0.0.2")
	r.Infof("all hosts: %d", 3)
	r.Infof("fd00::2: it waits")
	want := heard{
		{Time: *now, Kind: progress.Warning, Host: "10.0.0.2", Text: "/var is slow"},
		{Time: *now, Kind: progress.Info, Text: "all hosts: 3"},
		{Time: *now, Kind: progress.Info, Host: "fd00::2", Text: "it waits"},
	}
	if diff := cmp.Diff(want, *told); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestNoEventHoldsASecret(t *testing.T) {
	const secret = "swordfish-and-more"
	r, told, _ := listened()
	r.Hide(secret)
	failed := errors.New("login with " + secret + " refused")
	_, err := RunSteps(t.Context(), []Step[int]{{Name: "one", Title: "say " + secret, Run: func(int, context.Context) (Result, error) {
		r.Does("10.0.0.2", "run --password "+secret, 0).End(failed)
		r.Infof("info %s", secret)
		r.Warnf("warning %s", secret)
		r.Problem("10.0.0.2", "login", secret, "give another than "+secret, true)
		return Result{Note: secret}, failed
	}}}, 0, r)
	r.Ends(time.Second, 0, "x.log", err, "mend "+secret)
	if len(*told) != 8 {
		t.Errorf("%d events: %+v", len(*told), *told)
	}
	for _, e := range *told {
		for _, text := range []string{e.Title, e.Note, e.Error, e.Does, e.Text, e.Remedy} {
			if text != r.Mask(text) {
				t.Errorf("%s: %s", e.Kind, text)
			}
		}
	}
}
