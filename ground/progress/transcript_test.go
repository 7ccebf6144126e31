package progress

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the transcripts of testdata anew")

// begin is when every story begins.
var begin = time.Date(2026, 11, 30, 8, 0, 0, 0, time.UTC)

// story is a run told to something that shows it, with a clock of its own.
type story struct {
	now    time.Time
	shows  shows
	ticks  interface{ tick(time.Time) } // nil: JSON has none
	works  int64
	number int
	of     int
	step   Event
	look   func(title string) // at what is shown just now
}

func (s *story) tell(e Event) {
	e.Time = s.now
	s.shows.event(e)
}

// wait lets time pass, a second at a time.
func (s *story) wait(seconds int) {
	for range seconds {
		s.now = s.now.Add(time.Second)
		if s.ticks != nil {
			s.ticks.tick(s.now)
		}
	}
}

func (s *story) begins(name, title string) {
	s.number++
	s.step = Event{Kind: StepBegins, Step: name, Title: title, Number: s.number, Of: s.of, Time: s.now}
	s.tell(s.step)
}

func (s *story) ends(changes int, note, err string) {
	s.tell(Event{
		Kind: StepEnds, Step: s.step.Step, Number: s.step.Number, Of: s.of, Seconds: s.now.Sub(s.step.Time).Seconds(),
		Changes: changes, Note: note, Error: err,
	})
}

// does begins work and gives what ends it.
func (s *story) does(host, what string, bytes int64) *Event {
	s.works++
	w := &Event{Kind: WorkBegins, Work: s.works, Host: host, Does: what, Bytes: bytes}
	s.tell(*w)
	return w
}

func (s *story) moves(w *Event, bytes int64) {
	w.Kind, w.Done = WorkMoves, w.Done+bytes
	s.tell(*w)
}

func (s *story) done(w *Event, err string) {
	w.Kind, w.Error = WorkEnds, err
	s.tell(*w)
}

// allDone ends what is under way.
func (s *story) allDone() {
	for n := range s.works {
		s.done(&Event{Work: n + 1}, "")
	}
}

func addresses(n int) (out []string) {
	for i := range n {
		out = append(out, fmt.Sprintf("10.0.%d.%d", i/100, 2+i%100))
	}
	return out
}

const (
	mib = 1 << 20
	gib = 1 << 30
)

// install is an installation of so many hosts, the first ones of which are masters.
func install(hosts, masters int) func(*story) {
	return func(s *story) {
		s.of = 4
		all := addresses(hosts)
		s.begins("check", "look at every host, report every problem")
		verify := s.does("", "verifies the bundle", 6*gib)
		s.tell(Event{Kind: Hosts, Hosts: all})
		var at []*Event
		for i, h := range all {
			if i < 10 {
				at = append(at, s.does(h, "", 0))
			}
		}
		s.wait(1)
		s.moves(verify, 2*gib)
		for _, h := range all[:min(2, hosts)] {
			s.tell(Event{Kind: Warning, Host: h, Text: "/var lies on a disk that turns: etcd wants one that answers within 10 ms"})
			s.tell(Event{Kind: Warning, Host: h, Text: "/var lies on a disk that turns: etcd wants one that answers within 10 ms"})
		}
		s.wait(1)
		s.look("hosts are looked at")
		for _, w := range at {
			s.done(w, "")
		}
		for _, h := range all[len(at):] {
			s.done(s.does(h, "", 0), "")
		}
		s.ends(0, fmt.Sprintf("%d hosts", hosts), "")
		s.moves(verify, 4*gib)
		s.done(verify, "")

		s.begins("distribute-registry", "send missing images to the registry hosts")
		var sent []*Event
		for i, h := range all[:masters] {
			sent = append(sent, s.does(h, "gets images", int64(4+i)*gib))
		}
		for range 13 {
			s.wait(1)
			for i, w := range sent {
				s.moves(w, int64(100+10*i)*mib)
			}
		}
		s.look("images travel")
		for _, w := range sent {
			w.Done = w.Bytes
			s.done(w, "")
		}
		s.ends(38*masters, fmt.Sprintf("%d blobs, 4.2 GiB sent", 38*masters), "")

		s.begins("join-nodes", "join nodes through the virtual address")
		if nodes := all[masters:]; len(nodes) > 0 {
			s.tell(Event{Kind: Hosts, Hosts: nodes})
			at := map[string]*Event{}
			for _, h := range nodes[:min(10, len(nodes))] {
				at[h] = s.does(h, "", 0)
				s.does(h, "kubeadm join", 0)
			}
			s.wait(12)
			s.tell(Event{Kind: Info, Host: nodes[0], Text: "an earlier kubeadm was interrupted here; it is undone first"})
			s.look("nodes join")
		}
	}
}

