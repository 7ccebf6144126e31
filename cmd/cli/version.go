package cli

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"
)

// Version says which build a program is, and what it reads and writes: its version, the commit it was made of, the Go release and
// the platform; on a second line the versions of formats.
func Version(program, version, commit string, formats ...string) string {
	info, _ := debug.ReadBuildInfo()
	return versionText(program, version, commit, info, formats)
}

// versionText takes the commit from what go build noted, where the linker was told none.
func versionText(program, version, commit string, info *debug.BuildInfo, formats []string) string {
	if info != nil && commit == "" {
		noted := map[string]string{}
		for _, s := range info.Settings {
			noted[s.Key] = s.Value
		}
		commit = noted["vcs.revision"]
		if commit != "" && noted["vcs.modified"] == "true" {
			commit += " with changes"
		}
	}
	if commit == "" {
		commit = "unknown"
	}
	return fmt.Sprintf("%s %s (commit %s, %s, %s/%s)\nformats: %s\n", program, version, commit, runtime.Version(), runtime.GOOS, runtime.GOARCH, strings.Join(formats, ", "))
}
