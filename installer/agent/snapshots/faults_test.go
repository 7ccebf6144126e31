package snapshots_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/sealbuild/sealbuild/ground/wait"
	"github.com/sealbuild/sealbuild/installer/agent"
	"github.com/sealbuild/sealbuild/installer/agent/agenttest"
	"github.com/sealbuild/sealbuild/installer/agent/files/filestest"
)

func TestABadSnapshotLeavesWhatWasThere(t *testing.T) {
	broken := errors.New("the snapshot broke off")
	for name, c := range map[string]struct {
		member *member
		damage func(t *testing.T, on *agenttest.Machine)
		want   string
	}{
		"the member breaks off": {&member{database: []byte("database"), fail: broken}, nil, "the snapshot broke off"},
		"a disk without room":   {&member{database: []byte("database"), announced: 1 << 60}, nil, "the snapshot takes 1.0 EiB and etcd needs 64 MiB for its log beside it, and the disk of " + dir + " has "},
		"a link to elsewhere":   {&member{database: []byte("database")}, linked, "is no directory (move it away)"},
		"a file in its place":   {&member{database: []byte("database")}, func(t *testing.T, on *agenttest.Machine) { replaced(t, on, "") }, "is no directory (move it away)"},
		"a file above":          {&member{database: []byte("database")}, func(t *testing.T, on *agenttest.Machine) { replaced(t, on, "/..") }, "not a directory"},
		"a directory has its name": {&member{database: []byte("database")}, func(t *testing.T, on *agenttest.Machine) {
			filestest.Write(t, on.Root+dir+"/"+request("20261201T080000").Name+"/x", "", 0o600)
		}, "file exists"},
	} {
		t.Run(name, func(t *testing.T) {
			on := machine(t, &member{database: []byte("older")})
			if _, err := on.Agent("stub").Snapshot(t.Context(), request("20261130T144716")); err != nil {
				t.Fatal(err)
			}
			if c.damage != nil {
				c.damage(t, on)
			}
			before := filestest.Below(t, on.Root, "/")
			on.Etcd = c.member
			if _, err := on.Agent("stub").Snapshot(t.Context(), request("20261201T080000")); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want %q", err, c.want)
			}
			if diff := cmp.Diff(before, filestest.Below(t, on.Root, "/")); diff != "" {
				t.Errorf("(-before +after):\n%s", diff)
			}
		})
	}
}

// linked moves the directory elsewhere and leaves a link.
func linked(t *testing.T, on *agenttest.Machine) {
	if err := errors.Join(os.Rename(on.Root+dir, on.Root+"/elsewhere"), os.Symlink(on.Root+"/elsewhere", on.Root+dir)); err != nil {
		t.Fatal(err)
	}
}

// replaced puts a file where a directory is.
func replaced(t *testing.T, on *agenttest.Machine, above string) {
	at := filepath.Clean(on.Root + dir + above)
	if err := os.RemoveAll(at); err != nil {
		t.Fatal(err)
	}
	filestest.Write(t, at, "", 0o600)
}

func TestALinkWithTheNameOfASnapshotIsReplacedAndNotFollowed(t *testing.T) {
	on := machine(t, &member{database: []byte("database")})
	filestest.Write(t, on.Root+"/precious", "precious", 0o644)
	q := request("20261130T144716")
	if err := errors.Join(os.MkdirAll(on.Root+dir, 0o700), os.Symlink(on.Root+"/precious", on.Root+dir+"/"+q.Name)); err != nil {
		t.Fatal(err)
	}
	if _, err := on.Agent("stub").Snapshot(t.Context(), q); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(on.Root + "/precious")
	if info, lerr := os.Lstat(on.Root + dir + "/" + q.Name); string(text) != "precious" || err != nil || lerr != nil || !info.Mode().IsRegular() {
		t.Errorf("the link was followed: %q, %v, %v", text, err, lerr)
	}
}

// limited makes every write of this process behind so many bytes of a file fail, as on a full disk.
func limited(t *testing.T, bytes uint64, fn func()) {
	t.Helper()
	var old unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_FSIZE, &old); err != nil {
		t.Fatal(err)
	}
	if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: bytes, Max: old.Max}); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &old); err != nil {
			t.Fatal(err)
		}
	}()
	fn()
}

