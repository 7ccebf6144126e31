package stepstest

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sealbuild/sealbuild/installer/etcd"
)

// What an upgrade asks of etcd: versions, who leads, who has caught up, and the data.

// etcdVersion is that of the etcd of a machine.
func (m *Machine) etcdVersion() string {
	version, _, _ := strings.Cut(m.version("etcd"), "-")
	if minor(version) < 0 {
		return "3.6.8" // the manifest names none
	}
	return version
}

// tooOld tells whether the etcd of a machine is of a minor that cannot run with the data of the cluster any more.
func (m *Machine) tooOld() bool { return minor(m.etcdVersion()) < m.site.kube.etcdMinor }

// raise raises the version of etcd's cluster once every voter has a newer minor.
func (s *Site) raise() {
	lowest := 1 << 10
	for ip, is := range s.kube.members {
		if !is.voter {
			continue
		}
		m := s.machine(ip)
		if !s.runs(m) {
			return
		}
		lowest = min(lowest, minor(m.etcdVersion()))
	}
	s.kube.etcdMinor = max(s.kube.etcdMinor, lowest)
}

// clusterVersion is what a member says of the cluster.
func (s *Site) clusterVersion() string {
	if s.kube.etcdMinor == 0 {
		return "not_decided"
	}
	return fmt.Sprintf("3.%d.0", s.kube.etcdMinor)
}

// yield gives the leadership to another member, if that of m has it.
func (s members) yield(m *Machine) error {
	voters, _, _ := voters(s.Site)
	if !s.led() || s.kube.leader != m.IP || voters == 1 {
		return nil
	}
	for _, ip := range slices.Sorted(maps.Keys(s.kube.members)) {
		if other := s.machine(ip); ip != m.IP && s.kube.members[ip].voter && s.steady(other) {
			s.kube.leader = ip
			return nil
		}
	}
	return errors.New("no other member can lead")
}

// steady tells whether a member runs for long enough that it has what the others have.
func (s *Site) steady(m *Machine) bool { return s.runs(m) && time.Since(m.steady) >= s.Pace.Steady }

// committed is how long the log of etcd is.
const committed = 100_000

// tell adds what a member that runs tells of itself.
func (s members) tell(o *etcd.Member, m *Machine, led bool) {
	o.Version, o.Size, o.InUse, o.Quota, o.Alarms = m.etcdVersion(), s.kube.size, s.kube.size/2, etcd.DefaultQuota, s.kube.alarms
	o.Committed, o.Applied, o.Revision = committed, committed, int64(1+len(s.kube.values))
	if !s.steady(m) {
		o.Committed, o.Applied = 1, 1
	}
	if led {
		o.Leads, o.Follows = s.kube.leader == m.IP, strconv.Itoa(s.kube.members[s.kube.leader].id)
	}
}

// ownState is what a member tells when it alone is asked.
func ownState(s members, m *Machine) etcd.Cluster {
	c := s.etcdCluster()
	c.Version = ""
	for i := range c.Members {
		if o := &c.Members[i]; !o.At(m.IP) {
			*o = etcd.Member{ID: o.ID, Name: o.Name, PeerURLs: o.PeerURLs, ClientURLs: o.ClientURLs, Learner: o.Learner}
		}
	}
	return c
}

// database is a machine's member of etcd, for those who take snapshots.
type database struct{ *Machine }

var errEtcdDown = errors.New("dial tcp 127.0.0.1:2379: connect: connection refused")

// Own is what the member tells.
func (d database) Own(context.Context) (etcd.Cluster, error) {
	defer d.site.locked()()
	if d.site.kube == nil || !d.site.runs(d.Machine) {
		return etcd.Cluster{}, errEtcdDown
	}
	return ownState(members{d.site}, d.Machine), nil
}

// Snapshot sends the values that were put into etcd, and their sha256.
func (d database) Snapshot(_ context.Context, start func(bytes int64) (io.Writer, error)) error {
	data, err := d.values()
	if err != nil {
		return err
	}
	to, err := start(int64(len(data)))
	if err != nil {
		return err
	}
	_, err = to.Write(data)
	return err
}

func (d database) values() ([]byte, error) {
	defer d.site.locked()()
	if d.site.kube == nil || !d.site.runs(d.Machine) {
		return nil, errEtcdDown
	}
	data, err := json.Marshal(d.site.kube.values)
	sum := sha256.Sum256(data)
	return append(data, sum[:]...), err
}
