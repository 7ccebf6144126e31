package testbed

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// treePackages is a host before anybody installs anything on it: an init, an
// ssh server and the tools kubeadm's preflight wants. No container runtime and
// no runc: those must come out of the bundle under test.
const treePackages = "systemd,systemd-sysv,dbus,openssh-server,sudo,iptables,nftables,conntrack,socat,ethtool,kmod," +
	"iproute2,iputils-ping,procps,util-linux,mount,hostname,tar,zstd,curl,ca-certificates,findutils"

// treeFinish turns a fresh debootstrap tree into one that many hosts can share
// read-only. Part of the cache key.
const treeFinish = `set -eu
# Identity belongs to a host, not to the tree.
rm -f etc/ssh/ssh_host_* etc/machine-id var/lib/dbus/machine-id etc/hostname etc/resolv.conf
: > etc/machine-id
# Every host would write these to the one kernel that all of them share.
rm -f usr/lib/sysctl.d/*.conf
# A journal in /run: one fsync per line less, and nothing left behind.
rm -rf var/log/journal var/lib/apt/lists/* var/cache/apt/*.bin var/cache/apt/archives/*.deb
mkdir -p var/lib/apt/lists/partial
for u in apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer e2scrub_reap.service \
	fstrim.timer getty@.service console-getty.service getty.target systemd-networkd-wait-online.service; do
	ln -sf /dev/null "etc/systemd/system/$u"
done
printf 'PermitRootLogin yes\nPasswordAuthentication yes\nKbdInteractiveAuthentication yes\nUseDNS no\nMaxStartups 200:30:400\n' > etc/ssh/sshd_config.d/testbed.conf
chroot . useradd --create-home --shell /bin/bash --uid 1000 ops
printf 'ops ALL=(ALL) NOPASSWD: ALL\n' > etc/sudoers.d/ops
chmod 0440 etc/sudoers.d/ops
# What a machine of its own has and a container has not: writable cgroups and
# mounts that propagate.
cat > etc/systemd/system/testbed-machine.service <<'UNIT'
[Unit]
Description=Make this container behave like a machine
DefaultDependencies=no
Before=sysinit.target
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/sh -c 'for d in /sys/fs/cgroup /sys/fs/cgroup/*; do mountpoint -q "$d" && mount -o remount,rw,bind "$d"; done; mount --make-rshared /'
[Install]
WantedBy=sysinit.target
UNIT
mkdir -p etc/systemd/system/sysinit.target.wants
touch etc/default/locale
ln -sf ../testbed-machine.service etc/systemd/system/sysinit.target.wants/testbed-machine.service
`

// CacheDir is where trees and beds are kept, outside any checkout.
func CacheDir() (string, error) {
	if d := os.Getenv("SEALBUILD_CACHE"); d != "" {
		return filepath.Abs(d)
	}
	base, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("find a cache directory: %w", err)
	}
	return filepath.Join(base, "sealbuild-test"), nil
}

// Prepare returns the host tree every bed shares, making it from Debian
// packages when no earlier run did; progress goes to log. A tree appears under
// its name only when it is whole; concurrent callers wait for the one that builds.
func Prepare(ctx context.Context, log io.Writer) (string, error) {
	cache, err := CacheDir()
	if err != nil {
		return "", err
	}
	src, err := systemSource(ctx)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256([]byte(strings.Join([]string{src.Suite, runtime.GOARCH, treePackages, treeFinish}, "\x00")))
	tree := filepath.Join(cache, "tree-"+hex.EncodeToString(sum[:6]))
	if isDir(tree) {
		return tree, nil
	}
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return "", err
	}
	unlock, err := lockFile(ctx, tree+".lock")
	if err != nil {
		return "", err
	}
	defer unlock()
	if isDir(tree) {
		return tree, nil
	}
	if err := buildTree(ctx, src, tree, log); err != nil {
		return "", fmt.Errorf("prepare host tree: %w", err)
	}
	return tree, nil
}

func buildTree(ctx context.Context, src aptSource, tree string, log io.Writer) error {
	debs := filepath.Join(filepath.Dir(tree), "debs")
	partial := tree + ".partial"
	// The lock is ours: what lies there is of a run that was killed.
	if err := os.RemoveAll(partial); err != nil {
		return err
	}
	if err := os.MkdirAll(debs, 0o755); err != nil {
		return err
	}
	fmt.Fprintf(log, "testbed: building the host tree %s (%s)\n", tree, src.Suite)
	if err := logged(ctx, log, "", "debootstrap", "--variant=minbase", "--cache-dir="+debs,
		"--include="+treePackages, src.Suite, partial, src.Mirror); err != nil {
		return err
	}
	if err := logged(ctx, log, partial, "sh", "-c", treeFinish); err != nil {
		return err
	}
	if err := syncTree(partial); err != nil {
		return fmt.Errorf("sync %s: %w", partial, err)
	}
	return os.Rename(partial, tree)
}

// logged runs argv in dir with its output to log.
func logged(ctx context.Context, log io.Writer, dir string, argv ...string) error {
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, log, log
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s: %w", argv[0], err)
	}
	return nil
}

// syncTree makes the tree durable before it gets its name: one call for the
// whole filesystem instead of one per file.
func syncTree(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return unix.Syncfs(int(d.Fd()))
}

func isDir(path string) bool {
	fi, err := os.Stat(path)
	return err == nil && fi.IsDir()
}
