package report

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/sealbuild/sealbuild/ground/progress"
	"github.com/sealbuild/sealbuild/test/browsertest"
)

var update = flag.Bool("update", false, "write the reports of testdata anew")

const schemaFile = "../../docs/schemas/report.schema.json"

// streams are the reports of what runs have told: of the streams in testdata, which installer/steps has recorded
// (TestStreamsOfReportsAreRecorded), and of a run on 200 hosts.
func streams(t *testing.T) map[string]Report {
	t.Helper()
	out := map[string]Report{"twohundred": twoHundred()}
	files, err := filepath.Glob("testdata/*.jsonl")
	if err != nil || len(files) < 4 {
		t.Fatalf("%v: %v", files, err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		r, err := read(bytes.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		out[strings.TrimSuffix(filepath.Base(file), ".jsonl")] = r
	}
	return out
}

// onDemand is a report with what the command report adds.
func onDemand(r Report) Report {
	r.Record = &Record{
		Phase: "ClusterSuccess", Message: "every node is Ready", Hosts: []RecordHost{{"10.77.0.1", "master"}, {"10.77.0.4", "node"}},
		Images: []string{"localhost/kubernetes:v1.36.3", "localhost/shop:2.4"}, Bundles: []string{"sha256:" + strings.Repeat("0f", 32)},
	}
	for i, outcome := range []Outcome{Failed, Refused, Done} {
		r.Earlier = append(r.Earlier, Earlier{
			Begins: r.Begins.Add(-time.Duration(i+1) * time.Hour), Verb: "run", Outcome: outcome, Seconds: 31, Changes: 4 * i,
			File: "/root/.sealos/plant-7/reports/20261130T080000.000Z.html",
		})
	}
	return r
}

// twoHundred is the report of a run on 200 hosts of which one fails.
func twoHundred() Report {
	var r Recorder
	now := time.Date(2026, 11, 30, 8, 0, 0, 0, time.UTC)
	works := int64(0)
	tell := func(e progress.Event) {
		e.Time = now
		r.Event(e)
	}
	tell(progress.Event{Kind: progress.Begins, Version: 1})
	tell(progress.Event{Kind: progress.AskedFor, Asked: &progress.Asked{
		Verb: "run", Cluster: "yard", Program: "v1.0.0", Args: []string{"--masters", "10.0.0.1-10.0.0.3", "--nodes", "10.0.0.4-10.0.0.200"},
		Bundle: &progress.Bundle{Digest: "sha256:" + strings.Repeat("0f", 32)},
	}})
	var all []string
	for i := range 200 {
		all = append(all, fmt.Sprintf("10.0.0.%d", i+1))
	}
	for n, step := range []string{"check", "open-bundle", "render", "distribute-rootfs", "bootstrap", "join-nodes"} {
		tell(progress.Event{Kind: progress.StepBegins, Step: step, Number: n + 1, Of: 6, Title: "what " + step + " does"})
		tell(progress.Event{Kind: progress.Hosts, Hosts: all})
		begin, failed := now, ""
		for i, h := range all {
			works++
			now = begin.Add(time.Duration(i) * 100 * time.Millisecond)
			tell(progress.Event{Kind: progress.WorkBegins, Work: works, Host: h})
			now = now.Add(time.Duration(2+i%7) * time.Second)
			end := progress.Event{Kind: progress.WorkEnds, Work: works, Host: h}
			if h == "10.0.0.77" && step == "join-nodes" {
				end.Error = "kubeadm join: exit status 1:\n  the API server does not answer"
				failed = h + ": " + end.Error
			}
			tell(end)
			tell(progress.Event{Kind: progress.Changed, Host: h, Changes: n})
			if i%50 == 3 {
				tell(progress.Event{Kind: progress.Warning, Host: h, Text: "memory: 3.9 GiB, 4 GiB are better (add memory)"})
			}
		}
		now = now.Add(time.Second)
		end := progress.Event{Kind: progress.StepEnds, Step: step, Number: n + 1, Of: 6, Seconds: now.Sub(begin).Seconds(), Changes: 200 * n, Error: failed}
		if failed != "" {
			end.Hosts = []string{"10.0.0.77"}
		}
		tell(end)
	}
	tell(progress.Event{Kind: progress.Checked, Hosts: all, Checks: []string{"disk", "memory", "port"}})
	for i, h := range all {
		role := "node"
		if i < 3 {
			role = "master"
		}
		tell(progress.Event{Kind: progress.HostIs, Host: h, About: &progress.AboutHost{
			Name: fmt.Sprintf("yard-%03d", i+1), Role: role, Versions: map[string]string{"kubelet": "v1.36.3", "kernel": "6.12.0"},
		}})
	}
	tell(progress.Event{Kind: progress.Ends, Seconds: now.Sub(time.Date(2026, 11, 30, 8, 0, 0, 0, time.UTC)).Seconds(), Changes: 3000, Error: "step join-nodes: 10.0.0.77: kubeadm join: exit status 1", Remedy: "mend the cause", Log: "/root/.sealos/yard/logs/run.log"})
	return r.Report()
}

func TestAReportIsWhatItWas(t *testing.T) {
	for name, r := range streams(t) {
		document, err := r.JSON()
		if err != nil {
			t.Fatal(err)
		}
		html, err := r.HTML()
		if err != nil {
			t.Fatal(err)
		}
		_, shown, _ := bytes.Cut(html, []byte("<body>\n")) // how pages look is no matter of this one
		for suffix, got := range map[string][]byte{".json": document, ".html": shown} {
			if name == "twohundred" {
				if len(got) > 1<<20 {
					t.Errorf("%s%s has %d bytes", name, suffix, len(got))
				}
				continue // it is made of what the others are made of
			}
			file := "testdata/" + name + suffix
			if *update {
				if err := os.WriteFile(file, got, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), string(got)); diff != "" {
				t.Errorf("%s (-want +got; if it is meant, -update):\n%s", file, diff)
			}
		}
	}
}

func TestAReportConformsToTheSchema(t *testing.T) {
	schema, err := jsonschema.NewCompiler().Compile(schemaFile)
	if err != nil {
		t.Fatal(err)
	}
	all := streams(t)
	all["on demand"] = onDemand(all["success"])
	all["nothing"] = (&Recorder{}).Report()
	for name, r := range all {
		text, err := r.JSON()
		if err != nil {
			t.Fatal(err)
		}
		document, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		if err := schema.Validate(document); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		var again Report
		if err := json.Unmarshal(text, &again); err != nil {
			t.Fatal(err)
		}
		if back, err := again.JSON(); err != nil || !bytes.Equal(back, text) {
			t.Errorf("%s: what is read is not what was written: %v", name, err)
		}
	}
	for _, wrong := range []string{`{}`, `{"version":1,"outcome":"fine"}`} {
		document, err := jsonschema.UnmarshalJSON(strings.NewReader(wrong))
		if err != nil || schema.Validate(document) == nil {
			t.Errorf("the schema takes %s", wrong)
		}
	}
}

func TestAReportSaysHowTheRunEnded(t *testing.T) {
	want := map[string]Outcome{"success": Done, "resumed": Done, "failure": Failed, "refused": Refused, "twohundred": Failed}
	for name, r := range streams(t) {
		if r.Outcome != want[name] {
			t.Errorf("%s: %s", name, r.Outcome)
		}
	}
}

func TestNoPageReachesBeyondItsWidth(t *testing.T) {
	all := streams(t)
	all["ondemand"] = onDemand(all["resumed"])
	for name, r := range all {
		t.Run(name, func(t *testing.T) {
			html, err := r.HTML()
			if err != nil {
				t.Fatal(err)
			}
			browsertest.Fits(t, name, html)
		})
	}
}

// What a stranger's text says stays a text.
func TestTextsOfARunAreNoMarkup(t *testing.T) {
	var r Recorder
	r.Event(progress.Event{Kind: progress.Warning, Text: `<script>alert("x")</script>`, Host: `<b>`})
	r.Event(progress.Event{Kind: progress.Ends, Error: `</pre><img src=x>`})
	html, err := r.Report().HTML()
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(html), "<script") || strings.Contains(string(html), "<img") {
		t.Errorf("%s", html)
	}
}

func FuzzAStreamOfAnyEventsMakesAReport(f *testing.F) {
	for _, name := range []string{"failure", "refused"} {
		text, err := os.ReadFile("testdata/" + name + ".jsonl")
		if err != nil {
			f.Fatal(err)
		}
		lines := bytes.SplitAfter(text, []byte("\n"))
		for i := range lines { // a whole stream is more than the fuzzer moves quickly
			f.Add(slices.Concat(lines[max(0, i-1) : i+1]...))
		}
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		r, err := read(bytes.NewReader(text))
		if err != nil {
			return
		}
		if _, err := r.JSON(); err != nil {
			t.Error(err)
		}
		if _, err := r.HTML(); err != nil {
			t.Error(err)
		}
	})
}

// read makes the report of a stream of JSON lines, as --progress json writes it. It passes over events that it does not know.
func read(stream io.Reader) (Report, error) {
	var r Recorder
	for in := json.NewDecoder(stream); ; {
		var e progress.Event
		switch err := in.Decode(&e); {
		case errors.Is(err, io.EOF):
			return r.Report(), nil
		case err != nil:
			return Report{}, fmt.Errorf("read the stream of events: %w", err)
		}
		r.Event(e)
	}
}
