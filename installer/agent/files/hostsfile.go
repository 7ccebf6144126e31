package files

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/sealbuild/sealbuild/installer/agent"
)

// hostsMark ends the lines of /etc/hosts that are ours.
const hostsMark = "# sealos"

// editHosts replaces our lines by the entries. Every other byte stays, also where the file does not
// end in a newline. Ours stay where they are, or come last; but they come before a line of another that
// gives one of our names another address, because the first line that has a name decides.
func editHosts(text string, entries []agent.HostsEntry) string {
	// What is behind the last newline is a line of its own, and empty as a rule.
	lines := strings.Split(text, "\n")
	var kept []string
	at := -1
	for _, l := range lines {
		if isOurs(l) {
			if at < 0 {
				at = len(kept)
			}
			continue
		}
		kept = append(kept, l)
	}
	end := len(kept)
	if end > 0 && kept[end-1] == "" {
		end--
	}
	if at < 0 || at > end {
		at = end
	}
	if c := slices.IndexFunc(kept[:at], func(l string) bool { return contradicts(l, entries) }); c >= 0 {
		at = c
	}
	var ours []string
	for _, e := range entries {
		ours = append(ours, e.IP+" "+strings.Join(e.Names, " ")+" "+hostsMark)
	}
	if len(kept) == 0 && len(ours) > 0 { // nothing but our lines, and the last of them had no newline
		return strings.Join(ours, "\n")
	}
	return strings.Join(slices.Insert(kept, at, ours...), "\n")
}

func isOurs(line string) bool {
	line = strings.TrimRight(line, " \t\r")
	before, ok := strings.CutSuffix(line, hostsMark)
	return ok && before != strings.TrimRight(before, " \t")
}

// contradicts tells whether a line gives a name of the entries to another address.
func contradicts(line string, entries []agent.HostsEntry) bool {
	ip, names := parseHostsLine(line)
	for _, e := range entries {
		if e.IP == ip {
			continue
		}
		for _, n := range e.Names {
			if slices.ContainsFunc(names, func(have string) bool { return strings.EqualFold(n, have) }) {
				return true
			}
		}
	}
	return false
}

func parseHostsLine(line string) (ip string, names []string) {
	line, _, _ = strings.Cut(line, "#")
	fields := strings.Fields(line)
	if len(fields) < 2 {
		return "", nil
	}
	return fields[0], fields[1:]
}

// Hosts gives the entries of our lines of the hosts file.
func (m Machine) Hosts() []agent.HostsEntry { return ourHosts(m.Text(hostsPath)) }

func ourHosts(text string) []agent.HostsEntry {
	var out []agent.HostsEntry
	for l := range strings.SplitSeq(text, "\n") {
		if ip, names := parseHostsLine(l); ip != "" && isOurs(l) {
			out = append(out, agent.HostsEntry{IP: ip, Names: names})
		}
	}
	return out
}

// HasName tells whether any line of the hosts file has a name.
func (m Machine) HasName(name string) bool {
	for l := range strings.SplitSeq(m.Text(hostsPath), "\n") {
		_, names := parseHostsLine(l)
		if slices.ContainsFunc(names, func(have string) bool { return strings.EqualFold(name, have) }) {
			return true
		}
	}
	return false
}

func checkEntry(e agent.HostsEntry) error {
	refuse := func(format string, args ...any) error {
		return &agent.Error{Code: agent.CodeRefused, Message: "hosts entry: " + fmt.Sprintf(format, args...)}
	}
	if _, err := netip.ParseAddr(e.IP); err != nil {
		return refuse("%q is not an IP address", e.IP)
	}
	if len(e.Names) == 0 {
		return refuse("%s has no name", e.IP)
	}
	for _, n := range e.Names {
		if n == "" || strings.IndexFunc(n, func(r rune) bool { return r <= ' ' || r == '#' || r > '~' }) >= 0 {
			return refuse("%q is not a host name", n)
		}
	}
	return nil
}
