package testbed

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// bootScript runs in a mount namespace of its own, so that the host's disk is
// unmounted by the death of the last process that used it, however it died.
const bootScript = `set -eu
for f in $CGROUPS; do echo $$ > "$f"; done
# nspawn's own locks and mount points, which it leaves when it is killed.
mkdir -p /run/systemd/nspawn
mount -t tmpfs tmpfs /run/systemd/nspawn
# volatile: a host that dies need not wait until this machine's disk is written
# out. What it wrote is safe while this machine lives; the mark that says so
# would forbid the next mount.
[ ! -d "$DISK/work" ] || (cd "$DISK/work" && rm -rf work/incompat)
mount -t overlay overlay -o "volatile,lowerdir=$TREE,upperdir=$DISK/upper,workdir=$DISK/work" "$DISK/root"
if [ "$DISK_BYTES" != 0 ]; then
	if [ ! -e "$DISK/varlib.img" ]; then
		truncate -s "$DISK_BYTES" "$DISK/varlib.img"
		mkfs.ext4 -q -m 0 -O ^has_journal "$DISK/varlib.img"
	fi
	mount -o loop "$DISK/varlib.img" "$DISK/varlib"
fi
if [ ! -e "$DISK/varlib/dpkg" ]; then
	cp -a "$TREE/var/lib/." "$DISK/varlib/"
fi
exec "$@"
`

// PowerOn boots the host and returns when it is up: sshd greets and systemd
// says that the boot is complete.
func (h *Host) PowerOn(ctx context.Context) error {
	if h.run != nil {
		return nil
	}
	limited, cancel := context.WithTimeoutCause(ctx, bootLimit, fmt.Errorf("not up after %s", bootLimit))
	defer cancel()
	if err := h.boot(limited); err != nil {
		// A host that half booted counts as one with power: it would never be booted again.
		off, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
		defer cancel()
		return errors.Join(fmt.Errorf("power on %s: %w\nend of its console:\n%s", h.Name, err, h.consoleTail()), h.PowerOff(off))
	}
	return nil
}

func (h *Host) boot(ctx context.Context) error {
	if err := makeLink(ctx, h.bed.ns, h.ns, h.port, h.Addr, !h.cfg.NoDefaultRoute); err != nil {
		return err
	}
	if err := makeCgroups(h.cgroup); err != nil {
		return err
	}
	if err := h.spawn(); err != nil {
		return err
	}
	if err := h.waitInit(ctx); err != nil {
		return err
	}
	if err := h.waitSSH(ctx); err != nil {
		return fmt.Errorf("wait for sshd: %w", err)
	}
	return h.waitBooted(ctx)
}

// spawn starts the machine's processes.
func (h *Host) spawn() error {
	procs, err := cgroupProcsFiles(h.cgroup)
	if err != nil {
		return err
	}
	console, err := os.OpenFile(h.ConsoleLog(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer console.Close()
	cmd := exec.Command("sh", append([]string{"-c", bootScript, "boot"}, h.nspawnArgv()...)...)
	cmd.Env = append(os.Environ(), "SYSTEMD_NSPAWN_API_VFS_WRITABLE=1", "SYSTEMD_NSPAWN_TMPFS_TMP=0",
		"CGROUPS="+strings.Join(procs, " "), "TREE="+h.bed.tree, "DISK="+h.dir, fmt.Sprint("DISK_BYTES=", h.cfg.DiskBytes))
	cmd.Stdout, cmd.Stderr = console, console
	// A session of its own: Ctrl-C is for the bed to handle.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Unshareflags: syscall.CLONE_NEWNS}
	if err := cmd.Start(); err != nil {
		return err
	}
	run := &machine{nspawn: cmd, exited: make(chan struct{})}
	go func() {
		_ = cmd.Wait() // how it ended is told by whoever waits on exited
		close(run.exited)
	}()
	h.run = run
	return nil
}

func (h *Host) nspawnArgv() []string {
	argv := []string{
		"systemd-nspawn", "--quiet", "--directory=" + h.dir + "/root", "--machine=" + h.ns, "--hostname=" + h.Name,
		"--register=no", "--keep-unit", "--network-namespace-path=/run/netns/" + h.ns, "--capability=all",
		"--bind=/dev/kmsg", "--bind=" + h.dir + "/varlib:/var/lib", "--resolv-conf=off", "--timezone=off", "--link-journal=no",
		"--system-call-filter=@keyring @module @mount bpf perf_event_open", "--console=pipe",
	}
	// nspawn asks for the kernel's defaults unless told otherwise, and fails where
	// this process may not raise its own limits.
	for _, l := range []struct {
		name     string
		resource int
	}{{"RLIMIT_NOFILE", unix.RLIMIT_NOFILE}, {"RLIMIT_NPROC", unix.RLIMIT_NPROC}} {
		var r unix.Rlimit
		if unix.Getrlimit(l.resource, &r) == nil && r.Max != unix.RLIM_INFINITY {
			argv = append(argv, fmt.Sprintf("--rlimit=%s=%d", l.name, r.Max))
		}
	}
	for _, b := range h.cfg.Binds {
		flag := "--bind="
		if b.ReadOnly {
			flag = "--bind-ro="
		}
		argv = append(argv, flag+b.Source+":"+b.Target)
	}
	return append(argv, "--boot")
}

// ErrDied is what waiting for a host returns when the host is gone.
var ErrDied = errors.New("the machine stopped")

func (h *Host) waitInit(ctx context.Context) error {
	return poll(ctx, 20*time.Millisecond, func() (bool, error) {
		select {
		case <-h.run.exited:
			return false, ErrDied
		default:
		}
		pid, ok := cgroupInit(h.cgroup)
		h.run.init = pid
		return ok, nil
	})
}

// waitSSH waits for sshd's greeting: a listening socket alone is systemd's or
// a daemon's that cannot serve yet.
func (h *Host) waitSSH(ctx context.Context) error {
	return poll(ctx, 100*time.Millisecond, func() (bool, error) {
		select {
		case <-h.run.exited:
			return false, ErrDied
		default:
		}
		conn, err := h.bed.Dial(ctx, net.JoinHostPort(h.Addr, "22"))
		if err != nil {
			return false, nil
		}
		defer conn.Close()
		_ = conn.SetReadDeadline(time.Now().Add(2 * time.Second))
		line, err := bufio.NewReader(conn).ReadString('\n')
		return err == nil && strings.HasPrefix(line, "SSH-"), nil
	})
}

// waitBooted waits until systemd has nothing left to start. A degraded system
// is one where a unit failed: on a fresh host that is a fault of the bed.
func (h *Host) waitBooted(ctx context.Context) error {
	res, err := h.Exec(ctx, "systemctl", "is-system-running", "--wait")
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	failed, _ := h.Exec(ctx, "systemctl", "--failed", "--no-legend", "--plain")
	return fmt.Errorf("system is %s, failed units: %s", strings.TrimSpace(res.Stdout), strings.TrimSpace(failed.Stdout))
}

func (h *Host) consoleTail() string {
	b, err := os.ReadFile(h.ConsoleLog())
	if err != nil {
		return err.Error()
	}
	return tail(string(b), 2000)
}
