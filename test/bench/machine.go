package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"time"
)

// machine is where and with what the figures were taken.
type machine struct {
	Date       string   `json:"date"`
	CPU        string   `json:"cpu"`
	Cores      int      `json:"cores"`
	Memory     string   `json:"memory"`
	Kernel     string   `json:"kernel"`
	Commit     string   `json:"commit"`
	Tools      []string `json:"tools"`
	LoadBefore string   `json:"loadBefore"` // averages of 1, 5 and 15 minutes
	LoadAfter  string   `json:"loadAfter"`
}

func lookAtMachine(ctx context.Context, root string) machine {
	m := machine{
		Date: time.Now().UTC().Format(time.RFC3339), Cores: runtime.NumCPU(),
		CPU: field("/proc/cpuinfo", "model name"), Memory: field("/proc/meminfo", "MemTotal"),
		Kernel:     firstLine(ctx, root, "uname", "-srm"),
		Commit:     firstLine(ctx, root, "git", "describe", "--always", "--dirty", "--abbrev=12"),
		LoadBefore: load(),
		Tools:      []string{runtime.Version()},
	}
	for _, argv := range [][]string{{"zstd", "--version"}, {"tar", "--version"}, {"openssl", "version"}, {"docker-registry", "--version"}} {
		m.Tools = append(m.Tools, firstLine(ctx, root, argv...))
	}
	return m
}

func (m machine) print(w io.Writer) {
	fmt.Fprintf(w, "\n%s, commit %s\n%s, %d cores, memory %s, %s\nload averages before %s, after %s\n%s\n\n",
		m.Date, m.Commit, m.CPU, m.Cores, m.Memory, m.Kernel, m.LoadBefore, m.LoadAfter, strings.Join(m.Tools, "; "))
}

// field is the value of the first "key : value" line of a file of /proc.
func field(path, key string) string {
	data, err := os.ReadFile(path)
	if err != nil {
		return "unknown"
	}
	for line := range strings.Lines(string(data)) {
		if k, v, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(k) == key {
			return strings.TrimSpace(v)
		}
	}
	return "unknown"
}

func load() string {
	data, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	f := strings.Fields(string(data))
	return strings.Join(f[:min(3, len(f))], " ")
}

func firstLine(ctx context.Context, dir string, argv ...string) string {
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Dir = dir
	out, err := cmd.Output()
	if err != nil {
		return argv[0] + ": unknown"
	}
	line, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
	return strings.Trim(line, "* ")
}
