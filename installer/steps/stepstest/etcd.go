package stepstest

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

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
	if m == nil || s.kube == nil {
		return false
	}
	runs := recall(s, "runs etcd", m, func() bool { return m.booted(etcdUp) && m.runsPod("etcd") && m.holdsMember() && !m.tooOld() })
	switch {
	case !runs:
		m.steady = time.Time{}
	case m.steady.IsZero():
		m.steady = time.Now()
	}
	return runs
}

// holdsMember tells whether the data on a machine are those of its member.
func (m *Machine) holdsMember() bool {
	k := m.site.kube
	is, ok := k.members[m.IP]
	return ok && is.started && m.tree.text(path.Join(m.dataDir(), "member/id")) == k.name(is)
}

// name is different for all members of all clusters.
func (k *kube) name(is member) string { return fmt.Sprintf("%d of %.40s\n", is.id, k.ca) }

// quorum tells whether a majority of the voters runs.
func (s *Site) quorum() bool {
	voters, up, _ := voters(s)
	return up > voters/2
}

// voters counts the members with a vote, those of them that run, and those that have done so for long enough.
func voters(s *Site) (voters, up, steady int) {
	for ip, is := range s.kube.members {
		if !is.voter {
			continue
		}
		voters++
		if m := s.machine(ip); s.runs(m) {
			up++
			if time.Since(m.steady) >= s.Pace.Steady {
				steady++
			}
		}
	}
	return voters, up, steady
}

