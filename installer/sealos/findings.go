package sealos

import (
	"fmt"
	"slices"
	"strings"
)

// Finding is what a check script changed in a file of the rootfs because of what it found out about the host: a line, or
// the whole file if lines came or went.
type Finding struct {
	Path  string `json:"path"` // in the rootfs
	Old   string `json:"old"`
	New   string `json:"new"`
	Whole bool   `json:"whole,omitempty"`
}

// MaxFound bounds the size in bytes of files in which changes are looked for.
const MaxFound = 64 << 10

// Findings compares a file before a script and after it.
func Findings(name, before, after string) []Finding {
	if before == after {
		return nil
	}
	old, now := strings.Split(before, "\n"), strings.Split(after, "\n")
	if len(old) != len(now) {
		return []Finding{{name, before, after, true}}
	}
	var out []Finding
	for i := range old {
		f := Finding{Path: name, Old: old[i], New: now[i]}
		if old[i] != now[i] && !slices.Contains(out, f) {
			out = append(out, f)
		}
	}
	return out
}

// Again makes the change once more, in the text of a file that may have been rendered with other settings since. It is an
// error if the text has nothing that it could change.
func (f Finding) Again(text string) (string, error) {
	if f.Whole {
		switch text {
		case f.Old, f.New:
			return f.New, nil
		}
		return "", fmt.Errorf("%s has other content by now", f.Path)
	}
	lines := strings.Split(text, "\n")
	done := false
	for i, l := range lines {
		switch l {
		case f.Old:
			lines[i], done = f.New, true
		case f.New:
			done = true
		}
	}
	if !done {
		return "", fmt.Errorf("%s has no line %q any more", f.Path, f.Old)
	}
	return strings.Join(lines, "\n"), nil
}
