package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
)

// Build says which build a program is, and what it reads and writes.
type Build struct {
	Program  string            `json:"program"`
	Version  string            `json:"version"`
	Commit   string            `json:"commit"` // 40 hex digits; "unknown" where neither the linker nor go build was told
	Go       string            `json:"go"`     // go1.26.8
	Platform string            `json:"platform"`
	Formats  map[string]string `json:"formats"` // their versions, by name
}

// NewBuild takes the commit from what go build noted, where the linker was told none.
func NewBuild(program, version, commit string, formats map[string]string) Build {
	info, _ := debug.ReadBuildInfo()
	return Build{
		Program: program, Version: version, Commit: commitOf(commit, info), Go: runtime.Version(),
		Platform: runtime.GOOS + "/" + runtime.GOARCH, Formats: formats,
	}
}

func commitOf(linked string, info *debug.BuildInfo) string {
	if linked != "" || info == nil {
		return orUnknown(linked)
	}
	noted := map[string]string{}
	for _, s := range info.Settings {
		noted[s.Key] = s.Value
	}
	commit := noted["vcs.revision"]
	if commit != "" && noted["vcs.modified"] == "true" {
		commit += " with changes"
	}
	return orUnknown(commit)
}

func orUnknown(commit string) string {
	if commit == "" {
		return "unknown"
	}
	return commit
}

// String has two lines: the build, and the versions of formats.
func (b Build) String() string {
	var formats []string
	for _, name := range slices.Sorted(maps.Keys(b.Formats)) {
		formats = append(formats, name+" "+b.Formats[name])
	}
	return fmt.Sprintf("%s %s (commit %s, %s, %s)\nformats: %s\n", b.Program, b.Version, b.Commit, b.Go, b.Platform, strings.Join(formats, ", "))
}

// Write prints the build as text, or as one object of JSON.
func (b Build) Write(w io.Writer, form string) error {
	if form == "json" {
		return json.NewEncoder(w).Encode(b)
	}
	_, err := io.WriteString(w, b.String())
	return err
}
