package reports

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/pflag"

	"github.com/sealbuild/sealbuild/ground/progress"
	"github.com/sealbuild/sealbuild/installer"
)

var start = time.Date(2026, 11, 30, 8, 0, 0, 0, time.UTC)

// heard is what reached whoever shows the run.
type heard []progress.Event

func (h *heard) Event(e progress.Event) { *h = append(*h, e) }

// ran tells a run's events, and gives what was shown and the pages that are there.
func ran(t *testing.T, events ...progress.Event) (shown heard, pages []string, text string) {
	t.Helper()
	s := &installer.State{Dir: t.TempDir()}
	r := &Run{To: &shown, State: s, Start: start, Mask: func(text string) string { return strings.ReplaceAll(text, "hunter22", "******") }}
	for i, e := range events {
		e.Time = start.Add(time.Duration(i) * time.Second)
		r.Event(e)
	}
	pages, err := filepath.Glob(s.Path(dir, "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, page := range pages {
		all, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		text += string(all)
	}
	return shown, pages, text
}

func TestARunThatChangedNothingLeavesNoPage(t *testing.T) {
	shown, pages, _ := ran(t, progress.Event{Kind: progress.StepBegins, Step: "check"}, progress.Event{Kind: progress.Ends, Seconds: 1})
	if len(pages) > 0 || len(shown) != 2 || shown[1].Report != "" {
		t.Errorf("%v, %+v", pages, shown)
	}
}

func TestARunThatChangedOrFailedLeavesAPage(t *testing.T) {
	for _, end := range []progress.Event{{Changes: 1}, {Error: "the password hunter22 is wrong"}} {
		end.Kind = progress.Ends
		shown, pages, text := ran(t, progress.Event{Kind: progress.Warning, Text: "hunter22 was typed in clear"}, end)
		if len(pages) != 2 || shown[len(shown)-1].Report != pages[0] {
			t.Errorf("%v, %+v", pages, shown)
		}
		if strings.Contains(text, "hunter22") || !strings.Contains(text, "****** was typed in clear") {
			t.Errorf("a secret that was learned late stands in what was told before:\n%s", text)
		}
	}
}

// A password may be a word of the report's form: what programs read in it stays what it is.
func TestASecretThatIsAWordOfTheFormLeavesTheFormWhole(t *testing.T) {
	shown := new(heard)
	s := &installer.State{Dir: t.TempDir()}
	r := &Run{To: shown, State: s, Start: start, Mask: func(text string) string {
		return strings.NewReplacer("done", "******", "master", "******", "rootfs", "******").Replace(text)
	}}
	r.Event(progress.Event{Time: start, Kind: progress.AskedFor, Asked: &progress.Asked{Verb: "run", Bundle: &progress.Bundle{Images: []progress.Image{{Name: "a", Kind: "rootfs"}}}}})
	r.Event(progress.Event{Time: start, Kind: progress.HostIs, Host: "10.0.0.2", About: &progress.AboutHost{Role: "master"}})
	r.Event(progress.Event{Time: start, Kind: progress.Ends, Changes: 1})
	made, err := read(s, start.Format(Stamp))
	if err != nil || made.Outcome != "done" || made.Hosts[0].About.Role != "master" || made.Asked.Bundle.Images[0].Kind != "rootfs" {
		t.Errorf("%v: %+v", err, made)
	}
}

func TestFlagsAreShownWithoutTheirSecrets(t *testing.T) {
	f := pflag.NewFlagSet("", pflag.ContinueOnError)
	for _, name := range []string{"passwd", "pk-passwd", "masters", "file"} {
		f.String(name, "", "")
	}
	f.StringArray("env", nil, "")
	f.StringArray("cmd", nil, "")
	f.StringSlice("ignore-check", nil, "")
	f.Bool("yes", false, "")
	f.Duration("timeout", time.Minute, "")
	if err := f.Parse([]string{
		"--passwd", "1", "--pk-passwd=x", "--masters=10.0.0.2,10.0.0.3", "--env", "DB_PASSWORD=a,b c", "--env", "SITE=oslo", "--env", "WORD=y",
		"--cmd", "helm install --set user=me,db.password='p q' --set tls.key=k", "--ignore-check=disk,cpu", "--yes",
	}); err != nil {
		t.Fatal(err)
	}
	got := args(f, []string{"WORD"})
	want := []string{
		"--cmd", "helm install --set user=me,db.password=****** --set tls.key=******", "--env", "DB_PASSWORD=******", "--env", "SITE=oslo", "--env", "WORD=******",
		"--ignore-check", "disk", "--ignore-check", "cpu", "--masters", "10.0.0.2,10.0.0.3", "--passwd", "******", "--pk-passwd", "******", "--yes",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if slices.Contains(got, "--timeout") {
		t.Error("a default is shown as if it had been asked for")
	}
}
