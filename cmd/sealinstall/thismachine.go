package main

import (
	"errors"
	"fmt"
	"net/netip"
	"os"

	"github.com/sealbuild/sealbuild/installer/fleet"
	"golang.org/x/term"
)

// thisMachine is the address of this machine for a cluster of which it is the
// only master. It is never taken by accident: --local or --yes says so, or a person does.
func (o *runOptions) thisMachine() (netip.Addr, error) {
	own, ok := fleet.OwnAddress()
	if !ok {
		return netip.Addr{}, usageError{errors.New("no --masters given, and this machine has no IPv4 address of its own")}
	}
	switch {
	case o.local, o.harmless:
		return own, nil
	case o.nodes.given:
		return netip.Addr{}, usageError{fmt.Errorf("--nodes without --masters: name the masters, or give --local to make this machine (%s) the only one", own)}
	case o.yes:
		return own, nil
	}
	q := question{in: os.Stdin, out: os.Stderr}
	text := fmt.Sprintf("no --masters given: install a cluster on this machine alone (%s)? Type yes to go on: ", own)
	if term.IsTerminal(int(os.Stdin.Fd())) && q.confirmed(text, "yes") {
		return own, nil
	}
	return netip.Addr{}, usageError{fmt.Errorf("no --masters given, and no cluster %q is recorded here: name the masters, or give --local to install on this machine alone (%s); nothing was done", o.cluster, own)}
}
