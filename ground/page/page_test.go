package page

import (
	"html/template"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestAPageFetchesNothingAndRunsNothing(t *testing.T) {
	made, err := New(`<h1>{{.}}</h1>`).Page("a title", `<script>alert(1)</script><img src="http://elsewhere/x.png" onerror="alert(2)">`)
	if err != nil {
		t.Fatal(err)
	}
	text := string(made)
	for _, foreign := range []string{"<script", "<img", "<link", "@import", "url("} {
		if strings.Contains(text, foreign) {
			t.Errorf("the page has %s:\n%s", foreign, text)
		}
	}
	for _, wants := range []string{"default-src 'none'", "style-src 'sha256-" + strings.ReplaceAll(lookDigest, "+", "&#43;") + "'", "<title>a title</title>"} {
		if !strings.Contains(text, wants) {
			t.Errorf("the page lacks %s:\n%.600s", wants, text)
		}
	}
	style := regexp.MustCompile(`(?s)<style>(.*)</style>`).FindStringSubmatch(text)
	if style == nil || style[1] != look {
		t.Error("the style is not, byte for byte, the one whose digest the page allows")
	}
}

func TestABarStaysInItsRowAndCanBeSeen(t *testing.T) {
	got := string(bars([]Bar{{0, 0.25, "ok", "<check>"}, {0.9, 1.7, "failed", ""}, {1, 1, "waits", ""}}))
	if diff := cmp.Diff(`<svg class="bars" width="100%" height="14" role="img">`+
		`<rect class="ok" x="0.00%" width="25.00%" height="14"><title>&lt;check&gt;</title></rect>`+
		`<rect class="failed" x="90.00%" width="10.00%" height="14"><title></title></rect>`+
		`<rect class="waits" x="99.60%" width="0.40%" height="14"><title></title></rect></svg>`, got); diff != "" {
		t.Error(diff)
	}
}

func TestTimesReadAsPersonsReadThem(t *testing.T) {
	for seconds, want := range map[float64]string{0: "0.0 s", 0.44: "0.4 s", 12.3: "12 s", 59.9: "60 s", 185: "3 m 05 s", 7384: "2 h 03 m"} {
		if got := Took(seconds); got != want {
			t.Errorf("%v: %q, want %q", seconds, got, want)
		}
	}
	if got := When(time.Date(2026, 11, 30, 9, 0, 0, 0, time.FixedZone("", 3600))); got != "2026-11-30 08:00:00 UTC" {
		t.Error(got)
	}
	if got := When(time.Time{}); got != "" {
		t.Error(got)
	}
}

func TestEveryTextOfAValueIsMasked(t *testing.T) {
	type part struct {
		Text string
		more string
		At   time.Time
	}
	type whole struct {
		Part  part
		List  []part
		Pair  [2]string
		To    *part
		Any   any
		Names map[string][]string
		Bytes []byte
		HTML  template.HTML
		None  *part
		N     int
		Word  string `mask:"-"`
	}
	at := time.Date(2026, 11, 30, 8, 0, 0, 0, time.UTC)
	given := func(s string) whole {
		p := part{Text: "a " + s, more: "kept", At: at}
		return whole{p, []part{p}, [2]string{s, "x"}, &p, []any{s, 1}, map[string][]string{s: {s}}, []byte(s), template.HTML(s), nil, 3, "hunter22"}
	}
	v := given("hunter22")
	got := Masked(v, func(s string) string { return strings.ReplaceAll(s, "hunter22", "******") })
	if diff := cmp.Diff(given("******"), got, cmp.AllowUnexported(part{})); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(given("hunter22"), v, cmp.AllowUnexported(part{})); diff != "" {
		t.Errorf("what was given has changed: %s", diff)
	}
}
