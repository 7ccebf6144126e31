package testbed

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// description is what another process needs to work with a running bed. It
// lies in the bed's directory, which only root can enter.
type description struct {
	Tree, KeyFile, KnownHosts, Password string
	Hosts                               []hostDescription
}

type hostDescription struct {
	Name, Addr, HostKey string
	Config              HostConfig
}

func (b *Bed) describe() error {
	d := description{Tree: b.tree, KeyFile: b.KeyFile, KnownHosts: b.KnownHosts, Password: b.Password}
	for _, h := range b.Hosts {
		d.Hosts = append(d.Hosts, hostDescription{h.Name, h.Addr, h.HostKey, h.cfg})
	}
	raw, err := json.MarshalIndent(d, "", "  ")
	if err != nil {
		return err
	}
	path := filepath.Join(b.Dir, "bed.json")
	if err := os.WriteFile(path+".new", raw, 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

// Running lists the ids of the beds of this machine whose owner lives.
func Running() ([]string, error) {
	records, err := filepath.Glob(filepath.Join(stateDir, idPrefix+"*.json"))
	if err != nil {
		return nil, err
	}
	var ids []string
	for _, r := range records {
		id := strings.TrimSuffix(filepath.Base(r), ".json")
		lock, err := tryLock(filepath.Join(stateDir, id+".lock"))
		if err != nil {
			return nil, err
		}
		if lock != nil {
			lock.Close() // nobody holds it: a leftover for Sweep
			continue
		}
		ids = append(ids, id)
	}
	return ids, nil
}

// Attach opens a running bed of another process, to use its hosts. Close of
// the bed returned does nothing: the bed belongs to who started it (see Down).
func Attach(id string) (*Bed, error) {
	st, err := readState(id)
	if err != nil {
		return nil, err
	}
	raw, err := os.ReadFile(filepath.Join(st.Dir, "bed.json"))
	if err != nil {
		return nil, fmt.Errorf("attach to %s: not up yet: %w", id, err)
	}
	var d description
	if err := json.Unmarshal(raw, &d); err != nil {
		return nil, fmt.Errorf("attach to %s: %w", id, err)
	}
	b := &Bed{
		id: id, ns: id, Dir: st.Dir, tree: d.Tree, log: io.Discard, closed: make(chan struct{}),
		KeyFile: d.KeyFile, KnownHosts: d.KnownHosts, Password: d.Password,
	}
	b.closing.Do(func() {})
	for i, hd := range d.Hosts {
		h := b.host(i, hd.Config)
		h.HostKey = hd.HostKey
		if pid, ok := cgroupInit(h.cgroup); ok {
			h.run = foreign(pid)
		}
		b.Hosts = append(b.Hosts, h)
	}
	return b, nil
}

// foreign is a machine some other process is the parent of.
func foreign(pid int) *machine {
	gone := make(chan struct{})
	close(gone)
	return &machine{exited: gone, init: pid}
}

// Down tells the owner of a bed to close it and waits until it did.
func Down(ctx context.Context, id string) error {
	st, err := readState(id)
	if err != nil {
		return err
	}
	if err := syscall.Kill(st.PID, syscall.SIGTERM); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("tell the owner of %s: %w", id, err)
	}
	return poll(ctx, 100*time.Millisecond, func() (bool, error) {
		lock, err := tryLock(filepath.Join(stateDir, id+".lock"))
		if err != nil || lock == nil {
			return false, err
		}
		// The owner is gone. What it could not remove is removed here.
		return true, remove(ctx, id, lock)
	})
}

func readState(id string) (state, error) {
	var st state
	raw, err := os.ReadFile(filepath.Join(stateDir, id+".json"))
	if err != nil {
		return st, fmt.Errorf("no bed %s: %w", id, err)
	}
	if err := json.Unmarshal(raw, &st); err != nil {
		return st, fmt.Errorf("read the record of %s: %w", id, err)
	}
	return st, nil
}