// led tells whether etcd has a leader. Without one it neither writes nor reads. If the leader goes, another one is chosen
// after a while, out of a majority.
func (s *Site) led() bool {
	k := s.kube
	if !s.quorum() {
		k.leader = ""
		return false
	}
	if !k.members[k.leader].voter || !s.runs(s.machine(k.leader)) {
		for _, ip := range slices.Sorted(maps.Keys(k.members)) {
			if k.members[ip].voter && s.runs(s.machine(ip)) {
				k.leader, k.elected = ip, time.Now().Add(s.Pace.Elect)
				break
			}
		}
	}
	if time.Now().Before(k.elected) {
		return false
	}
	raise(s)
	return true
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

// startEtcd does what etcd does once it is started on a machine, and gives its last words if it ends. A member that is new
// to the cluster looks at what its manifest says of the members: these must be those of the cluster. One that ran before does
// not begin again without its data, and one that was taken out does not run again with them.
func (s *Site) startEtcd(m *Machine) (words string) {
	if s.kube == nil {
		return ""
	}
	is, ok := s.kube.members[m.IP]
	file := path.Join(m.dataDir(), "member/id")
	first := initialCluster.FindStringSubmatch(m.tree.text(manifest("etcd")))
	switch has := m.tree.text(file); {
	case ok && has == s.kube.name(is) && m.tooOld():
		return "invalid downgrade; server version is lower than determined cluster version"
	case ok && has == s.kube.name(is):
		return ""
	case has != "":
		return "the member has been permanently removed from the cluster"
	case !ok:
		return "error validating peerURLs: no match found for existing member"
	case is.started:
		return fmt.Sprintf("member %x has already been bootstrapped", is.id)
	case !m.booted(etcdUp) || len(s.kube.members) > 1 && !s.quorum():
		return "could not get cluster response: getting cluster info from remote peers failed"
	case first != nil && first[1] != s.kube.memberList():
		return "error validating peerURLs: member count is unequal"
	}
	if err := m.tree.put(file, s.kube.name(is)); err != nil {
		return err.Error()
	}
	is.started = true
	s.kube.members[m.IP] = is
	return ""
}

var initialCluster = regexp.MustCompile(`--initial-cluster=(\S*)`)

// memberList is what etcd's manifest says of the members.
func (k *kube) memberList() string { return strings.Join(slices.Sorted(maps.Keys(k.members)), ",") }

// members are those of etcd, when somebody asks for a change of them. The site is locked.
type members struct{ *Site }

// askEtcd is the stub's client of etcd, on one machine.
func (s members) askEtcd(m *Machine, args []string) (string, error) {
	switch {
	case s.kube == nil || !s.runs(m):
		return "", errEtcdDown
	case !s.kube.members[m.IP].voter:
		return "", errors.New("etcdserver: rpc not supported for learner")
	}
	switch args[0] {
	case "own":
		b, err := json.Marshal(ownState(s, m))
		return string(b), err
	case "members":
	case "yield":
		if err := s.yield(m); err != nil {
			return "", err
		}
	case "remove":
		i := slices.Index(args, "--peer")
		if err := s.removeMember(args[i+1]); err != nil {
			return "", err
		}
	default:
		return "", fmt.Errorf("not simulated: sealinstall etcd %v", args)
	}
	b, err := json.Marshal(s.etcdCluster())
	return string(b), err
}

// addLearner is `member add --learner`. A member that is there already is no error, as for kubeadm.
func (s members) addLearner(ip string) error {
	voters, _, steady := voters(s.Site)
	if _, ok := s.kube.members[ip]; ok {
		return nil
	}
	for other, is := range s.kube.members {
		if !is.voter {
			return fmt.Errorf("etcdserver: too many learner members in cluster: %s is one", other)
		}
	}
	switch {
	case !s.led():
		return errors.New("etcdserver: request timed out")
	case steady < voters: // every voter must have been connected for a while
		return errors.New("etcdserver: unhealthy cluster")
	}
	s.kube.added++
	s.kube.members[ip] = member{id: s.kube.added}
	return nil
}

// promote gives a learner its vote.
func (s members) promote(m *Machine) error {
	is, ok := s.kube.members[m.IP]
	switch {
	case !s.led():
		return errors.New("etcdserver: request timed out")
	case !ok:
		return errors.New("etcdserver: member not found")
	case is.voter:
		return nil
	case !is.started:
		return fmt.Errorf("the etcd member %x is not started", is.id)
	case !s.runs(m):
		return errors.New("etcdserver: can only promote a learner member which is in sync with leader")
	}
	is.voter = true
	s.kube.members[m.IP] = is
	s.watchQuorum("it promoted " + m.IP)
	return nil
}

// removeMember is `member remove`, of the member of a host.
func (s members) removeMember(ip string) error {
	is, ok := s.kube.members[ip]
	voters, _, steady := voters(s.Site)
	runs := s.runs(s.machine(ip))
	switch {
	case !s.led():
		return errors.New("etcdserver: request timed out")
	case !ok:
		return nil
	case is.voter && voters == 1:
		return errors.New("etcdserver: re-configuration failed due to not enough started members")
	case is.voter && runs && steady-1 < 1+(voters-1)/2:
		return errors.New("etcdserver: unhealthy cluster")
	}
	delete(s.kube.members, ip)
	s.watchQuorum("it took out " + ip)
	return nil
}

// watchQuorum notes that etcd has lost its majority by a change of its members.
func (s members) watchQuorum(by string) {
	if voters, up, _ := voters(s.Site); up <= voters/2 {
		s.violated("etcd has no majority any more: %s, and %d of %d voters run", by, up, voters)
	}
}

func (s members) etcdCluster() etcd.Cluster {
	c := etcd.Cluster{Leader: s.led(), Version: clusterVersion(s.Site)}
	for _, ip := range slices.Sorted(maps.Keys(s.kube.members)) {
		is := s.kube.members[ip]
		m := etcd.Member{ID: strconv.Itoa(is.id), PeerURLs: []string{"https://" + ip + ":2380"}, Learner: !is.voter}
		if is.started {
			m.Name, m.ClientURLs = "of "+ip, []string{"https://" + ip + ":2379"}
			if m.Answers = s.runs(s.machine(ip)); m.Answers {
				s.tell(&m, s.machine(ip), c.Leader)
			} else {
				m.Error = "connection refused"
			}
		}
		c.Members = append(c.Members, m)
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
