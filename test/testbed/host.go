package testbed

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
)

// Host is one machine of a bed. Its disk survives PowerOff; its memory, its
// network configuration and whatever it mounted do not.
type Host struct {
	Name    string
	Addr    string // its address on the bed's bridge
	HostKey string // "ssh-ed25519 AAAA…"

	bed    *Bed
	cfg    HostConfig
	cgroup string // branch of every cgroup hierarchy
	ns     string // network namespace
	port   string // its end of the cable, in the bed's namespace
	dir    string // upper, work, varlib, root (mount point), console.log
	run    *machine
}

// machine is one power-on.
type machine struct {
	nspawn *exec.Cmd
	exited chan struct{} // closed once nspawn is reaped
	init   int           // pid of the host's init, as this machine sees it
}

// host is the i-th host of a bed, as far as its place decides.
func (b *Bed) host(i int, cfg HostConfig) *Host {
	name := fmt.Sprintf("%s-h%d", b.id, i+1)
	return &Host{
		Name: cfg.Name, Addr: "10.66.0." + strconv.Itoa(firstHost+i), bed: b, cfg: cfg,
		cgroup: name, ns: name, port: fmt.Sprintf("port%d", i+1), dir: filepath.Join(b.Dir, fmt.Sprintf("h%d", i+1)),
	}
}

// newHost makes the host's disk.
func newHost(b *Bed, i int, cfg HostConfig) (*Host, error) {
	h := b.host(i, cfg)
	return h, h.makeDisk()
}

func (h *Host) makeDisk() error {
	for _, d := range []string{"upper", "work", "root", "varlib"} {
		if err := os.MkdirAll(filepath.Join(h.dir, d), 0o755); err != nil {
			return err
		}
	}
	return h.writeIdentity()
}

// NewDisk puts a fresh disk into a host that has no power, in place of what it had: after the next PowerOn it is another machine
// with the same name and address, and with another host key.
func (h *Host) NewDisk() error {
	if h.run != nil {
		return fmt.Errorf("new disk for %s: it has power", h.Name)
	}
	for _, d := range []string{"upper", "work", "varlib", "varlib.img"} {
		if err := os.RemoveAll(filepath.Join(h.dir, d)); err != nil {
			return fmt.Errorf("new disk for %s: %w", h.Name, err)
		}
	}
	if err := h.makeDisk(); err != nil {
		return fmt.Errorf("new disk for %s: %w", h.Name, err)
	}
	return errors.Join(h.bed.writeKnownHosts(), h.bed.describe())
}

// writeIdentity writes what distinguishes this host from the tree, into the
// disk layer above it.
func (h *Host) writeIdentity() error {
	var id [16]byte
	_, _ = rand.Read(id[:])
	private, public, err := newHostKey()
	if err != nil {
		return err
	}
	h.HostKey = public
	resolv := ""
	switch h.cfg.Resolver {
	case RefusingDNS:
		resolv = "nameserver " + refusingDNSAddr + "\n"
	case SilentDNS:
		resolv = "nameserver " + silentDNSAddr + "\n"
	case NoDNS:
	}
	shadow, err := h.bed.shadow()
	if err != nil {
		return err
	}
	// The host's own name is left out of /etc/hosts: that is how sites come, and
	// the installer has to see to it.
	files := []struct {
		path, content string
		mode          os.FileMode
	}{
		{"etc/hostname", h.Name + "\n", 0o644},
		{"etc/hosts", "127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n", 0o644},
		{"etc/machine-id", hex.EncodeToString(id[:]) + "\n", 0o444},
		{"etc/resolv.conf", resolv, 0o644},
		{"etc/shadow", shadow, 0o640},
		{"etc/ssh/ssh_host_ed25519_key", private, 0o600},
		{"etc/ssh/ssh_host_ed25519_key.pub", public + "\n", 0o644},
		{"root/.ssh/authorized_keys", h.bed.publicKey, 0o600},
		{"home/ops/.ssh/authorized_keys", h.bed.publicKey, 0o600},
	}
	upper := filepath.Join(h.dir, "upper")
	for _, f := range files {
		p := filepath.Join(upper, f.path)
		if err := mirrorParents(h.bed.tree, upper, filepath.Dir(f.path)); err != nil {
			return err
		}
		if err := os.WriteFile(p, []byte(f.content), f.mode); err != nil {
			return err
		}
	}
	for _, p := range []string{"home/ops/.ssh", "home/ops/.ssh/authorized_keys"} {
		if err := os.Chown(filepath.Join(upper, p), 1000, 1000); err != nil {
			return err
		}
	}
	return nil
}

// mirrorParents makes rel below upper with the owner and mode the directories
// have in the tree: an overlay takes both from its upper layer.
func mirrorParents(tree, upper, rel string) error {
	if rel == "." {
		return nil
	}
	if err := mirrorParents(tree, upper, filepath.Dir(rel)); err != nil {
		return err
	}
	dst := filepath.Join(upper, rel)
	if exists(dst) {
		return nil
	}
	fi, err := os.Stat(filepath.Join(tree, rel))
	if errors.Is(err, os.ErrNotExist) {
		return os.Mkdir(dst, 0o700)
	}
	if err != nil {
		return err
	}
	if err := os.Mkdir(dst, 0o700); err != nil {
		return err
	}
	uid, gid := owner(fi)
	return errors.Join(os.Chown(dst, uid, gid), os.Chmod(dst, fi.Mode().Perm()))
}

// Running tells whether the host has power.
func (h *Host) Running() bool { return h.run != nil }

// PID is the host's init as this machine numbers it; 0 when the host is off.
func (h *Host) PID() int {
	if h.run == nil {
		return 0
	}
	return h.run.init
}

// PowerOff ends the host as a pulled plug does: every process dies at once,
// nothing is told.
func (h *Host) PowerOff(ctx context.Context) error {
	if h.run != nil && h.run.nspawn != nil {
		// One that was started a moment ago is in no cgroup yet.
		_ = h.run.nspawn.Process.Kill()
	}
	if err := killCgroup(ctx, h.cgroup); err != nil {
		return fmt.Errorf("power off %s: %w", h.Name, err)
	}
	h.reap()
	if err := errors.Join(removeLink(ctx, h.bed.ns, h.ns, h.port), removeCgroups(ctx, h.cgroup)); err != nil {
		return fmt.Errorf("power off %s: %w", h.Name, err)
	}
	return nil
}

// VarLib is where this machine keeps the host's /var/lib, also while the host
// has no power: the place to see and to damage its disk. A host with a disk of
// its own size (DiskBytes) has it there only while it has power.
func (h *Host) VarLib() string { return filepath.Join(h.dir, "varlib") }

// reap waits for a machine that was killed.
func (h *Host) reap() {
	if h.run != nil {
		<-h.run.exited
		h.run = nil
	}
}

// ConsoleLog is the file the host's console is written to, over all power-ons.
func (h *Host) ConsoleLog() string { return filepath.Join(h.dir, "console.log") }
