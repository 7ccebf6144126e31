package agent

import "strings"

// bootName is the host name that systemd sets at a boot, before anybody on the network is asked for one; empty if there
// is none. SUSE had a file of its own.
func (m machine) bootName() string {
	for _, file := range []string{"/etc/hostname", "/etc/HOSTNAME"} {
		for _, l := range m.lines(file) {
			if l = strings.TrimSpace(l); l != "" && !strings.HasPrefix(l, "#") {
				return l
			}
		}
	}
	return ""
}
