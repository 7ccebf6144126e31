// Package snapshots keeps copies of etcd's database on a master, as its own member sends them. Nothing of them leaves the host.
package snapshots

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/dustin/go-humanize"
	"golang.org/x/sys/unix"

	"github.com/sealbuild/sealbuild/ground/durable"
	"github.com/sealbuild/sealbuild/installer/agent"
	"github.com/sealbuild/sealbuild/installer/agent/files"
	"github.com/sealbuild/sealbuild/installer/etcd"
)

// Member is the member of etcd on this host: an *etcd.Client, or that of a test.
type Member interface {
	Own(ctx context.Context) (etcd.Cluster, error)
	Snapshot(ctx context.Context, start func(bytes int64) (io.Writer, error)) error
}

// logRoom is what has to stay free beside a snapshot: etcd takes so much at once for the next part of its log, and ends if the
// disk has no room for it. In bytes.
const logRoom = 64 << 20

// tempPrefix begins the name of a snapshot that is not whole yet.
const tempPrefix = ".sealinstall-"

// form is that of a snapshot's name. The time is in it, so the newest is found without asking the file system.
var form = regexp.MustCompile(`^etcd-.*-(\d{8}T\d{6}Z)\.db$`)

// Take keeps a snapshot of the member's database under a name in a directory. It gets that name when it was read back from the disk
// as etcd has sent it; then older snapshots go. What an interrupted call has left goes first.
func Take(ctx context.Context, m files.Machine, from Member, q agent.SnapshotRequest) (agent.SnapshotResult, error) {
	if err := files.CheckPath(q.Dir); err != nil {
		return agent.SnapshotResult{}, err
	}
	if !form.MatchString(q.Name) || strings.Contains(q.Name, "/") || q.Keep < 1 {
		return agent.SnapshotResult{}, refused("", "snapshot %q, of which %d are kept: want the name etcd-*-<time>.db and at least 1", q.Name, q.Keep)
	}
	res := agent.SnapshotResult{Path: path.Join(q.Dir, q.Name)}
	if err := own(m, q.Dir); err != nil {
		return res, fmt.Errorf("keep a snapshot of etcd: %w", err)
	}
	durable.Sweep(m.Path(q.Dir), tempPrefix)
	cluster, err := from.Own(ctx)
	if err != nil {
		return res, fmt.Errorf("take a snapshot of etcd: %w", err)
	}
	i := slices.IndexFunc(cluster.Members, func(o etcd.Member) bool { return o.Answers })
	if i < 0 {
		return res, errors.New("take a snapshot of etcd: the member does not say who it is")
	}
	res.Etcd, res.Revision = cluster.Members[i].Version, cluster.Members[i].Revision
	err = m.Disk.Put(res.Path, func() error {
		return keep(ctx, m, from, &res)
	})
	if err != nil {
		return res, fmt.Errorf("take a snapshot of etcd: %w", err)
	}
	res.Removed, err = prune(m, q)
	if err != nil {
		return res, fmt.Errorf("remove an older snapshot of etcd: %w", err)
	}
	return res, nil
}

func refused(remedy, format string, args ...any) error {
	return &agent.Error{Code: agent.CodeRefused, Message: fmt.Sprintf(format, args...), Remedy: remedy}
}

// own makes the directory, for root alone. A link in its place could lead to where others read.
func own(m files.Machine, dir string) error {
	name := m.Path(dir)
	info, err := os.Lstat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if err := files.MakeParents(name); err != nil {
			return err
		}
		return m.Disk.Put(dir, func() error {
			if err := os.Mkdir(name, 0o700); err != nil {
				return err
			}
			return durable.SyncDir(filepath.Dir(name))
		})
	case err != nil:
		return err
	case !info.IsDir():
		return refused("move it away", "%s is no directory", dir)
	case info.Mode().Perm() != 0o700:
		return m.Disk.Put(dir, func() error { return os.Chmod(name, 0o700) })
	}
	return nil
}

