package record

import (
	"bufio"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// sample records what a demo prints, by a clock of its own: a long pause, a burst, colours, a line that is redrawn, one that is too
// wide, and letters that XML and JSON have a meaning for.
func sample(t *testing.T) (cast, svg string) {
	t.Helper()
	r := New("the demo", "=== the story", "/home/me/cache", "cache", "/home/me", ".")
	now := time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)
	r.now = func() time.Time { return now }
	say := func(pause time.Duration, text string) {
		now = now.Add(pause)
		if n, err := io.WriteString(r, text); err != nil || n != len(text) {
			t.Fatalf("%d, %v", n, err)
		}
	}
	say(0, "building in /home/me\n")
	say(time.Minute, "\n=== the story\n$ sealbuild -t /home/me/cache/x /home/me/y\n")
	say(500*time.Millisecond, "[ 1/12] ch")
	say(time.Second, "eck   \x1b[32mok\x1b[0m\n10 %\r100 %\r\n")
	say(time.Hour, "master1# kubectl get <nodes> & \"more\"\n\tx\n")
	say(time.Second, strings.Repeat("ä", columns+3)+"\nunfinished")
	dir := filepath.Join(t.TempDir(), "media")
	if err := r.Save(dir, "demo"); err != nil {
		t.Fatal(err)
	}
	var texts []string
	for _, name := range []string{"demo.cast", "demo.svg"} {
		text, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(text), "/home/me") || strings.Contains(string(text), "building") {
			t.Errorf("%s tells of this machine, or of what was before:\n%s", name, text)
		}
		texts = append(texts, string(text))
	}
	return texts[0], texts[1]
}

func TestARecordingIsAnAsciicast(t *testing.T) {
	cast, _ := sample(t)
	scanner := bufio.NewScanner(strings.NewReader(cast))
	scanner.Scan()
	var header struct {
		Version, Width, Height int
		Timestamp              int64
		Title                  string
		Idle                   float64 `json:"idle_time_limit"`
	}
	if err := json.Unmarshal(scanner.Bytes(), &header); err != nil {
		t.Fatal(err)
	}
	if header.Version != 2 || header.Width != columns || header.Height != rows || header.Title != "the demo" || header.Idle != 2 || header.Timestamp != 1796040060 {
		t.Errorf("header: %+v", header)
	}
	var got []string
	for scanner.Scan() {
		var event []any
		if err := json.Unmarshal(scanner.Bytes(), &event); err != nil || len(event) != 3 || event[1] != "o" {
			t.Fatalf("%s: %v", scanner.Text(), err)
		}
		got = append(got, fmt.Sprintf("%v %q", event[0], event[2]))
	}
	if diff := cmp.Diff([]string{
		`0 "=== the story\r\n"`, `0 "$ sealbuild -t cache/x ./y\r\n"`, `1.5 "[ 1/12] check   ok\r\n"`, `1.5 "100 %\r\n"`,
		`3601.5 "master1# kubectl get <nodes> & \"more\"\r\n"`, `3601.5 "    x\r\n"`,
		`3602.5 "` + strings.Repeat("ä", columns) + `\r\n"`, `3602.5 "äää\r\n"`,
	}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestARecordingIsAPictureThatMoves(t *testing.T) {
	_, svg := sample(t)
	var texts []string
	dec := xml.NewDecoder(strings.NewReader(svg))
	for within := ""; ; {
		token, err := dec.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("no XML: %v\n%s", err, svg)
		}
		switch token := token.(type) {
		case xml.StartElement:
			within = token.Name.Local
		case xml.EndElement:
			within = ""
		case xml.CharData:
			if within == "text" {
				texts = append(texts, string(token))
			}
		}
	}
	if diff := cmp.Diff([]string{
		"=== the story", "$ sealbuild -t cache/x ./y", "[ 1/12] check   ok", "100 %", `master1# kubectl get <nodes> & "more"`, "    x", strings.Repeat("ä", columns), "äää",
	}, texts); diff != "" {
		t.Errorf("texts (-want +got):\n%s", diff)
	}
	// 0, 1.5, an hour that is shown as 2 s, 1 s; then it stands still.
	for _, want := range []string{
		"animation:all 10.500s", "0.000%{transform:translateY(540px)}\n14.286%{transform:translateY(504px)}\n33.333%{transform:translateY(468px)}\n42.857%{transform:translateY(432px)}\n100%{transform:translateY(432px)}",
		".all{transform:translateY(432px)", `<text class="h"`, `<text class="t"`,
	} {
		if !strings.Contains(svg, want) {
			t.Errorf("the picture lacks %q:\n%s", want, svg)
		}
	}
}

func TestALongRecordingIsShownInAMinute(t *testing.T) {
	r := New("long", "")
	var now time.Time
	r.now = func() time.Time { now = now.Add(3 * time.Second); return now }
	fmt.Fprint(r, strings.Repeat("line\n", 300))
	if times := r.shown(); times[0] != 0 || times[299] != longest || times[150] >= times[151] {
		t.Errorf("from %v to %v", times[0], times[299])
	}
}

func TestWhereNothingBeganNothingIsWritten(t *testing.T) {
	r := New("none", "=== the story")
	fmt.Fprintln(r, "something else")
	dir := filepath.Join(t.TempDir(), "media")
	if err := r.Save(dir, "demo"); err == nil || !strings.Contains(err.Error(), "=== the story") {
		t.Errorf("got %v", err)
	}
	if _, err := os.Stat(dir); err == nil {
		t.Error("the directory was made all the same")
	}
}
