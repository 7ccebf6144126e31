package files

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"

	"github.com/sealbuild/sealbuild/installer/agent"
)

// Remove removes files and directories with all they hold. All paths are checked before the first is touched.
func (m Machine) Remove(ctx context.Context, q agent.RemoveRequest) error {
	mounts, err := m.MountPoints()
	if err != nil {
		return fmt.Errorf("remove: %w", err)
	}
	var targets []string
	for _, p := range q.Paths {
		real, err := m.guard(p, mounts)
		if err != nil {
			return err
		}
		if real != "" {
			targets = append(targets, real)
		}
	}
	for _, t := range targets {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err := m.RemoveAll(t); err != nil {
			return fmt.Errorf("remove: %w", err)
		}
	}
	return nil
}

// guard gives the path with the links above it resolved, or empty where nothing is there.
func (m Machine) guard(p string, mounts []string) (string, error) {
	if err := CheckPath(p); err != nil {
		return "", err
	}
	if err := guardName(p); err != nil {
		return "", err
	}
	dir, err := filepath.EvalSymlinks(m.Path(filepath.Dir(p)))
	if errors.Is(err, fs.ErrNotExist) || IsNotDir(err) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("remove: %w", err)
	}
	real := filepath.Join("/", strings.TrimPrefix(dir, m.Root), filepath.Base(p))
	// A link above may lead to where nothing may be removed.
	if err := guardName(real); err != nil {
		return "", err
	}
	for _, mount := range mounts {
		if mount == real || strings.HasPrefix(mount, real+"/") {
			return "", &agent.Error{
				Code: agent.CodeRefused, Message: fmt.Sprintf("remove %s: a file system is mounted on %s", p, mount),
				Remedy: "look at what it holds, unmount it, and try again",
			}
		}
	}
	return real, nil
}

// guardName refuses names that no cluster owns.
func guardName(p string) error {
	parts := strings.Split(strings.TrimPrefix(p, "/"), "/")
	refuse := func(why string) error {
		return &agent.Error{Code: agent.CodeRefused, Message: fmt.Sprintf("remove %s: %s", p, why)}
	}
	switch {
	case len(parts) < 2:
		return refuse("that is a directory of the system")
	case slices.Contains([]string{"proc", "sys", "dev", "boot"}, parts[0]):
		return refuse("nothing below /" + parts[0] + " is removed")
	case parts[0] == "home" && len(parts) == 2:
		return refuse("that is a user's home")
	case slices.Contains(strings.Fields(systemDirectories), p):
		return refuse("that is a directory of the system")
	}
	return nil
}

// systemDirectories belong to the system or to its administrator as a whole, though single files in them may be ours.
const systemDirectories = `
/etc/alternatives /etc/apt /etc/cron.d /etc/default /etc/fstab /etc/group /etc/hostname /etc/hosts /etc/init.d
/etc/ld.so.conf.d /etc/machine-id /etc/modprobe.d /etc/modules-load.d /etc/network /etc/netplan /etc/pam.d /etc/passwd
/etc/pki /etc/profile.d /etc/resolv.conf /etc/security /etc/selinux /etc/shadow /etc/ssh /etc/ssl /etc/sudoers
/etc/sudoers.d /etc/sysconfig /etc/sysctl.conf /etc/sysctl.d /etc/systemd /etc/systemd/network /etc/systemd/system
/etc/udev /etc/yum.repos.d
/lib/firmware /lib/modules /lib/systemd /lib/systemd/system /lib/udev
/root/.ssh /root/.bashrc /root/.profile
/run/dbus /run/lock /run/log /run/systemd /run/udev /run/user
/usr/bin /usr/include /usr/lib /usr/lib32 /usr/lib64 /usr/libexec /usr/local /usr/sbin /usr/share /usr/src
/usr/lib/modules /usr/lib/systemd /usr/lib/systemd/system
/usr/local/bin /usr/local/etc /usr/local/lib /usr/local/lib64 /usr/local/sbin /usr/local/share
/var/backups /var/cache /var/db /var/lib /var/local /var/lock /var/log /var/mail /var/opt /var/run /var/spool /var/tmp
/var/lib/apt /var/lib/dbus /var/lib/dpkg /var/lib/misc /var/lib/NetworkManager /var/lib/rpm /var/lib/sshd /var/lib/systemd
/var/log/audit /var/log/journal /var/spool/cron
`
