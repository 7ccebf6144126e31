package stepstest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/sealbuild/sealbuild/installer/agent"
)

// Site is simulated machines and what runs on them. Their files are real ones, in a directory for each machine; the agent's
// verbs are the real ones. systemd, kubeadm, kubectl and the scripts of images are small models that refuse what the real
// ones refuse. Several goroutines may call its methods at once.
type Site struct {
	Kubelet string // version of every kubelet; empty: it does not tell
	// Latency, if set, is how long a call or a program takes. It is set before anything runs.
	Latency func(what string) time.Duration
	// Pace is how long what passes by itself takes. A test whose patience is shorter than that of an installer of real hosts,
	// which waits up to 3 minutes for a boot, sets it in proportion. It is set before anything runs.
	Pace Pace
	// Watch notes as violations what clients of the cluster see of a change of the control plane, and of its nodes. It is set
	// before anything runs, on a site of several masters.
	Watch bool
	// NoPolicies: the cluster is older than Kubernetes 1.30 and has no ValidatingAdmissionPolicy.
	NoPolicies bool

	mu         sync.Mutex
	dir        string
	trees      int
	machines   []*Machine
	memo       memo
	specs      map[string]object // of static pods, by their manifests
	kube       *kube
	noProxy    bool
	trace      []Event
	seen       map[Event]int
	fault      *Fault
	calls      map[*call]bool // under way
	violations []string
}

// locked locks the site. The function that it returns unlocks it again.
func (s *Site) locked() (unlock func()) {
	s.mu.Lock()
	return s.mu.Unlock
}

// Machine is one simulated host.
type Machine struct {
	site     *Site
	IP, Name string
	Is       func(*agent.Facts) // if set, changes what the machine is like; set before anything runs
	// NoDefaultRoute: what is not in its own network is reached over a route for it, or not at all.
	NoDefaultRoute bool

	// All below is guarded by the site's mutex.
	tree tree
	life int // raised when the agents that run on the machine are killed
	cuts int // of its power, which end all that runs there
	off  bool
	lost bool // it never gets its power back
	// hidden: the machine of the installer does not reach it.
	hidden bool
	boots  time.Time // when it got its power back
	// booting: its kubelet has started no static pod since.
	booting bool
	// refuses tells that kubelet ended at once with the configuration of its last start, kubeletRuns what that was.
	refuses      bool
	kubeletBegan time.Time
	ends         int // how often kubelet had ended by then
	kubeletRuns  string
	fresh        bool      // kubelet was started, and has not looked for its Node yet
	heard        time.Time // when kubelet was last alive, if it is not now
	full         bool      // no room on its disks
	spare        int       // files that fit nevertheless, because others went away
	units        map[string]string
	// serviceRoutes are lost in a power cut, unless a unit that is enabled makes them anew.
	serviceRoutes []string
	held          bool // since it booted, packets to pods and Services stay on it
	registry      bool
	runtime       bool                 // it is there, and starts at boot
	begun         bool                 // the runtime, by a script, whatever the boot has come to
	stopped       bool                 // kubelet, by systemctl or kubeadm; a boot starts it
	running       map[string]container // of static pods
	settling      bool                 // these are being brought in line
	mirrors       map[string]string    // manifests of static pods, as its kubelet has told the API of them
	programs      programs             // that run
	images        map[string]bool      // that lie on it, and whether they are pinned; nil: images are not simulated
	proxyImage    string               // of kube-proxy's pod
	flaws         map[string]string    // programs that do not work, with their last words; never changed, but replaced
	stuck         bool                 // its kubelet does not look at manifests
	containers    map[string]string    // of other pods: by the pod's UID, which pod it is
	steady        time.Time            // since when its member of etcd runs
	ended         map[string]string    // last words of containers that have ended
	free          map[string]int64     // room on the disk of a path, where that is not plenty
	proxyAPI      string               // what the API server's name meant when kube-proxy's pod was made here
	done          map[string]int       // completed actions that are not to be done twice
}

// Event is something that happens, and at which a fault can happen.
type Event struct {
	Host string
	Kind string // call, answer, put, step (of a program), or the moment of a change of a file
	What string
	N    int // counts events that are else the same, from 1
}

func (e Event) String() string { return fmt.Sprintf("%s %s %s #%d", e.Host, e.Kind, e.What, e.N) }

// FaultKind is what goes wrong.
type FaultKind string

// Faults. All but DiskFull end the call in which they happen, at the event.
const (
	InstallerDies FaultKind = "installer dies" // SIGKILL: nothing of it does anything any more
	AgentDies     FaultKind = "agent dies"     // SIGKILL, with what it started
	LinkCut       FaultKind = "link cut"       // ssh breaks; an answer that was under way is lost
	PowerCut      FaultKind = "power cut"      // the host is off until Repair
	Reboot        FaultKind = "reboot"         // the host is off, and boots at once
	DiskFull      FaultKind = "disk full"      // nothing is written on the host any more until Relieve
	ProgramDies   FaultKind = "program dies"   // SIGKILL of the program that the agent runs, and of nothing else
)

// Fault is something that goes wrong once: at the event At or, if that is zero, at the event with the number Number.
type Fault struct {
	Kind   FaultKind
	At     Event
	Number int
	On     string // the address of the host that it befalls; empty: that of the event

	fired Event
}

