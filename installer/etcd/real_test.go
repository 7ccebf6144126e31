package etcd

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sealbuild/sealbuild/ground/wait"
	"github.com/sealbuild/sealbuild/test/etcdtest"
)

// A real etcd, made from its module, answers these tests.

// settled waits until every member that runs follows a leader.
func settled(t *testing.T, c *etcdtest.Cluster, members ...*etcdtest.Member) {
	t.Helper()
	until(t, func(ctx context.Context) error {
		for _, m := range members {
			now, err := client(t, m.Endpoint, c.Certs).Cluster(ctx)
			if err != nil {
				return err
			}
			if err := now.CaughtUp(m.IP); err != nil {
				return err
			}
		}
		return nil
	})
}

func until(t *testing.T, try func(ctx context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := wait.Until(ctx, 100*time.Millisecond, try); err != nil {
		t.Fatal(err)
	}
}

func put(t testing.TB, c *Client, key string, value []byte) {
	t.Helper()
	q, err := json.Marshal(map[string]string{"key": base64.StdEncoding.EncodeToString([]byte(key)), "value": base64.StdEncoding.EncodeToString(value)})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.post(t.Context(), c.endpoint, "/v3/kv/put", string(q), requestTimeout); err != nil {
		t.Fatal(err)
	}
}

// etcdutl runs etcd's own tool on files.
func etcdutl(t *testing.T, args ...string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), etcdtest.Program(t, "etcdutl"), args...).CombinedOutput()
	if err != nil {
		t.Fatalf("etcdutl %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

func TestEtcdsOwnToolTakesTheSnapshot(t *testing.T) {
	cluster := etcdtest.Start(t, 1)
	settled(t, cluster, cluster.Members...)
	c := client(t, cluster.Members[0].Endpoint, cluster.Certs)
	for i := range 30 { // more than one piece
		put(t, c, fmt.Sprintf("key-%d", i), bytes.Repeat([]byte{byte(i)}, 10_000))
	}
	var file bytes.Buffer
	var told int64
	err := c.Snapshot(t.Context(), func(bytes int64) (io.Writer, error) {
		told = bytes
		return &file, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if told != int64(file.Len()) || told <= 300_000 {
		t.Errorf("etcd announced %d bytes, and %d came", told, file.Len())
	}
	end := file.Len() - sha256.Size
	if sum := sha256.Sum256(file.Bytes()[:end]); !bytes.Equal(sum[:], file.Bytes()[end:]) {
		t.Error("the sum at the end is not that of the database")
	}
	name := filepath.Join(t.TempDir(), "etcd.db")
	if err := os.WriteFile(name, file.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	own, err := c.Own(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var status struct {
		Revision int64 `json:"revision"`
	}
	if err := json.Unmarshal([]byte(etcdutl(t, "snapshot", "status", name, "-w", "json")), &status); err != nil {
		t.Fatal(err)
	}
	if m := own.Members[0]; status.Revision != m.Revision || m.Revision != 31 || m.Size != int64(end) {
		t.Errorf("etcdutl says revision %d, the member revision %d and %d bytes of %d", status.Revision, m.Revision, m.Size, end)
	}
	etcdutl(t, "snapshot", "restore", name, "--data-dir", filepath.Join(t.TempDir(), "data")) // it checks the sum
}

func TestLeadershipGoesToAnotherMemberAndIsConfirmed(t *testing.T) {
	cluster := etcdtest.Start(t, 3)
	settled(t, cluster, cluster.Members...)
	for range 3 { // whoever leads gives it away
		var led string
		for _, m := range cluster.Members {
			before, err := client(t, m.Endpoint, cluster.Certs).Cluster(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			after, err := client(t, m.Endpoint, cluster.Certs).Yield(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			was, is := leaderOf(before), leaderOf(after)
			if was == m.IP {
				led = m.IP
			}
			if is == m.IP || is == "" || was != m.IP && is != was {
				t.Errorf("%s gives it up: %s led before, and %s after", m.IP, was, is)
			}
			if err := after.CaughtUp(m.IP); err != nil {
				t.Error(err)
			}
		}
		if led == "" {
			t.Error("nobody led")
		}
	}
}

func leaderOf(c Cluster) string {
	for _, m := range c.Members {
		if m.Leads {
			return m.Host()
		}
	}
	return ""
}

func TestASingleMemberKeepsTheLeadership(t *testing.T) {
	cluster := etcdtest.Start(t, 1)
	settled(t, cluster, cluster.Members...)
	after, err := client(t, cluster.Members[0].Endpoint, cluster.Certs).Yield(t.Context())
	if err != nil || leaderOf(after) != "127.0.0.1" {
		t.Errorf("%q leads: %v", leaderOf(after), err)
	}
}

func TestLeadershipPassesByAMemberThatHangs(t *testing.T) {
	cluster := etcdtest.Start(t, 3)
	settled(t, cluster, cluster.Members...)
	now, err := client(t, cluster.Members[0].Endpoint, cluster.Certs).Cluster(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var leader *etcdtest.Member
	var others []*etcdtest.Member
	for _, m := range cluster.Members {
		if m.IP == leaderOf(now) {
			leader = m
		} else {
			others = append(others, m)
		}
	}
	others[0].Pause()
	defer others[0].Continue()
	after, err := client(t, leader.Endpoint, cluster.Certs).Yield(t.Context())
	if err != nil || leaderOf(after) != others[1].IP {
		t.Errorf("%q leads, want the member that does not hang, %s: %v", leaderOf(after), others[1].IP, err)
	}
	if err := after.CaughtUp(others[0].IP); err == nil || !strings.Contains(err.Error(), "no answer") {
		t.Errorf("of the member that hangs: %v", err)
	}
}

func TestAMemberThatWasAwayHasCaughtUpOnlyWhenItHasTheLog(t *testing.T) {
	cluster := etcdtest.Start(t, 3)
	settled(t, cluster, cluster.Members...)
	last := cluster.Members[2]
	if _, err := client(t, last.Endpoint, cluster.Certs).Yield(t.Context()); err != nil {
		t.Fatal(err)
	}
	last.Kill()
	c := client(t, cluster.Members[0].Endpoint, cluster.Certs)
	for i := range 2 * maxBehind {
		put(t, c, "key", []byte{byte(i)})
	}
	now, err := c.Cluster(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := now.CaughtUp(last.IP); err == nil || !strings.Contains(err.Error(), "does not answer") {
		t.Errorf("of a member that is down: %v", err)
	}
	last.Run()
	settled(t, cluster, last)
	after, err := client(t, last.Endpoint, cluster.Certs).Cluster(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if m, _ := after.Of(last.IP); m.Applied+maxBehind < 2*maxBehind {
		t.Errorf("it counts as caught up at entry %d", m.Applied)
	}
}

func TestTheClusterTellsTheVersionThatAllMembersHaveHad(t *testing.T) {
	cluster := etcdtest.Start(t, 3)
	settled(t, cluster, cluster.Members...)
	c := client(t, cluster.Members[0].Endpoint, cluster.Certs)
	var now Cluster
	until(t, func(ctx context.Context) (err error) { // it is decided some seconds after the first election
		now, err = c.Cluster(ctx)
		if err == nil && !strings.HasPrefix(now.Version, "3.6") {
			err = fmt.Errorf("version of the cluster %q", now.Version)
		}
		return err
	})
	for older, want := range map[string]bool{"3.6.6-0": true, "3.6.0": true, "3.5.21-0": false} {
		if err := CanRunOlder(now.Version, older); (err == nil) != want {
			t.Errorf("%s in a cluster of %s: %v", older, now.Version, err)
		}
	}
}

// What an upgrade does to etcd, member by member, and back: from the version that a site has to the one of today, with data written
// on both.
func TestMembersGoToANewerPatchAndBackWithWhatWasWrittenSince(t *testing.T) {
	before, now := etcdtest.Before(t, "etcd"), etcdtest.Program(t, "etcd")
	cluster := etcdtest.Start(t, 3)
	for _, m := range cluster.Members {
		m.Kill()
		m.Use(before)
	}
	for _, m := range cluster.Members {
		m.Run()
	}
	settled(t, cluster, cluster.Members...)
	cluster.Members[0].Put(cluster.Certs, "before", "value")
	var had string
	for _, program := range []string{now, before} {
		for i, m := range cluster.Members {
			c := client(t, m.Endpoint, cluster.Certs)
			state, err := c.Own(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			old, _ := state.Of(m.IP)
			if had == "" {
				had = old.Version
			}
			if after, err := c.Yield(t.Context()); err != nil || leaderOf(after) == m.IP {
				t.Fatalf("%s gives up the leadership: %v", m.IP, err)
			}
			if err := c.Snapshot(t.Context(), func(int64) (io.Writer, error) { return io.Discard, nil }); err != nil {
				t.Errorf("a snapshot of %s: %v", old.Version, err)
			}
			m.Kill()
			m.Use(program)
			m.Run()
			settled(t, cluster, m)
			m.Put(cluster.Certs, fmt.Sprintf("%s-%d", filepath.Base(filepath.Dir(program)), i), "value")
		}
		state, err := client(t, cluster.Members[0].Endpoint, cluster.Certs).Cluster(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if err := CanRunOlder(state.Version, had); err != nil {
			t.Errorf("etcd %s is to run again, and: %v", had, err)
		}
		for _, m := range state.Members {
			if (m.Version == had) != (program == before) {
				t.Errorf("the member of %s is %s", m.Host(), m.Version)
			}
		}
	}
	for _, key := range []string{"before", filepath.Base(filepath.Dir(now)) + "-1", filepath.Base(filepath.Dir(before)) + "-2"} {
		if got := cluster.Members[1].Get(cluster.Certs, key); got != "value" {
			t.Errorf("%s is %q", key, got)
		}
	}
}
