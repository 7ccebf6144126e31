package testbed

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// Snapshot is what an installer could have changed on a host, one sorted line
// per fact: "file …", "mount …", "port …", "iptables …", "nft …", "link …",
// "address …", "route …", "rule …", "unit …", "service …", "process …",
// "sysctl …". Facts that change on an idle host (logs, counters, times) are left out.
type Snapshot []string

// snapshotScript prints the facts. Paths of the machine's own upkeep are left
// out: journals, apt, random seeds, and what systemd and ssh sessions keep in /run.
const snapshotScript = `
find / -xdev \( -path /proc -o -path /sys -o -path /dev -o -path /run -o -path /tmp -o -path /var/tmp -o -path /var/log -o -path /var/cache \
	-o -path /var/lib -o -path /root/.cache -o -path /etc/.pwd.lock -o -path /etc/ld.so.cache \) -prune -o -printf 'file %y %m %U:%G %p %l\n'
find /var/lib -xdev \( -path /var/lib/systemd -o -path /var/lib/private -o -path /var/lib/dbus -o -path /var/lib/sudo \) -prune -o -printf 'file %y %m %U:%G %p %l\n'
find /tmp /var/tmp -xdev -mindepth 1 -not -path '*/systemd-private-*' -printf 'file %y %m %U:%G %p\n'
find /run -xdev -mindepth 1 -maxdepth 1 -not -name systemd -not -name user -not -name udev -not -name utmp -not -name motd.dynamic -printf 'file %y %p\n'
find /etc /usr/local /opt /root -xdev -type f -not -path /root/.cache/\* -not -name ld.so.cache -not -name .pwd.lock -exec sha256sum {} + | sed 's/^/file content /'
findmnt -rno TARGET,FSTYPE | grep -vE '^/run/(user|credentials|systemd)' | sed 's/^/mount /'
ss -Hltnup | awk '{ sub(/pid=[0-9]+,fd=[0-9]+/, ""); print "port", $1, $5 }'
for t in iptables ip6tables; do
	command -v $t-save >/dev/null && $t-save 2>/dev/null | grep -vE '^#|^COMMIT' | sed -E "s/\[[0-9]+:[0-9]+\]//; s/^/iptables $t /"
done
nft list ruleset 2>/dev/null | sed -E 's/packets [0-9]+ bytes [0-9]+//; s/^/nft /'
ip -o link | awk '{ sub(/@.*/, "", $2); print "link", $2 }'
ip -o addr | awk '$3 != "inet6" { print "address", $2, $4 }'
ip route show table all | grep -vE '^(fe80|multicast|local fe80|anycast)|^ff00' | sed 's/^/route /'
ip rule | sed 's/^/rule /'
systemctl list-unit-files --no-legend --plain | awk '{ print "unit", $1, $2 }'
systemctl list-units --type=service,socket,mount --state=active,failed,activating --no-legend --plain | awk '$1 !~ /^(user|session|run-user|systemd-tmpfiles-clean)/ { print "service", $1, $3, $4 }'
ps -eo comm= | grep -vE '^(ps|sh|sort|sed|awk|grep|find|nsenter|env|sshd|\(sd-pam\)|systemd.*|sftp-server|agetty)$' | sed 's/^/process /'
for k in net.ipv4.ip_forward net.ipv4.conf.all.rp_filter net.bridge.bridge-nf-call-iptables; do
	[ ! -e /proc/sys/$(echo $k | tr . /) ] || echo "sysctl $k=$(sysctl -n $k)"
done
exit 0
`

// Snapshot records the host's state. It takes a second or two.
func (h *Host) Snapshot(ctx context.Context) (Snapshot, error) {
	res, err := h.Exec(ctx, "sh", "-c", snapshotScript)
	if err != nil {
		return nil, fmt.Errorf("snapshot: %w", err)
	}
	var s Snapshot
	for line := range strings.Lines(res.Stdout) {
		if line = strings.TrimRight(line, " \t\n"); line != "" {
			s = append(s, line)
		}
	}
	slices.Sort(s)
	return slices.Compact(s), nil
}

// Diff tells what is in after and not in s, and the reverse.
func (s Snapshot) Diff(after Snapshot) (added, gone []string) {
	return missingFrom(s, after), missingFrom(after, s)
}

// missingFrom lists the lines of b that the sorted a lacks.
func missingFrom(a, b Snapshot) []string {
	var out []string
	for _, line := range b {
		if _, ok := slices.BinarySearch(a, line); !ok {
			out = append(out, line)
		}
	}
	return out
}

// DiskUsed counts the bytes the host occupies on this machine's disk, beyond
// the tree all hosts share. A hard link counts once, a hole not at all.
func (h *Host) DiskUsed() (int64, error) {
	type inode struct{ dev, ino uint64 }
	seen := map[inode]bool{}
	var total int64
	for _, d := range []string{"upper", "varlib", "varlib.img"} {
		err := filepath.WalkDir(filepath.Join(h.dir, d), func(_ string, e fs.DirEntry, err error) error {
			if err != nil {
				return ignoreMissing(err)
			}
			fi, err := e.Info()
			if err != nil {
				return ignoreMissing(err)
			}
			st, ok := fi.Sys().(*syscall.Stat_t)
			if key := (inode{st.Dev, st.Ino}); ok && !seen[key] {
				seen[key] = true
				total += st.Blocks * 512
			}
			return nil
		})
		if err != nil {
			return 0, fmt.Errorf("measure the disk of %s: %w", h.Name, err)
		}
	}
	return total, nil
}

// Copy copies a file of this machine into the running host. It appears under
// its name when it is whole.
func (h *Host) Copy(ctx context.Context, src, dst string, mode fs.FileMode) error {
	f, err := os.Open(src)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = h.Run(ctx, Command{Stdin: f, Argv: []string{
		"sh", "-c", `mkdir -p "$(dirname "$1")" && cat > "$1.part" && chmod "$2" "$1.part" && mv "$1.part" "$1"`,
		"copy", dst, fmt.Sprintf("%04o", mode.Perm()),
	}})
	if err != nil {
		return fmt.Errorf("copy %s: %w", src, err)
	}
	return nil
}
