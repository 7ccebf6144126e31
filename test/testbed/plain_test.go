package testbed

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestMirrorIsThatOfTheSuiteItself(t *testing.T) {
	const listing = "http://a.example/security/ trixie-security main\n" +
		"http://b.example/extra/ trixie contrib\n" +
		"http://c.example/debian/ trixie main\n" +
		"http://d.example/debian/ trixie main\n"
	got, err := pickSource(listing, "trixie")
	if want := (aptSource{Mirror: "http://c.example/debian", Suite: "trixie"}); err != nil || got != want {
		t.Errorf("got %v, %v; want %v", got, err, want)
	}
	if got, err := pickSource(listing, "bookworm"); err == nil {
		t.Errorf("found %v for a suite that is not configured", got)
	}
}

func TestHostsGetNamesAndTheBedABound(t *testing.T) {
	hosts, err := hostConfigs(Config{Count: 2, Hosts: []HostConfig{{Name: "m1"}}})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, h := range hosts {
		names = append(names, h.Name)
	}
	if diff := cmp.Diff([]string{"m1", "host2", "host3"}, names); diff != "" {
		t.Error(diff)
	}
	for _, n := range []int{0, maxHosts + 1} {
		if _, err := hostConfigs(Config{Count: n}); err == nil {
			t.Errorf("a bed of %d hosts is taken", n)
		}
	}
}

func TestDiffTellsAddedAndGone(t *testing.T) {
	added, gone := Snapshot{"a", "b", "d"}.Diff(Snapshot{"b", "c", "d", "e"})
	if diff := cmp.Diff([][]string{{"c", "e"}, {"a"}}, [][]string{added, gone}); diff != "" {
		t.Error(diff)
	}
}
