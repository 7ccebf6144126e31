package stepstest

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path"
	"regexp"
	"slices"
	"strconv"

	"github.com/sealbuild/sealbuild/installer/etcd"
)

// member is a member of etcd.
type member struct {
	id      int
	voter   bool // else a learner
	started bool // it has been up once: it has a name, and cannot begin again without its data
}

const etcdDir = "/var/lib/etcd"

var (
	dataDirForm = regexp.MustCompile(`dataDir: (\S+)`)
	hostPath    = regexp.MustCompile(`(?m)^\s+path: (\S+)$`)
)

// dataDir is the directory of etcd's data on a machine: the one in the manifest, or kubeadm's default.
func (m *Machine) dataDir() string {
	if found := hostPath.FindStringSubmatch(m.tree.text(manifest("etcd"))); found != nil {
		return found[1]
	}
	return etcdDir
}

// runs tells whether a machine's member of etcd runs, with the data that it had.
func (s *Site) runs(m *Machine) bool {
	if m == nil || s.kube == nil || !m.kubelet() || m.ended["etcd"] != "" || !m.tree.has(manifest("etcd")) {
		return false
	}
	is, ok := s.kube.members[m.IP]
	return ok && is.started && m.tree.text(path.Join(m.dataDir(), "member/id")) == s.kube.name(is)
}

// name is different for all members of all clusters.
func (k *kube) name(is member) string { return fmt.Sprintf("%d of %.40s\n", is.id, k.ca) }

// quorum tells whether a majority of the voters runs.
func (s *Site) quorum() bool {
	voters, up := s.voters()
	return up > voters/2
}

func (s *Site) voters() (voters, up int) {
	for ip, is := range s.kube.members {
		if is.voter {
			voters++
			if s.runs(s.machine(ip)) {
				up++
			}
		}
	}
	return voters, up
}

// lost tells whether no machine has the data of a voter any more.
func (s *Site) lost() bool {
	for ip, is := range s.kube.members {
		if m := s.machine(ip); is.voter && m != nil && m.tree.text(path.Join(m.dataDir(), "member/id")) == s.kube.name(is) {
			return false
		}
	}
	return true
}

// startEtcd does what etcd does once its manifest is there. A member that ran before does not begin again without its data.
func (s *Site) startEtcd(m *Machine) error {
	is, ok := s.kube.members[m.IP]
	file := path.Join(m.dataDir(), "member/id")
	switch has := m.tree.text(file); {
	case !ok:
		return errors.New("etcd: the member is not in the cluster")
	case has == s.kube.name(is):
		return nil
	case has != "":
		return errors.New("etcd: the data are another member's")
	case is.started:
		return fmt.Errorf("etcd: member %d has already been bootstrapped; kubeadm waits for it and gives up", is.id)
	}
	if err := m.tree.put(file, s.kube.name(is)); err != nil {
		return err
	}
	is.started = true
	s.kube.members[m.IP] = is
	return nil
}

// wipe empties a directory, as kubeadm reset does.
func (t tree) wipe(dir string) error {
	entries, err := os.ReadDir(t.path(dir))
	if err != nil {
		return nil // it is not there
	}
	var errs []error
	for _, e := range entries {
		errs = append(errs, os.RemoveAll(t.path(path.Join(dir, e.Name()))))
	}
	return errors.Join(errs...)
}

func (t tree) empty(dir string) bool {
	entries, err := os.ReadDir(t.path(dir))
	return err != nil || len(entries) == 0
}

// askEtcd is the stub's client of etcd, on one machine.
func (s *Site) askEtcd(m *Machine, args []string) (string, error) {
	if s.kube == nil || !s.runs(m) {
		return "", errors.New("dial tcp 127.0.0.1:2379: connect: connection refused")
	}
	switch args[0] {
	case "own":
		b, err := json.Marshal(ownState(s, m))
		return string(b), err
	case "members":
	case "remove":
		i := slices.Index(args, "--peer")
		if err := s.removeMember(m, args[i+1]); err != nil {
			return "", err
		}
	default:
		return "", fmt.Errorf("not simulated: sealinstall etcd %v", args)
	}
	b, err := json.Marshal(s.etcdCluster())
	return string(b), err
}

func (s *Site) removeMember(at *Machine, ip string) error {
	is, ok := s.kube.members[ip]
	voters, up := s.voters()
	other := s.machine(ip)
	switch {
	case !s.quorum():
		return errors.New("etcdserver: request timed out")
	case !ok:
		return nil
	case is.voter && s.runs(other) && up-1 < 1+(voters-1)/2 && voters > 1:
		return errors.New("etcdserver: unhealthy cluster")
	case voters == 1 && is.voter:
		return fmt.Errorf("etcdserver: %s is the last member", at.IP)
	}
	delete(s.kube.members, ip)
	return nil
}

func (s *Site) etcdCluster() etcd.Cluster {
	c := etcd.Cluster{Leader: s.quorum()}
	for _, ip := range slices.Sorted(maps.Keys(s.kube.members)) {
		is := s.kube.members[ip]
		m := etcd.Member{ID: strconv.Itoa(is.id), PeerURLs: []string{"https://" + ip + ":2380"}, Learner: !is.voter}
		if is.started {
			m.Name, m.ClientURLs = "of "+ip, []string{"https://" + ip + ":2379"}
			if m.Answers = s.runs(s.machine(ip)); !m.Answers {
				m.Error = "connection refused"
			}
		}
		c.Members = append(c.Members, m)
	}
	return c
}

// ownState is what a member tells of itself. Members elect the first one that runs.
func ownState(s *Site, m *Machine) etcd.Cluster {
	c := s.etcdCluster()
	for i := range c.Members {
		o := &c.Members[i]
		o.Answers, o.Error = false, ""
		if !o.At(m.IP) {
			continue
		}
		o.Answers, o.Version, o.Size, o.InUse, o.Quota, o.Alarms = true, "3.6.8", s.kube.size, s.kube.size/2, etcd.DefaultQuota, s.kube.alarms
		leader := slices.IndexFunc(s.machines, s.runs)
		o.Leads = c.Leader && s.machines[leader] == m
	}
	return c
}

// Fill gives etcd's database a size in bytes, and raises alarms.
func (s *Site) Fill(size int64, alarms ...string) {
	defer s.locked()()
	s.kube.size, s.kube.alarms = size, alarms
}

// AddMember adds a member of etcd that no machine has, as a host leaves it that died.
func (s *Site) AddMember(ip string) {
	defer s.locked()()
	s.kube.added++
	s.kube.members[ip] = member{id: s.kube.added, voter: true, started: true}
}

// Put puts a value into etcd.
func (s *Site) Put(key, value string) error {
	defer s.locked()()
	if s.kube == nil || !s.quorum() {
		return errors.New("etcd has no majority")
	}
	s.kube.values[key] = value
	return nil
}

// Get reads a value out of etcd.
func (s *Site) Get(key string) string {
	defer s.locked()()
	if s.kube == nil || !s.quorum() {
		return ""
	}
	return s.kube.values[key]
}
