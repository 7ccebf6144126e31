package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sealbuild/sealbuild/test/scenario"
)

func TestMedianIsTheMiddle(t *testing.T) {
	for _, c := range []struct {
		values series
		want   float64
	}{{series{3}, 3}, {series{9, 1, 2}, 2}, {series{4, 1, 2, 9}, 3}} {
		if got := median(c.values); got != c.want {
			t.Errorf("median of %v is %v, want %v", c.values, got, c.want)
		}
	}
}

func TestNumbersKeepThreeDigits(t *testing.T) {
	for v, want := range map[float64]string{0: "0", 0.01234: "0.0123", 1.2345: "1.23", 68.98: "69.0", 344.03: "344", 2158.2: "2158", 60: "60", 0.0000033: "0.000003"} {
		if got := number(v); got != want {
			t.Errorf("number(%v) is %q, want %q", v, got, want)
		}
	}
}

func TestLimitOfZeroIsKeptAndJudged(t *testing.T) {
	var tab table
	tab.most("a", "blobs", series{0, 0, 1}, 0)
	tab.most("b", "s", series{2, 9, 3}, 2.5)
	tab.add("c", "s", series{1})
	tab.add("none", "s", nil)
	data, err := json.Marshal(tab.rows)
	if err != nil {
		t.Fatal(err)
	}
	var got []map[string]any
	if err := json.Unmarshal(data, &got); err != nil {
		t.Fatal(err)
	}
	want := []map[string]any{
		{"name": "a", "value": 0.0, "unit": "blobs", "limit": 0.0, "ok": true, "min": 0.0, "max": 1.0, "runs": 3.0},
		{"name": "b", "value": 3.0, "unit": "s", "limit": 2.5, "ok": false, "min": 2.0, "max": 9.0, "runs": 3.0},
		{"name": "c", "value": 1.0, "unit": "s", "ok": true, "min": 1.0, "max": 1.0, "runs": 1.0},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	var out strings.Builder
	tab.print(&out)
	if !strings.Contains(out.String(), "1 of 3 rows MISSED") {
		t.Errorf("the table does not say that a row missed its limit:\n%s", &out)
	}
}

func TestRowsOfSeveralInstallationsBecomeOne(t *testing.T) {
	var tab table
	tab.addRows([][]scenario.Row{
		{{Name: "x", Value: 5, Unit: "s", Limit: 4}, {Name: "y", Value: 1, Unit: "s", OK: true}},
		{{Name: "x", Value: 3, Unit: "s", Limit: 4, OK: true}, {Name: "y", Value: 2, Unit: "s", OK: true}},
		{{Name: "x", Value: 1, Unit: "s", Limit: 4, OK: true}},
	})
	limit := 4.0
	want := []row{
		{Name: "x", Value: 3, Unit: "s", Limit: &limit, OK: true, Min: 1, Max: 5, Runs: 3},
		{Name: "y", Value: 1.5, Unit: "s", OK: true, Min: 1, Max: 2, Runs: 2},
	}
	if d := cmp.Diff(want, tab.rows); d != "" {
		t.Error(d)
	}
}

func TestCounterCountsWhatIsFetched(t *testing.T) {
	registry := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "missing") {
			http.NotFound(w, r)
			return
		}
		fmt.Fprint(w, "12345")
	}))
	defer registry.Close()
	c, err := countInFrontOf(t.Context(), strings.TrimPrefix(registry.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for _, r := range [][2]string{
		{"GET", "/v2/"},
		{"GET", "/v2/a/manifests/1"},
		{"HEAD", "/v2/a/manifests/1"},
		{"GET", "/v2/a/blobs/x"},
		{"GET", "/v2/a/blobs/y"},
		{"HEAD", "/v2/a/blobs/y"},
		{"GET", "/v2/a/blobs/missing"},
	} {
		req, err := http.NewRequestWithContext(t.Context(), r[0], "http://"+c.addr+r[1], nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, resp.Body); err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
	}
	got := [3]int64{c.blobs.Load(), c.manifests.Load(), c.bytes.Load()}
	if want := [3]int64{2, 1, 10}; got != want {
		t.Errorf("counted blobs, manifests, bytes %v, want %v", got, want)
	}
}

func TestFailedCommandTellsTheEndOfItsOutput(t *testing.T) {
	_, err := shell(t.Context(), t.TempDir(), `yes filler | head -n 5000; echo the cause >&2; exit 3`)
	if err == nil || !strings.Contains(err.Error(), "the cause") || len(err.Error()) > 2*tailSize {
		t.Errorf("got %v", err)
	}
}

func TestCommandEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := execute(ctx, t.TempDir(), nil, "sleep", "60"); err == nil {
		t.Error("no error")
	}
}

func TestResultsAreReplacedWhole(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "results.json")
	for _, rows := range [][]row{{{Name: "old"}, {Name: "older"}}, {{Name: "new", OK: true}}} {
		if err := writeJSON(path, rows); err != nil {
			t.Fatal(err)
		}
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var got []row
	if err := json.Unmarshal(data, &got); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]row{{Name: "new", OK: true}}, got); d != "" {
		t.Error(d)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 1 {
		t.Errorf("left %v, %v", left, err)
	}
}

func TestPeakIsTheProcessesOwnNotOurs(t *testing.T) {
	ballast := make([]byte, 128<<20)
	for i := 0; i < len(ballast); i += 4096 {
		ballast[i] = 1
	}
	u, err := execute(t.Context(), t.TempDir(), nil, "sleep", "0.1")
	if err != nil {
		t.Fatal(err)
	}
	if u.peak <= 0 || u.peak > 32 {
		t.Errorf("sleep took %.1f MiB; this test holds %d MiB itself", u.peak, len(ballast)>>20)
	}
	runtime.KeepAlive(ballast)
}
