package stepstest

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"

	"github.com/sealbuild/sealbuild/installer/agent/agenttest"
)

// happen records an event of a call. If it is the time of the fault, that happens here.
func (c *call) happen(kind, what string) error {
	s, m := c.session.site, c.machine
	defer s.locked()()
	alive := c.ended
	switch kind {
	case string(agenttest.Before), string(agenttest.Removing), string(agenttest.Staged), string(agenttest.After):
		alive = c.killed // an agent that nobody listens to any more ends when it notices, not in the middle of a file
	}
	if err := alive(); err != nil {
		return err
	}
	e := Event{Host: m.IP, Kind: kind, What: what}
	s.seen[e]++
	e.N = s.seen[Event{Host: m.IP, Kind: kind, What: what}]
	s.trace = append(s.trace, e)
	if f := s.fault; f != nil && f.fired == (Event{}) && f.due(e, len(s.trace)) {
		f.fired = e
		c.strike(f)
	}
	if m.full && kind == string(agenttest.Removing) {
		m.spare++
	}
	if m.full && (kind == "before" || kind == "step" || kind == "put") {
		if kind == "before" && m.spare > 0 {
			m.spare--
			return nil
		}
		return &os.PathError{Op: "write", Path: what, Err: unix.ENOSPC}
	}
	if c.killed9 {
		return errKilled
	}
	return alive()
}

// errKilled ends a program that was killed.
var errKilled = errors.New("killed")

func (f *Fault) due(e Event, number int) bool {
	if f.At != (Event{}) {
		return e == f.At
	}
	if f.Kind == ProgramDies && e.Kind != "step" {
		return false
	}
	if f.Kind == DiskFull && e.Kind != "before" && e.Kind != "put" && e.Kind != "step" {
		return false
	}
	return number >= f.Number
}

// strike makes a fault happen during a call.
func (c *call) strike(f *Fault) {
	m := c.machine
	if other := c.session.site.machine(f.On); other != nil {
		m = other
	}
	switch f.Kind {
	case InstallerDies:
		c.session.dead = true
		c.session.cancel(errStopped)
		for other := range c.session.site.calls {
			if other.session == c.session {
				other.cancel()
			}
		}
	case AgentDies:
		m.crash()
	case ProgramDies:
		c.killed9 = true
	case LinkCut:
		c.cut = true
		c.cancel()
	case PowerCut:
		m.cutPower()
	case Reboot:
		m.cutPower()
		m.powerOn()
	case DiskFull:
		m.full = true
	}
}

// crash kills what runs on a machine. Its files are then as they are now: code in this process that still runs changes only
// the tree that was left behind.
func (m *Machine) crash() {
	old := m.tree
	m.tree = newTree(m.site)
	m.life++
	for c := range m.site.calls {
		if c.machine == m {
			c.cancel()
		}
	}
	if err := copyTree(string(m.tree), string(old)); err != nil {
		m.site.violated("the simulation failed: %v", err)
	}
}
