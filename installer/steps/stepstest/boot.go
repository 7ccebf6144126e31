package stepstest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sealbuild/sealbuild/installer/agent/agenttest"
)

// Pace is how long what passes by itself takes, in the time of the test: real, or of a bubble. What is zero takes none.
type Pace struct {
	Boot   time.Duration // from the power until an API server answers: 20 to 60 s on real hosts
	Lease  time.Duration // from when a kubelet falls silent until its Node is Unknown, and until the pods of a Node that is gone are removed: 50 s
	Evict  time.Duration // from then until the Node's pods are deleted, or a volume is taken from it by force: 5 minutes
	Pod    time.Duration // for a pod to start, and to end
	Elect  time.Duration // for etcd to choose another leader: 2 s
	Steady time.Duration // a voter must have been there for so long before etcd changes members: 5 s
	Static time.Duration // for a static pod, from when its manifest changes until it answers: 5 to 20 s
	// Manifests is how long kubeadm waits for each static pod in an upgrade: 5 minutes; if it is zero, a few boots.
	Manifests time.Duration
}

// RealPace is about that of real hosts. It is for tests whose clock is not real.
func RealPace() Pace {
	return Pace{Boot: 45 * time.Second, Lease: 50 * time.Second, Evict: 5 * time.Minute, Pod: 5 * time.Second, Elect: 2 * time.Second, Steady: 5 * time.Second}
}

// Stages of a boot, in their order: each takes a fifth of it.
const (
	sshdUp = iota + 1
	runtimeUp
	kubeletUp
	etcdUp
	apiUp
)

// booted tells whether a machine is on, and has come to a stage of its boot.
func (m *Machine) booted(stage int) bool {
	return !m.off && !time.Now().Before(m.boots.Add(m.site.Pace.Boot*time.Duration(stage)/apiUp))
}

// containerd tells whether the container runtime runs.
func (m *Machine) containerd() bool {
	return m.runtime && (m.begun || m.booted(runtimeUp)) && m.booted(sshdUp)
}

// kubelet tells whether kubelet runs on a machine, and does something.
func (m *Machine) kubelet() bool {
	return m.containerd() && m.booted(kubeletUp) && !m.stopped && !m.refuses && broken(m, "kubelet", m.programs.kubelet) == "" &&
		(m.tree.has(kubeletConf) || m.tree.has(bootstrapConf))
}

// restarts is how many times systemd has started kubelet again, which it does after ten seconds. Starting it by hand does not begin
// the count anew where the one before was about to be started again.
func restarts(m *Machine) int {
	if m.stopped || !m.containerd() || !m.refuses && broken(m, "kubelet", m.programs.kubelet) == "" {
		return m.ends
	}
	return m.ends + int(time.Since(m.kubeletBegan)/(10*time.Second))
}

// before notes what is true of a machine until now, because that is about to change: since when its kubelet is silent, and
// which containers it has.
func (m *Machine) before() {
	m.static()
	if m.kubelet() {
		m.heard = time.Now()
	}
}

// PowerOff takes the power from a machine, until PowerOn or Repair.
func (m *Machine) PowerOff() {
	defer m.site.locked()()
	m.cutPower()
}

// cutPower takes the power from a machine, with all that is in its memory. The site is locked.
func (m *Machine) cutPower() {
	m.before()
	m.crash()
	m.cuts++
	m.off = true
	clear(m.units)
	clear(m.running)
	clear(m.containers)
	m.proxyImage = ""
	m.boot()
	if err := m.tree.emptyRun(); err != nil {
		m.site.violated("the simulation failed: %v", err)
	}
}

// Destroy takes the power from a machine for ever.
func (m *Machine) Destroy() {
	defer m.site.locked()()
	m.cutPower()
	m.lost = true
}

// Hide keeps the machine of the installer from reaching a machine. Others reach it.
func (m *Machine) Hide() {
	defer m.site.locked()()
	m.hidden = true
}

