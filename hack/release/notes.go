package main

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
)

// unreleased is the heading of what no version has yet.
const unreleased = "Unreleased"

// notes tells what is new, out of CHANGELOG.md, and how to check what was fetched.
func (r release) notes() ([]byte, error) {
	raw, err := os.ReadFile(filepath.Join(r.source, "CHANGELOG.md"))
	if err != nil {
		return nil, fmt.Errorf("notes: %w", err)
	}
	heading := r.version
	if strings.Contains(r.version, "+") {
		heading = unreleased // what lies behind a tag, or has none
	}
	section, ok := sectionOf(string(raw), heading)
	if !ok {
		return nil, fmt.Errorf("CHANGELOG.md has no section %q, or nothing in it: give %q the version and the day, as in: ## %s (%s)",
			"## "+heading, unreleased, heading, r.made.Format("2006-01-02"))
	}
	var b strings.Builder
	fmt.Fprintf(&b, "# sealbuild %s\n\nCommit %s, made with %s: make release of that commit gives the same bytes. ", r.version, r.commit, runtime.Version())
	if r.key == "" {
		b.WriteString("**SHA256SUMS is not signed.**\n\n```\nsha256sum -c SHA256SUMS\n```\n\n")
	} else {
		fmt.Fprintf(&b, "To check what was fetched, with the public key of the releases in allowed_signers:\n\n```\n"+
			"ssh-keygen -Y verify -f allowed_signers -I release@sealbuild.io -n %s -s SHA256SUMS.sig < SHA256SUMS\nsha256sum -c SHA256SUMS\n```\n\n", namespace)
	}
	fmt.Fprintf(&b, "## What is new\n\n%s\n", section)
	return []byte(b.String()), nil
}

// sectionOf gives what stands below "## HEADING", which may go on with the day, up to the next heading of its kind.
func sectionOf(changelog, heading string) (string, bool) {
	var lines []string
	within := false
	for line := range strings.Lines(changelog) {
		if title, ok := strings.CutPrefix(line, "## "); ok {
			name, _, _ := strings.Cut(strings.TrimSpace(title), " ")
			within = strings.TrimPrefix(name, "v") == heading
			continue
		}
		if within {
			lines = append(lines, line)
		}
	}
	text := strings.TrimSpace(strings.Join(lines, ""))
	return text, text != ""
}
