package snapshots_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/sealbuild/sealbuild/ground/wait"
	"github.com/sealbuild/sealbuild/installer/agent"
	"github.com/sealbuild/sealbuild/installer/agent/agenttest"
	"github.com/sealbuild/sealbuild/installer/agent/files/filestest"
	"github.com/sealbuild/sealbuild/installer/etcd"
	"github.com/sealbuild/sealbuild/test/etcdtest"
)

// member is one of etcd that sends so many bytes as told, or as many as announced says.
type member struct {
	database  []byte
	announced int64 // 0: the truth
	fail      error // after the first half
	meanwhile func()
}

func (m *member) Own(context.Context) (etcd.Cluster, error) {
	return etcd.Cluster{Members: []etcd.Member{{ID: "1"}, {ID: "2", Answers: true, Version: "3.6.8", Revision: 42}}}, nil
}

func (m *member) Snapshot(_ context.Context, start func(bytes int64) (io.Writer, error)) error {
	sum := sha256.Sum256(m.database)
	file := append(slices.Clone(m.database), sum[:]...)
	if m.announced == 0 {
		m.announced = int64(len(file))
	}
	to, err := start(m.announced)
	if err != nil {
		return err
	}
	half := len(file) / 2
	if _, err := to.Write(file[:half]); err != nil {
		return err
	}
	if m.meanwhile != nil {
		m.meanwhile()
	}
	if m.fail != nil {
		return m.fail
	}
	_, err = to.Write(file[half:])
	return err
}

const dir = "/var/lib/sealos/data/default/etcd"

func request(stamp string) agent.SnapshotRequest {
	return agent.SnapshotRequest{Dir: dir, Name: "etcd-v1.35.0-to-v1.36.3-" + stamp + "Z.db", Keep: 2}
}

// machine is one with a member of etcd.
func machine(t *testing.T, m *member) *agenttest.Machine {
	t.Helper()
	return &agenttest.Machine{Root: filestest.Root(t), Etcd: m}
}

func names(t *testing.T, on *agenttest.Machine) []string {
	t.Helper()
	var out []string
	entries, err := os.ReadDir(on.Root + dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	for _, e := range entries {
		out = append(out, e.Name())
	}
	return out
}

func TestASnapshotIsKeptForRootAlone(t *testing.T) {
	m := &member{database: bytes.Repeat([]byte("database"), 5000)}
	on := machine(t, m)
	q := request("20261130T144716")
	got, err := on.Agent("stub").Snapshot(t.Context(), q)
	if err != nil {
		t.Fatal(err)
	}
	file, err := os.ReadFile(on.Root + dir + "/" + q.Name)
	if err != nil {
		t.Fatal(err)
	}
	sum, inside := sha256.Sum256(file), sha256.Sum256(m.database)
	want := agent.SnapshotResult{Path: dir + "/" + q.Name, Bytes: 40_032, SHA256: hex.EncodeToString(sum[:]), Etcd: "3.6.8", Revision: 42}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if !bytes.Equal(file, append(m.database, inside[:]...)) {
		t.Error("the file is not the database and its sum")
	}
	for name, want := range map[string]fs.FileMode{dir: fs.ModeDir | 0o700, dir + "/" + q.Name: 0o600} {
		if info, err := os.Stat(on.Root + name); err != nil || info.Mode() != want {
			t.Errorf("%s: mode %v, %v", name, info.Mode(), err)
		}
	}
	if err := os.Chmod(on.Root+dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := on.Agent("stub").Snapshot(t.Context(), q); err != nil {
		t.Errorf("once more: %v", err)
	}
	if info, err := os.Stat(on.Root + dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("a directory that was open stays so: %v %v", info.Mode(), err)
	}
}

func TestTheNewestSnapshotsStay(t *testing.T) {
	on := machine(t, &member{database: []byte("x")})
	filestest.Write(t, on.Root+dir+"/notes.txt", "", 0o600)
	filestest.Write(t, on.Root+dir+"/etcd-v1.34.0-to-v1.35.0-20250101T000000Z.db.copy", "", 0o600)
	last := []string{}
	for _, stamp := range []string{"20261130T144716", "20261201T080000", "20261202T080000", "20250101T000000"} { // the last clock is wrong
		got, err := on.Agent("stub").Snapshot(t.Context(), request(stamp))
		if err != nil {
			t.Fatal(err)
		}
		last = got.Removed
	}
	want := []string{
		"etcd-v1.34.0-to-v1.35.0-20250101T000000Z.db.copy", request("20250101T000000").Name, request("20261202T080000").Name, "notes.txt",
	}
	if diff := cmp.Diff(want, names(t, on)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{request("20261201T080000").Name}, last); diff != "" {
		t.Errorf("told as removed (-want +got):\n%s", diff)
	}
}

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
	m := &member{database: make([]byte, 100_000)}
	on := machine(t, m)
	m.meanwhile = cancel
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

func TestOddRequestsAreRefused(t *testing.T) {
	good := request("20261130T144716")
	for name, change := range map[string]func(q *agent.SnapshotRequest){
		"a relative directory": func(q *agent.SnapshotRequest) { q.Dir = "etcd" },
		"a name elsewhere":     func(q *agent.SnapshotRequest) { q.Name = "etcd-../../x-20261130T144716Z.db" },
		"no time":              func(q *agent.SnapshotRequest) { q.Name = "etcd-v1.35.0.db" },
		"none is kept":         func(q *agent.SnapshotRequest) { q.Keep = 0 },
	} {
		q := good
		change(&q)
		on := machine(t, &member{database: []byte("x")})
		if _, err := on.Agent("stub").Snapshot(t.Context(), q); err == nil || len(names(t, on)) > 0 {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := (&agenttest.Machine{Root: filestest.Root(t)}).Agent("stub").Snapshot(t.Context(), good); err == nil {
		t.Error("a host without etcd gave a snapshot")
	}
}

// The real etcd, and etcd's own tool as the judge.
func TestASnapshotOfARealEtcdIsKept(t *testing.T) {
	cluster := etcdtest.Start(t, 1)
	client, err := etcd.New(cluster.Members[0].Endpoint, cluster.Certs)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	err = wait.Until(ctx, 100*time.Millisecond, func(ctx context.Context) error {
		now, err := client.Cluster(ctx)
		if err != nil {
			return err
		}
		return now.CaughtUp("127.0.0.1")
	})
	if err != nil {
		t.Fatal(err)
	}
	cluster.Members[0].Put(cluster.Certs, "key", "value")
	on := &agenttest.Machine{Root: filestest.Root(t), Etcd: client}
	got, err := on.Agent("stub").Snapshot(ctx, request("20261130T144716"))
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(ctx, etcdtest.Program(t, "etcdutl"), "snapshot", "status", on.Root+got.Path, "-w", "json").Output()
	if err != nil {
		t.Fatal(err)
	}
	var status struct {
		Revision  int64 `json:"revision"`
		TotalSize int64 `json:"totalSize"`
	}
	if err := json.Unmarshal(out, &status); err != nil {
		t.Fatal(err)
	}
	if status.Revision < got.Revision || got.Etcd == "" || status.TotalSize > got.Bytes {
		t.Errorf("etcdutl says %s, and it was told as %+v", out, got)
	}
}
