package testbed

import (
	"os"
	"os/exec"
	"strings"
)

// MissingError says what this machine lacks to boot a bed.
type MissingError struct{ What []string }

func (e *MissingError) Error() string {
	return "this machine cannot boot test hosts: missing " + strings.Join(e.What, ", ") + " (hack/deps.sh installs the programs)"
}

// Missing lists what this machine lacks to boot a bed; tests skip or fail by it.
func Missing() []string {
	var missing []string
	if os.Geteuid() != 0 {
		missing = append(missing, "root")
	}
	for _, p := range []string{
		"debootstrap", "systemd-nspawn", "ip", "nft", "nsenter", "mount", "cp", "truncate", "mkfs.ext4", "apt-get",
	} {
		if _, err := exec.LookPath(p); err != nil {
			missing = append(missing, p)
		}
	}
	return missing
}
