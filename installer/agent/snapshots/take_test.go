package snapshots_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

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
	hangs     bool // after the first half, until nobody waits for it
}

func (m *member) Own(context.Context) (etcd.Cluster, error) {
	return etcd.Cluster{Members: []etcd.Member{{ID: "1"}, {ID: "2", Answers: true, Version: "3.6.8", Revision: 42}}}, nil
}

func (m *member) Snapshot(ctx context.Context, start func(bytes int64) (io.Writer, error)) error {
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
	if m.hangs {
		<-ctx.Done()
		return context.Cause(ctx)
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