// runsCommands is how an image is installed whose command has several lines.
func runsCommands(s *story) {
	s.begins("guest", "run the commands of the images")
	s.does("10.0.0.2", "", 0)
	s.does("10.0.0.2", "helm upgrade --install monitoring charts/monitoring --namespace monitoring \\\n\t--create-namespace --wait", 0)
	s.wait(8)
	s.look("an application is installed")
	s.wait(64)
	s.ends(1, "", "")
}

// stories are the runs that the transcripts are of.
var stories = map[string]func(*story){
	"one":        func(s *story) { install(1, 1)(s); s.ends(0, "", "") },
	"five":       func(s *story) { install(5, 3)(s); s.allDone(); s.ends(2, "2 nodes", ""); runsCommands(s) },
	"twohundred": func(s *story) { install(200, 3)(s); s.ends(197, "197 nodes", "") },
	"failure": func(s *story) {
		install(5, 3)(s)
		// Of the two hosts that join, two pieces of work each.
		s.done(&Event{Work: s.works - 2, Host: "10.0.0.5"}, "exit status 3: it is asked again")
		s.done(&Event{Work: s.works, Host: "10.0.0.6"}, "kubeadm join: exit status 1")
		s.done(&Event{Work: s.works - 1, Host: "10.0.0.6"}, "kubeadm join: exit status 1")
		s.wait(1)
		s.look("a host has failed")
		s.ends(1, "", "10.0.0.6: kubeadm join: exit status 1")
	},
	"resumed": func(s *story) {
		s.of = 3
		s.begins("check", "look at every host, report every problem")
		s.wait(3)
		s.ends(0, "5 hosts", "")
		s.begins("distribute-registry", "send missing images to the registry hosts")
		w := s.does("10.0.0.2", "gets images", 512*mib)
		w2 := s.does("10.0.0.3", "gets images", 0)
		s.done(w2, "")
		for range 3 {
			s.wait(1)
			s.moves(w, 120*mib)
		}
		s.look("what was missing travels")
		s.wait(2)
		w.Done = w.Bytes
		s.done(w, "")
		s.ends(3, "3 blobs, 512 MiB sent", "")
		s.begins("verify", "wait until every node is Ready")
		s.wait(1)
		s.ends(0, "5 nodes Ready", "")
	},
}

func transcript(t *testing.T, columns int, tell func(*story)) string {
	var out strings.Builder
	if columns == 0 {
		var buf bytes.Buffer
		p := newPlain(&buf)
		s := &story{now: begin, shows: p, ticks: p, look: func(string) {}}
		tell(s)
		p.close(s.now)
		return buf.String()
	}
	sc := newScreen(t, columns, 24)
	l := &live{w: sc, size: sc.size, state: newState()}
	s := &story{now: begin, shows: l, ticks: l, look: func(title string) {
		fmt.Fprintf(&out, "--- %s\n%s", title, sc.text())
	}}
	tell(s)
	l.close(s.now)
	s.look("at the end")
	if sc.wrapped > 0 {
		t.Errorf("%d lines are too long for %d columns:\n%s", sc.wrapped, columns, out.String())
	}
	return out.String()
}

func TestARunIsShownAsInItsTranscript(t *testing.T) {
	for name, tell := range stories {
		for _, columns := range []int{0, 80, 200} {
			form := fmt.Sprintf("%d", columns)
			if columns == 0 {
				form = "pipe"
			}
			file := filepath.Join("testdata", name+"-"+form+".txt")
			t.Run(name+"-"+form, func(t *testing.T) {
				got := transcript(t, columns, tell)
				if *update {
					if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
						t.Fatal(err)
					}
				}
				want, err := os.ReadFile(file)
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(string(want), got); diff != "" {
					t.Errorf("(-want +got):\n%s", diff)
				}
			})
		}
	}
}

func TestTheTableFitsEveryTerminal(t *testing.T) {
	for columns := 40; columns <= 220; columns += 7 {
		transcript(t, columns, stories["twohundred"]) // it fails when a line wraps
	}
	sc := newScreen(t, 80, 6)
	l := &live{w: sc, size: sc.size, state: newState()}
	install(200, 3)(&story{now: begin, shows: l, ticks: l, look: func(string) {
		if n := len(l.drawn); n >= sc.rows {
			t.Errorf("a table of %d lines on a screen of %d", n, sc.rows)
		}
	}})
}

func TestATerminalThatIsResizedKeepsOneTableAndWhatStandsAboveIt(t *testing.T) {
	sc := newScreen(t, 120, 24)
	l := &live{w: sc, size: sc.size, state: newState()}
	s := &story{now: begin, shows: l, ticks: l, look: func(string) {}}
	install(5, 3)(s)
	for _, columns := range []int{60, 100, 47} {
		sc.resize(columns)
		s.wait(1)
		text := sc.text()
		if n := strings.Count(text, "join-nodes"); n != 1 {
			t.Errorf("%d tables at %d columns:\n%s", n, columns, text)
		}
		if strings.Count(text, "2/4] distribute-registry") != 1 || strings.Count(text, "is undone first") != 1 && columns > 60 {
			t.Errorf("what stood above is lost at %d columns:\n%s", columns, text)
		}
	}
}