// keep receives the snapshot into a file beside its name, reads that back, and gives it its name.
func keep(ctx context.Context, m files.Machine, from Member, res *agent.SnapshotResult) error {
	temp, err := durable.Create(m.Path(res.Path), tempPrefix)
	if err != nil {
		return err
	}
	defer temp.Discard()
	sum := sha256.New()
	err = from.Snapshot(ctx, func(bytes int64) (io.Writer, error) {
		res.Bytes = bytes
		return io.MultiWriter(&steady{f: temp.File}, sum), room(temp.File, path.Dir(res.Path), bytes)
	})
	if err != nil {
		return err
	}
	want := sum.Sum(nil)
	res.SHA256 = hex.EncodeToString(want)
	temp.Staged = func() error {
		if err := readBack(ctx, temp.Name(), want); err != nil {
			return err
		}
		return m.Disk.Staged(res.Path)
	}
	return temp.Commit(0o600)
}

// steadily is how much of a snapshot waits in memory for the disk, in bytes: etcd's own writes may have to wait for all of it.
const steadily = 16 << 20

// steady writes a file to the disk as it goes.
type steady struct {
	f       *os.File
	waiting int
}

func (s *steady) Write(p []byte) (int, error) {
	n, err := s.f.Write(p)
	if s.waiting += n; err == nil && s.waiting >= steadily {
		s.waiting = 0
		err = unix.Fdatasync(int(s.f.Fd()))
	}
	return n, err
}

// room is an error if the file system of a file has no room for so many bytes.
func room(f *os.File, dir string, bytes int64) error {
	var at unix.Statfs_t
	if err := unix.Fstatfs(int(f.Fd()), &at); err != nil {
		return fmt.Errorf("how much room %s has: %w", dir, err)
	}
	free := at.Bavail * uint64(at.Bsize) //nolint:unconvert // its type differs between architectures
	if need := uint64(bytes) + logRoom; free < need {
		return refused("make room there, or put a larger disk under it", "the snapshot takes %s and etcd needs %s for its log beside it, and the disk of %s has %s free",
			humanize.IBytes(uint64(bytes)), humanize.IBytes(logRoom), dir, humanize.IBytes(free))
	}
	return nil
}

// readBack reads a file that was synced, past what the kernel remembers of it, and compares its sum.
func readBack(ctx context.Context, name string, want []byte) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	_ = unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED) // where it is not taken, the memory is compared
	sum := sha256.New()
	if _, err := io.Copy(sum, untilCut{ctx, f}); err != nil {
		return fmt.Errorf("read the snapshot back: %w", err)
	}
	if got := sum.Sum(nil); !slices.Equal(got, want) {
		return &agent.Error{
			Code: agent.CodeDigest, Message: fmt.Sprintf("the disk gave other bytes back than were written to it: sha256 %x instead of %x", got, want),
			Remedy: "look at the disk: dmesg, smartctl",
		}
	}
	return nil
}

// untilCut is a file that is read until the context ends.
type untilCut struct {
	ctx context.Context
	f   *os.File
}

func (u untilCut) Read(p []byte) (int, error) {
	if u.ctx.Err() != nil {
		return 0, context.Cause(u.ctx)
	}
	return u.f.Read(p)
}

// prune removes the older snapshots of the directory. The one that was just taken stays, whatever the clock said before.
func prune(m files.Machine, q agent.SnapshotRequest) (removed []string, err error) {
	entries, err := os.ReadDir(m.Path(q.Dir))
	if err != nil {
		return nil, err
	}
	var others []string
	for _, e := range entries {
		if e.Type().IsRegular() && e.Name() != q.Name && form.MatchString(e.Name()) {
			others = append(others, e.Name())
		}
	}
	taken := func(name string) string { return form.FindStringSubmatch(name)[1] }
	slices.SortFunc(others, func(a, b string) int { return strings.Compare(taken(b), taken(a)) })
	for _, name := range others[min(q.Keep-1, len(others)):] {
		if _, err := m.RemoveFile(path.Join(q.Dir, name)); err != nil {
			return removed, err
		}
		removed = append(removed, name)
	}
	return removed, nil
}
