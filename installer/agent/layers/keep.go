package layers

import (
	"fmt"
	"path"

	"github.com/sealbuild/sealbuild/ground/durable"
	"github.com/sealbuild/sealbuild/installer/agent"
	"github.com/sealbuild/sealbuild/installer/agent/files"
)

// A directory that is to come back if the new one proves bad stays beside it whole, with its list. Before two directories
// change places, the list of the one that goes gets another name, which says what is to become of it. So whatever call follows
// one that was killed can tell the two apart, and settles both: the end of a switch and what is done after its interruption
// are the same code.

// Names of the list of a directory that was taken out of use.
const (
	listBefore = "before" // it is kept as it was in use, in DIR.before
	listFailed = "failed" // it was switched back from, and waits beside, in DIR.next, for another try
)

// settle brings every directory to its place after a switch, whole or cut off anywhere.
func (m machine) settle(p places, q agent.Layers) error {
	if p.inside {
		return nil // its content was exchanged, and nothing is kept
	}
	if m.Exists(p.away) && !m.Exists(p.dir) { // the first of three steps
		if err := m.move(p.away, p.dir); err != nil {
			return fmt.Errorf("put %s back: %w", p.dir, err)
		}
	}
	for _, list := range []string{listBefore, listFailed} { // it has not left, or has come back
		if err := m.rename(p.dir, list, listName); err != nil {
			return fmt.Errorf("settle %s: %w", p.dir, err)
		}
	}
	for _, at := range []string{p.away, p.next, p.before} {
		var err error
		switch {
		case at != p.before && m.hasList(at, listBefore):
			err = m.replace(p.before, at, p, q)
		case at != p.next && m.hasList(at, listFailed):
			err = m.replace(p.next, at, p, q)
		case at == p.away && m.Exists(at):
			err = m.discard(at, p, q)
		}
		if err != nil {
			return fmt.Errorf("settle %s: %w", p.dir, err)
		}
	}
	return m.rename(p.next, listFailed, listName)
}

// switchKeeping exchanges the directory in use, whose list is former, for the one beside, and keeps it.
func (m machine) switchKeeping(p places, q agent.Layers, former layerList) error {
	if err := m.keepable(p, former); err != nil {
		return err
	}
	return m.leave(p, q, p.next, listBefore)
}

// SwitchBack takes layers out of use and brings back what a switch kept. It does nothing if the layers are not in use.
func SwitchBack(on files.Machine, q agent.Layers) error {
	m := machine{on}
	if err := check(q); err != nil {
		return err
	}
	p, err := m.placesOf(q.Dir)
	if err != nil {
		return err
	}
	if err := m.settle(p, q); err != nil {
		return err
	}
	have, _, err := m.layersIn(p.dir)
	if err != nil {
		return err
	}
	if have.is(q) {
		if p.inside || !m.hasList(p.before, listBefore) {
			return &agent.Error{Code: agent.CodeRefused, Message: fmt.Sprintf("switch %s back: nothing was kept in %s to go back to", q.Dir, p.before)}
		}
		for _, dir := range []string{p.dir, p.before, p.next} {
			if err := m.unmounted(dir); err != nil {
				return err
			}
		}
		if err := m.leave(p, q, p.before, listFailed); err != nil {
			return err
		}
	}
	if q.Keep {
		return nil
	}
	return m.clear(p, q)
}

// leave exchanges the directory in use for another. list says what becomes of it.
func (m machine) leave(p places, q agent.Layers, other, list string) error {
	if err := m.rename(p.dir, listName, list); err != nil {
		return fmt.Errorf("switch %s: %w", p.dir, err)
	}
	if err := m.exchange(p, other); err != nil {
		return fmt.Errorf("switch %s: %w", p.dir, err)
	}
	return m.settle(p, q)
}

// Forget removes what lies beside a directory: what never came into use and, unless it is to be kept, what was in use before.
func Forget(on files.Machine, q agent.Layers) error {
	m := machine{on}
	if err := checkNames(q); err != nil {
		return err
	}
	p, err := m.placesOf(q.Dir)
	if err != nil {
		return err
	}
	if err := m.settle(p, q); err != nil {
		return err
	}
	if !q.Keep && m.Exists(p.before) {
		if err := m.discard(p.before, p, q); err != nil {
			return err
		}
	}
	return m.clear(p, q)
}

// keepable refuses what could not be brought back: a directory with the list have.
func (m machine) keepable(p places, have layerList) error {
	if p.inside {
		return &agent.Error{
			Code: agent.CodeRefused, Message: p.dir + " is a mount point, so that it cannot change places with another directory in one step, and stay beside it",
			Remedy: "move what it holds into a directory of the file system below, or mount that file system on " + path.Dir(p.dir) + " or above; then run the same command again",
		}
	}
	if len(have.layers) == 0 || have.unpacking != "" {
		return &agent.Error{
			Code: agent.CodeRefused, Message: "nobody knows whether the images in " + p.dir + " are whole, so that they could not be brought back",
			Remedy: "run the bundle that the cluster was made with first, without other arguments",
		}
	}
	return m.unmounted(p.before)
}

// replace moves a directory to another's place. What lay there is removed, and what is left out of layers stays with the directory
// in use.
func (m machine) replace(to, from string, p places, q agent.Layers) error {
	if err := m.carry(from, p, q); err != nil {
		return err
	}
	if m.Exists(to) {
		if err := m.discard(to, p, q); err != nil {
			return err
		}
	}
	return m.move(from, to)
}

// move gives a directory another name beside.
func (m machine) move(from, to string) error {
	return m.Disk.Put(to, func() error { return durable.Rename(m.Path(from), m.Path(to)) })
}

func (m machine) hasList(dir, list string) bool { return m.Exists(path.Join(dir, layersDir, list)) }

// rename gives the list of a directory another name, if it has the first.
func (m machine) rename(dir, from, to string) error {
	if !m.hasList(dir, from) {
		return nil
	}
	return m.move(path.Join(dir, layersDir, from), path.Join(dir, layersDir, to))
}