func TestADiskThatFillsUpMeanwhileLeavesNoSnapshot(t *testing.T) {
	on := machine(t, &member{database: make([]byte, 100_000)})
	limited(t, 70_000, func() {
		if _, err := on.Agent("stub").Snapshot(t.Context(), request("20261130T144716")); err == nil || !strings.Contains(err.Error(), "file too large") {
			t.Errorf("error %v", err)
		}
	})
	if left := names(t, on); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

func TestADiskThatGivesOtherBytesBackIsNotBelieved(t *testing.T) {
	m := &member{database: []byte("database")}
	on := machine(t, m)
	m.meanwhile = func() { // what was written so far changes below the file system
		for _, name := range names(t, on) {
			f, err := os.OpenFile(on.Root+dir+"/"+name, os.O_WRONLY, 0)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := f.WriteAt([]byte("D"), 0); err != nil {
				t.Error(err)
			}
			f.Close()
		}
	}
	if _, err := on.Agent("stub").Snapshot(t.Context(), request("20261130T144716")); err == nil || !strings.Contains(err.Error(), "the disk gave other bytes back") {
		t.Errorf("error %v", err)
	}
	if left := names(t, on); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

var errKilled = errors.New("killed")

// A process that is killed leaves its temporary file: it does not get to removing it.
func TestKilledAtAnyChangeNothingButWholeSnapshotsHaveTheirNames(t *testing.T) {
	old, fresh := request("20261130T144716"), request("20261201T080000")
	for at := 0; ; at++ {
		on := machine(t, &member{database: []byte("older")})
		for _, q := range []agent.SnapshotRequest{request("20261129T000000"), old} {
			if _, err := on.Agent("stub").Snapshot(t.Context(), q); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.Chmod(on.Root+dir, 0o755); err != nil { // one change more
			t.Fatal(err)
		}
		on.Etcd = &member{database: []byte("newer")}
		n, died := 0, false
		on.Change = func(string, agenttest.Moment) error {
			if n++; n > at {
				died = true
				return errKilled
			}
			return nil
		}
		_, err := on.Agent("stub").Snapshot(t.Context(), fresh)
		on.Change = nil
		if died != (err != nil) {
			t.Fatalf("at change %d: %v", at, err)
		}
		// What a killed process cannot remove.
		filestest.Write(t, on.Root+dir+"/.sealinstall-"+fresh.Name+".123", "half", 0o600)
		filestest.Write(t, on.Root+dir+"/.sealinstall-"+request("20261130T200000").Name+".123", "half", 0o600)
		for _, name := range names(t, on) {
			data, err := os.ReadFile(on.Root + dir + "/" + name)
			if err != nil {
				t.Fatal(err)
			}
			database := data[:max(0, len(data)-sha256.Size)]
			if sum := sha256.Sum256(database); !strings.HasPrefix(name, ".") && !bytes.Equal(sum[:], data[len(database):]) {
				t.Errorf("at change %d: %s holds %q", at, name, data)
			}
		}
		if _, err := on.Agent("stub").Snapshot(t.Context(), fresh); err != nil {
			t.Errorf("at change %d: the next one: %v", at, err)
		}
		if diff := cmp.Diff([]string{old.Name, fresh.Name}, names(t, on)); diff != "" {
			t.Errorf("at change %d: after the next one (-want +got):\n%s", at, diff)
		}
		if !died {
			if at < 5 {
				t.Errorf("only %d changes were seen", at)
			}
			return
		}
	}
}

func TestASnapshotThatIsNotWantedAnyMoreEnds(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	m := &member{database: make([]byte, 100_000), meanwhile: cancel, hangs: true}
	on := machine(t, m)
	if _, err := on.Agent("stub").Snapshot(ctx, request("20261130T144716")); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	// The verb ends behind the caller's back.
	ctx, cancel = context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	err := wait.Until(ctx, 10*time.Millisecond, func(context.Context) error {
		if left := names(t, on); len(left) > 0 {
			return fmt.Errorf("left: %v", left)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}
