package sealos

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestFindingsAreDoneAgainInAFileThatWasRenderedAnew(t *testing.T) {
	const before, after = "port = 5000\narmor = false\narmor = false\n", "port = 5000\narmor = true\narmor = true\n"
	found := Findings("etc/c.toml", before, after)
	if diff := cmp.Diff([]Finding{{Path: "etc/c.toml", Old: "armor = false", New: "armor = true"}}, found); diff != "" {
		t.Fatal(diff)
	}
	for text, want := range map[string]string{
		"port = 22\narmor = false\n":  "port = 22\narmor = true\n",
		"port = 22\narmor = true\n":   "port = 22\narmor = true\n",
		"port = 22\narmour = false\n": "",
	} {
		got, err := found[0].Again(text)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%q: %q, %v", text, got, err)
		}
	}
	found = Findings("etc/c.toml", "a\n", "a\nb\n")
	if len(found) != 1 || !found[0].Whole {
		t.Fatalf("%+v", found)
	}
	for text, want := range map[string]string{"a\n": "a\nb\n", "a\nb\n": "a\nb\n", "c\n": ""} {
		got, err := found[0].Again(text)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%q: %q, %v", text, got, err)
		}
	}
	if got := Findings("etc/c.toml", before, before); got != nil {
		t.Errorf("%+v", got)
	}
}
