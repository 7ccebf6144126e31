package ledger

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
)

// ResetHosts are the addresses of the hosts of this run, a line each, as [ResetFile] holds them.
func (l *Ledger) ResetHosts() string {
	var b strings.Builder
	for _, t := range l.Targets {
		fmt.Fprintln(&b, t.IP)
	}
	return b.String()
}

// ResetBegun tells whether a reset of exactly these hosts was begun from this machine.
func (l *Ledger) ResetBegun() (bool, error) {
	hosts, err := os.ReadFile(l.State.Path(ResetFile))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil && string(hosts) == l.ResetHosts(), err
}