// PowerOn gives a machine its power back. It boots: nothing of it answers at first.
func (m *Machine) PowerOn() {
	defer m.site.locked()()
	m.powerOn()
}

func (m *Machine) powerOn() {
	if m.off && !m.lost {
		m.off, m.boots, m.booting, m.stopped, m.fresh, m.begun = false, time.Now(), true, false, true, false
		m.ends, m.kubeletBegan = 0, m.boots
		m.takesConfig()
	}
}

// Repair gives every machine its power and the room on its disks back, and waits until all answer to ssh: what comes after
// that in a boot takes longer.
func (s *Site) Repair() {
	unlock := s.locked()
	for _, m := range s.machines {
		m.powerOn()
		m.full, m.spare = false, 0
	}
	unlock()
	for _, m := range s.machines {
		if !m.lost {
			_ = m.settle(context.Background(), sshdUp)
		}
	}
}

// Up waits until every machine that was switched on is up.
func (s *Site) Up(ctx context.Context) error {
	for _, m := range s.machines {
		if err := m.settle(ctx, apiUp); err != nil {
			return err
		}
	}
	return nil
}

// Noticed waits until the cluster has noticed what has happened: kubelets that are silent have lost their leases, and etcd has
// chosen a leader.
func (s *Site) Noticed(ctx context.Context) error {
	unlock := s.locked()
	if s.kube != nil {
		s.led()
	}
	unlock()
	return sleep(ctx, max(s.Pace.Lease, s.Pace.Elect)+time.Millisecond)
}

// settle waits until a machine that was switched on has come to a stage.
func (m *Machine) settle(ctx context.Context, stage int) error {
	m.site.mu.Lock()
	left := time.Until(m.boots.Add(m.site.Pace.Boot * time.Duration(stage) / apiUp))
	m.site.mu.Unlock()
	return sleep(ctx, left)
}

func sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// patience is how long kubeadm waits for anything: minutes, which is longer than any boot.
func patience(s *Site) time.Duration { return 3 * s.Pace.Boot }

// await asks, with the site locked, until something is so or a program's patience is at its end.
func (c *call) await(ctx context.Context, patience time.Duration, do func(s *Site, m *Machine) error) error {
	s := c.session.site
	end := time.Now().Add(patience)
	for {
		err := c.quietly(do)
		if err == nil || c.fate() != nil || !time.Now().Before(end) {
			return err
		}
		if err := sleep(ctx, s.Pace.Boot/30); err != nil {
			return err
		}
	}
}

// quietly does something with the site locked, without an event.
func (c *call) quietly(do func(s *Site, m *Machine) error) error {
	s := c.session.site
	defer s.locked()()
	if err := c.ended(); err != nil {
		return err
	}
	return do(s, c.machine)
}

// StopKubelet stops kubelet by hand. The marks of the machine stay, and so do its containers.
func (m *Machine) StopKubelet() {
	defer m.site.locked()()
	m.before()
	m.stopped = true
}

// LoseRuntime stops the container runtime and takes its data away.
func (m *Machine) LoseRuntime() {
	defer m.site.locked()()
	m.before()
	m.runtime = false
	m.static()
	clear(m.containers)
}

// unmount takes away what is mounted below a directory, as kubeadm reset does before it empties the directory: the files of
// those disks are not reached by it. What is mounted at the directory itself stays, and is emptied.
func (m *Machine) unmount(dir string) error {
	const mounts = "/proc/self/mounts"
	var left strings.Builder
	text := m.tree.text(mounts)
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) < 2 || !strings.HasPrefix(f[1], dir+"/") {
			left.WriteString(line)
			continue
		}
		if err := m.tree.moveAway(f[1], path.Join("/unmounted", f[1])); err != nil {
			return fmt.Errorf("unmount %s: %w", f[1], err)
		}
	}
	if left.String() == text {
		return nil
	}
	return m.tree.put(mounts, left.String())
}

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
