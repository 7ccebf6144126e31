package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/sealbuild/sealbuild/cmd/sealinstall/reports"
)

// pages DIR N checks that N pages lie in a directory, those of runs each with its JSON, and prints the last one of a run.
func pages(ts *testscript.TestScript, _ bool, args []string) {
	found, err := filepath.Glob(filepath.Join(ts.MkAbs(args[0]), "*.html"))
	ts.Check(err)
	want, err := strconv.Atoi(args[1])
	ts.Check(err)
	last := ""
	for _, file := range found {
		stem := strings.TrimSuffix(file, ".html")
		if _, err := time.Parse(reports.Stamp, filepath.Base(stem)); err != nil {
			continue
		}
		last = file
		if _, err := os.Stat(stem + ".json"); err != nil {
			ts.Fatalf("%v", err)
		}
	}
	if len(found) != want {
		ts.Fatalf("%d pages, want %d: %v", len(found), want, found)
	}
	text, err := os.ReadFile(last)
	ts.Check(err)
	fmt.Fprintf(ts.Stdout(), "%s", text)
}

// modes DIR MODE FILEMODE checks the modes of a directory and of all files in it.
func modes(ts *testscript.TestScript, _ bool, args []string) {
	dir, err := os.Stat(ts.MkAbs(args[0]))
	ts.Check(err)
	if dir.Mode().String() != args[1] {
		ts.Fatalf("%s: %s", args[0], dir.Mode())
	}
	entries, err := os.ReadDir(ts.MkAbs(args[0]))
	ts.Check(err)
	for _, e := range entries {
		if info, err := e.Info(); err != nil || info.Mode().String() != args[2] {
			ts.Fatalf("%s: %v %v", e.Name(), info.Mode(), err)
		}
	}
}

// many DIR N makes the reports of N earlier runs out of the last one that is there.
func many(ts *testscript.TestScript, _ bool, args []string) {
	dir := ts.MkAbs(args[0])
	n, err := strconv.Atoi(args[1])
	ts.Check(err)
	for _, suffix := range []string{".html", ".json"} {
		found, err := filepath.Glob(filepath.Join(dir, "*"+suffix))
		ts.Check(err)
		text, err := os.ReadFile(found[len(found)-1])
		ts.Check(err)
		for i := range n {
			name := time.Date(2026, 1, 2, 3, 4, i, 0, time.UTC).Format(reports.Stamp)
			ts.Check(os.WriteFile(filepath.Join(dir, name+suffix), text, 0o600))
		}
	}
}
