package upgrade

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/sealbuild/sealbuild/installer/fleet"
	"github.com/sealbuild/sealbuild/installer/members"
)

// What is done before the first host is disturbed.

// Save saves what etcd holds, on every master, if Kubernetes gets another version. It returns on how many, and the size of one in
// bytes. Once a host was begun it saves no more: what it would save is not of before, and would push out what is.
func (u *Upgrade) Save(ctx context.Context) (saved int, size int64, err error) {
	if begun, err := Begun(u); err != nil || begun {
		return 0, 0, err
	}
	var bytes atomic.Int64
	of := members.Upgrade{From: u.From(), To: u.To(), At: time.Now()}
	saved, err = u.Count(ctx, u.ControlPlanes(), func(ctx context.Context, t *fleet.Target) (int, error) {
		if t.EtcdManifest == "" || u.versionOf(t) == u.To() {
			return 0, nil
		}
		s, err := u.Members.Save(ctx, t, u.SnapshotDir(), of)
		if err != nil {
			return 0, fmt.Errorf("save what etcd holds: %w", err)
		}
		bytes.Store(max(bytes.Load(), s.Bytes))
		u.Report.Infof("%s: etcd saved in %s (%s)", t.IP, s.Path, s.SHA256)
		return 1, nil
	})
	return saved, bytes.Load(), err
}

// SnapshotDir is where masters keep what etcd held before an upgrade.
func (u *Upgrade) SnapshotDir() string {
	return u.Dir("snapshots") //docs:file masters /var/lib/sealos/data/<cluster>/snapshots/: what etcd held before each of the last two upgrades (0600)
}

// Stage brings all hosts that are to follow the new rootfs beside the one in use, and then runs the image's script `prepare`
// there, which pulls what will run. Nothing that runs is disturbed. It returns how much it changed, and how many bytes it sent.
func (u *Upgrade) Stage(ctx context.Context) (changes int, sent int64, err error) {
	pending, err := u.Pending()
	if err != nil {
		return 0, 0, err
	}
	var bytes atomic.Int64
	changes, err = u.Count(ctx, pending, func(ctx context.Context, t *fleet.Target) (int, error) {
		if m, there, err := on(t); err != nil || there && m.Stage != begun && m.Stage != done {
			return 0, err // its rootfs is in its place already
		}
		n, sent, err := u.Dirs.Stage(ctx, t, u.RootfsDir())
		bytes.Add(sent)
		if err != nil {
			return n, fmt.Errorf("unpack the new rootfs beside the one in use: %w", err)
		}
		if _, err := u.Dirs.Prepare(ctx, t, "stage"); err != nil {
			return n, fmt.Errorf("pull what will run there: %w", err)
		}
		return n, nil
	})
	return changes, bytes.Load(), err
}
