package members

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/sealbuild/sealbuild/installer/agent"
	"github.com/sealbuild/sealbuild/installer/etcd"
	"github.com/sealbuild/sealbuild/installer/fleet"
)

// What an upgrade asks of etcd. Nothing here waits for a better answer: that is for whoever knows how long it may take.
// Where the operator has an etcd of their own (see [site.Site.EtcdSettings]), there is nothing to ask.

// Kept is how many snapshots stay on a master: the one of this upgrade, and the one before it.
const Kept = 2

// Upgrade is which one a snapshot was taken for. It is in the snapshot's name.
type Upgrade struct {
	From, To string    // versions of Kubernetes: "v1.35.0"
	At       time.Time // the same for all masters
}

// Name is the name of the file of a snapshot.
func (u Upgrade) Name() string {
	return fmt.Sprintf("etcd-%s-to-%s-%s.db", u.From, u.To, u.At.UTC().Format("20060102T150405Z"))
}

// Saved is a snapshot that lies on a master.
type Saved = agent.SnapshotResult

// Save keeps a snapshot of etcd in a directory of a master, as the member there sends it; nothing of it leaves the host. The
// file is verified: it has the sha256 that etcd says, and was read back from the disk. An error leaves no file under its name;
// what an interrupted call has left goes with the next one. Of all snapshots in the directory the newest stay, see [Kept].
func (e Members) Save(ctx context.Context, t *fleet.Target, dir string, u Upgrade) (Saved, error) {
	return t.Agent.Snapshot(ctx, agent.SnapshotRequest{Dir: dir, Name: u.Name(), Keep: Kept})
}

// CaughtUp is an error, with the cause, unless the member of a master answers, has a vote, has a leader, is at most a few entries
// of the log behind that, and no alarm is raised. That member itself is asked.
func (e Members) CaughtUp(ctx context.Context, t *fleet.Target) error {
	c, err := e.ask(ctx, t, "members")
	if err != nil {
		return err
	}
	return c.CaughtUp(t.IP.String())
}

// GiveUpLeadership gives the leadership to a member that is caught up, if the member of a master has it. It returns when that one
// says that it leads and the member of t follows it. A single member keeps the leadership.
func (e Members) GiveUpLeadership(ctx context.Context, t *fleet.Target) error {
	if _, err := e.ask(ctx, t, "yield"); err != nil {
		return fmt.Errorf("give etcd's leadership to another master: %w", err)
	}
	return nil
}

// DatabaseSize is how large the file of etcd's database is on a master, in bytes. A snapshot is as large. kubeadm's copy of the
// data has the log beside it, which is up to 400 MB more.
func (e Members) DatabaseSize(ctx context.Context, t *fleet.Target) (int64, error) {
	c, err := e.ask(ctx, t, "own")
	if err != nil {
		return 0, err
	}
	m, ok := c.Of(t.IP.String())
	if !ok || m.Size == 0 {
		return 0, fmt.Errorf("etcd on %s does not say how large its database is", t.IP)
	}
	return m.Size, nil
}

// Versions are those of etcd.
type Versions struct {
	Cluster string            // a minor that all members have had: "3.6.0"
	Members map[string]string // of those that answer, by address of their host: "3.6.8"
}

// Versions asks one master after the other for the versions of the cluster and its members, until one tells.
func (e Members) Versions(ctx context.Context) (Versions, error) {
	c, err := e.askAny(ctx, e.ControlPlanes(), "members")
	if err != nil {
		return Versions{}, err
	}
	v := Versions{Cluster: c.Version, Members: map[string]string{}}
	for _, m := range c.Members {
		if m.Answers {
			v.Members[m.Host()] = m.Version
		}
	}
	return v, nil
}

// ClusterVersion is the version of etcd's cluster, by which [CanRunOlder] judges.
func (e Members) ClusterVersion(ctx context.Context) (string, error) {
	v, err := e.Versions(ctx)
	if err == nil && v.Cluster == "" {
		err = errors.New("etcd does not tell the version of its cluster")
	}
	return v.Cluster, err
}

// CanRunOlder is an error, with the reason, unless an etcd of an older version can run with the data of a cluster of that version.
// A tag of etcd's image will do for the older version.
func CanRunOlder(clusterVersion, olderServerVersion string) error {
	return etcd.CanRunOlder(clusterVersion, olderServerVersion)
}