func TestATableThatSaysTheSameIsNotDrawnAgain(t *testing.T) {
	sc := newScreen(t, 80, 24)
	l := &live{w: sc, size: sc.size, state: newState()}
	s := &story{now: begin, shows: l, ticks: l, of: 1}
	s.begins("check", "look at every host")
	s.does("10.0.0.2", "", 0)
	l.tick(s.now)
	before := sc.writes
	l.tick(s.now.Add(10 * time.Millisecond))
	if sc.writes != before {
		t.Errorf("%d drawings of the same", sc.writes-before)
	}
}

func TestAQuestionIsAskedWhereNoTableStands(t *testing.T) {
	sc := newScreen(t, 80, 24)
	l := &live{w: sc, size: sc.size, state: newState()}
	v := &View{shows: l, ends: make(chan struct{})}
	v.Event(Event{Kind: StepBegins, Step: "check", Title: "look", Number: 1, Of: 2, Time: begin})
	v.Event(Event{Kind: Warning, Text: "data is lost", Time: begin})
	err := v.Aside(func() error {
		fmt.Fprint(sc, "type yes to go on: yes\r\n") // the terminal shows what is typed
		l.tick(begin.Add(time.Minute))
		if diff := cmp.Diff("warning: data is lost\ntype yes to go on: yes\n", sc.text()); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		return nil
	})
	v.Close()
	if text := sc.text(); err != nil || text != "warning: data is lost\ntype yes to go on: yes\n" {
		t.Errorf("afterwards, %v:\n%s", err, text)
	}
}

func TestWhatIsAskedAboutIsToldBeforeTheQuestionInLinesToo(t *testing.T) {
	var out bytes.Buffer
	v := &View{shows: newPlain(&out), ends: make(chan struct{})}
	v.Event(Event{Kind: StepBegins, Step: "check", Title: "look", Number: 1, Of: 2, Time: begin})
	v.Event(Event{Kind: Warning, Host: "10.0.0.2", Text: "lost: 1 pod", Time: begin})
	err := v.Aside(func() error {
		if !strings.HasSuffix(out.String(), " warning: 10.0.0.2: lost: 1 pod\n") {
			t.Errorf("when it is asked, there stands %q", out.String())
		}
		return nil
	})
	if err != nil || strings.Count(out.String(), "lost") != 1 {
		t.Errorf("%v, %q", err, out.String())
	}
}

func TestColoursAreForTerminalsThatAreAskedForThem(t *testing.T) {
	for _, colour := range []bool{false, true} {
		var out bytes.Buffer
		l := &live{w: &out, size: func() (int, int) { return 80, 24 }, colour: colour, state: newState()}
		s := &story{now: begin, shows: l, ticks: l, of: 1}
		s.begins("check", "look")
		s.tell(Event{Kind: Warning, Text: "slow"})
		s.ends(0, "", "no")
		for code, text := range map[string]string{"33": "warning: slow", "31": "[ 1/1] check                FAILED after 0.0s"} {
			if got := strings.Contains(out.String(), "\x1b["+code+"m"+text+"\x1b[0m"); got != colour {
				t.Errorf("colour %t: %q is coloured: %t\n%q", colour, text, got, out.String())
			}
		}
		if !colour && strings.Contains(out.String(), "m") && strings.Contains(out.String(), "\x1b[0m") {
			t.Errorf("colours that nobody asked for: %q", out.String())
		}
	}
}

func TestJSONIsALineForEachEvent(t *testing.T) {
	var out bytes.Buffer
	v := Open("json", &out)
	v.Event(Event{Time: begin, Kind: StepEnds, Step: "check", Number: 1, Of: 2, Seconds: 1.5, Note: "3 hosts"})
	v.Say("stopping")
	v.Close()
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	if len(lines) != 3 {
		t.Fatalf("%d lines:\n%s", len(lines), out.String())
	}
	var first Event
	if err := json.Unmarshal([]byte(lines[0]), &first); err != nil || first.Kind != Begins || first.Version != Version {
		t.Errorf("first line %s: %v", lines[0], err)
	}
	want := `{"time":"2026-11-30T08:00:00Z","event":"step-ends","step":"check","number":1,"of":2,"seconds":1.5,"note":"3 hosts"}`
	if lines[1] != want {
		t.Errorf("%s, want %s", lines[1], want)
	}
	if !strings.Contains(lines[2], `"event":"info","text":"stopping"`) {
		t.Error(lines[2])
	}
}