// NewSite makes machines below dir: their names are host-1 and so on, their addresses begin with 10.77.0.1.
func NewSite(dir string, machines int) (*Site, error) {
	s := &Site{dir: dir, seen: map[Event]int{}, calls: map[*call]bool{}}
	for i := range machines {
		m := &Machine{
			site: s, IP: fmt.Sprintf("10.77.%d.%d", (i+1)/250, (i+1)%250), Name: fmt.Sprintf("host-%d", i+1),
			units: map[string]string{}, done: map[string]int{},
		}
		if err := m.newDisk(); err != nil {
			return nil, err
		}
		s.machines = append(s.machines, m)
	}
	return s, nil
}

// newDisk gives a machine the files of one that was set up a moment ago.
func (m *Machine) newDisk() error {
	m.tree = newTree(m.site)
	for name, text := range map[string]string{
		"/etc/hosts": "127.0.0.1 localhost\n", "/etc/hostname": m.Name + "\n", "/proc/self/mounts": "root / tmpfs rw 0 0\n",
	} {
		if err := m.tree.put(name, text); err != nil {
			return err
		}
	}
	for _, name := range []string{"/root", "/var/lib", "/var/log", "/run/systemd/system", "/etc/systemd/system/multi-user.target.wants", "/tmp", "/usr/bin"} {
		if err := os.MkdirAll(m.tree.path(name), 0o755); err != nil {
			return err
		}
	}
	return nil
}

// Replace gives a machine an empty disk. What ran on it does not run any more, and no file says what it was.
func (m *Machine) Replace() error {
	defer m.site.locked()()
	m.before()
	m.life++
	m.cuts++
	m.registry, m.runtime, m.stopped, m.fresh, m.proxyAPI = false, false, false, false, ""
	m.steady = time.Time{}
	m.mirrors, m.programs, m.images, m.proxyImage = nil, programs{}, nil, ""
	clear(m.running)
	clear(m.containers)
	clear(m.units)
	clear(m.done)
	return m.newDisk()
}

// Mount makes a directory of a machine the mount point of a new file system.
func (m *Machine) Mount(dir string) error {
	defer m.site.locked()()
	return errors.Join(
		m.tree.put("/proc/self/mounts", m.tree.text("/proc/self/mounts")+"/dev/sdb "+dir+" ext4 rw 0 0\n"),
		os.MkdirAll(m.tree.path(dir+"/lost+found"), 0o700),
	)
}

// Write writes a file of a machine.
func (m *Machine) Write(name, text string) error {
	defer m.site.locked()()
	return m.tree.put(name, text)
}

// Text reads a file of a machine; it is empty if there is none.
func (m *Machine) Text(name string) string {
	defer m.site.locked()()
	return m.tree.text(name)
}

// Has tells whether a file or directory is there.
func (m *Machine) Has(name string) bool {
	defer m.site.locked()()
	return m.tree.has(name)
}

// Clone makes a site, below dir, that is as this one is now.
func (s *Site) Clone(dir string) (*Site, error) {
	defer s.locked()()
	c := &Site{
		Latency: s.Latency, Pace: s.Pace, Watch: s.Watch, NoPolicies: s.NoPolicies,
		dir: dir, seen: map[Event]int{}, calls: map[*call]bool{}, kube: s.kube.clone(),
	}
	for _, m := range s.machines {
		n := *m
		n.site, n.tree = c, newTree(c)
		n.images, n.mirrors = maps.Clone(m.images), maps.Clone(m.mirrors)
		n.units, n.done, n.running, n.containers = maps.Clone(m.units), maps.Clone(m.done), maps.Clone(m.running), maps.Clone(m.containers)
		if err := copyTree(string(n.tree), string(m.tree)); err != nil {
			return nil, err
		}
		c.machines = append(c.machines, &n)
	}
	return c, nil
}

func newTree(s *Site) tree {
	s.trees++
	return tree(filepath.Join(s.dir, fmt.Sprint(s.trees)))
}

// Machines lists the machines.
func (s *Site) Machines() []*Machine { return s.machines }

func (s *Site) machine(ip string) *Machine {
	i := slices.IndexFunc(s.machines, func(m *Machine) bool { return m.IP == ip })
	if i < 0 {
		return nil
	}
	return s.machines[i]
}

// Arm lets a fault happen once. Earlier events are forgotten, and counting begins anew.
func (s *Site) Arm(f *Fault) {
	defer s.locked()()
	s.fault, s.trace, s.seen = f, nil, map[Event]int{}
}

// Fired gives the event at which the fault happened that was armed.
func (s *Site) Fired() (Event, bool) {
	defer s.locked()()
	if s.fault == nil {
		return Event{}, false
	}
	return s.fault.fired, s.fault.fired != Event{}
}

// Trace lists the events since Arm.
func (s *Site) Trace() []Event {
	defer s.locked()()
	return slices.Clone(s.trace)
}

// Violations lists what has happened although it must never happen.
func (s *Site) Violations() []string {
	defer s.locked()()
	return slices.Clone(s.violations)
}

func (s *Site) violated(format string, args ...any) {
	s.violations = append(s.violations, fmt.Sprintf(format, args...))
}

// Done counts how often a machine has completed each action that must not be done twice.
func (m *Machine) Done() map[string]int {
	defer m.site.locked()()
	return maps.Clone(m.done)
}

// Forget begins to count anew what machines have done.
func Forget(s *Site) {
	defer s.locked()()
	for _, m := range s.machines {
		clear(m.done)
	}
}

// Root is the directory of the machine's files now.
func (m *Machine) Root() string {
	defer m.site.locked()()
	return string(m.tree)
}

// errStopped ends what a fault has stopped.
var errStopped = errors.New("stopped by a fault of the simulation")

// pause lets time pass.
func (s *Site) pause(ctx context.Context, what string) error {
	if s.Latency == nil {
		return ctx.Err()
	}
	return sleep(ctx, s.Latency(what))
}
