package agent

import (
	"slices"
	"strings"
)

// FactsRequest says what to look for beside what [Facts] always holds.
type FactsRequest struct {
	Modules []string `json:"modules,omitempty"` // kernel modules
	Tools   []string `json:"tools,omitempty"`   // programs in PATH
	Paths   []string `json:"paths,omitempty"`   // paths whose file system is asked for; they need not exist
	// Sockets are paths of unix sockets, Programs names of processes; Lock is the path of a lock.
	Sockets  []string `json:"sockets,omitempty"`
	Programs []string `json:"programs,omitempty"`
	Lock     string   `json:"lock,omitempty"`
	// Networks are CIDRs; the kernel is asked for a route to each.
	Networks []string `json:"networks,omitempty"`
	Sync     string   `json:"sync,omitempty"`  // directory where the time of a durable write is measured; empty measures nothing
	Ports    []int    `json:"ports,omitempty"` // TCP ports whose listeners are asked for
	Dirs     []string `json:"dirs,omitempty"`  // directories whose content is asked for; they need not exist
	// Lean leaves out what only a preflight wants and may take seconds: name servers, firewalls, other runtimes, guards.
	Lean bool `json:"lean,omitempty"`
}

// Facts describes a host.
type Facts struct {
	Hostname        string           `json:"hostname"`                // as it is now, in whatever case
	BootName        string           `json:"bootName,omitempty"`      // as it will be after a boot, as far as a file says it
	TransientName   bool             `json:"transientName,omitempty"` // the host may have another after a boot
	Arch            string           `json:"arch"`                    // as Go names it: amd64
	Kernel          string           `json:"kernel"`
	OS              string           `json:"os"`       // PRETTY_NAME of os-release
	UnixNano        int64            `json:"unixNano"` // the host's clock when it answered
	MemoryBytes     uint64           `json:"memoryBytes"`
	CPUs            int              `json:"cpus"`
	Mounts          []Mount          `json:"mounts"`
	Disks           map[string]Mount `json:"disks,omitempty"`  // for each path asked for, the mount it lies on or would lie on
	Filled          map[string]bool  `json:"filled,omitempty"` // the paths asked for that are there, and not an empty directory
	Swap            bool             `json:"swap"`
	CgroupVersion   int              `json:"cgroupVersion"` // 1, 2, or 0 if none is mounted
	Controllers     []string         `json:"controllers"`
	Modules         map[string]bool  `json:"modules,omitempty"` // loaded, built in or loadable
	PortsInUse      []int            `json:"portsInUse"`        // TCP ports that have a listener
	Addresses       []string         `json:"addresses"`         // CIDRs of every interface
	Routes          []string         `json:"routes"`            // destinations as CIDRs, without the default routes
	DefaultRoute    bool             `json:"defaultRoute"`
	NoRoute         []string         `json:"noRoute,omitempty"`       // of the networks asked for, those that no route covers
	ServiceRoutes   []string         `json:"serviceRoutes,omitempty"` // networks to which the installer made routes
	Nameservers     []Nameserver     `json:"nameservers"`             // those pods can use: none on the loopback
	ResolvFiles     []ResolvFile     `json:"resolvFiles,omitempty"`   // the files that name them, /etc/resolv.conf first
	ResolvesOwnName bool             `json:"resolvesOwnName"`
	Tools           map[string]bool  `json:"tools,omitempty"`
	Runtimes        []string         `json:"runtimes"`                  // container runtimes that the cluster's images did not install, with where they were seen
	Kubernetes      []string         `json:"kubernetes"`                // what an earlier cluster has left, or runs
	KubernetesFiles []string         `json:"kubernetesFiles,omitempty"` // all below /etc/kubernetes that are no directories
	KubeletDir      []string         `json:"kubeletDir,omitempty"`      // the names in /var/lib/kubelet
	CNI             []string         `json:"cni,omitempty"`             // network configurations and links of pods of an earlier cluster
	Root            bool             `json:"root"`
	SELinux         string           `json:"selinux"`             // enforcing, permissive or disabled
	AppArmor        bool             `json:"appArmor"`            // the kernel confines by it
	Firewalls       []string         `json:"firewalls,omitempty"` // those that are on: firewalld, ufw, nftables, iptables
	TimeService     string           `json:"timeService"`         // the program that sets the clock; empty if none runs
	ClockSynced     bool             `json:"clockSynced"`         // the kernel says that its clock is synchronised
	Lookup          Lookup           `json:"lookup"`
	Hosts           []HostsEntry     `json:"hosts,omitempty"`        // the installer's lines of /etc/hosts
	Listeners       []Listener       `json:"listeners,omitempty"`    // who has the ports asked for
	SyncMicros      int64            `json:"syncMicros,omitempty"`   // median time of a durable write; 0: not measured
	Sync99Micros    int64            `json:"sync99Micros,omitempty"` // and its 99th percentile
	NoFileTypes     []string         `json:"noFileTypes,omitempty"`  // paths asked for that lie on an XFS with ftype=0
	Fapolicyd       string           `json:"fapolicyd,omitempty"`    // enforcing or permissive, where that daemon runs
	Scanners        []string         `json:"scanners,omitempty"`     // antivirus that runs
	Proxies         []Proxy          `json:"proxies,omitempty"`      // that systemd gives to services
	MachineID       string           `json:"machineID"`
	ProductUUID     string           `json:"productUUID"`
	Sockets         map[string]bool  `json:"sockets,omitempty"`  // whether each that was asked for takes connections
	Programs        map[string]bool  `json:"programs,omitempty"` // whether each that was asked for runs
	LockedBy        string           `json:"lockedBy,omitempty"` // who holds the lock that was asked for; empty if nobody does
	LockStep        string           `json:"lockStep,omitempty"` // the step at which that one works, as far as it has told
	Dirs            map[string]Dir   `json:"dirs,omitempty"`     // those asked for
}

// Mount is a mounted file system. Total and Free are bytes; Free does not count what the file system reserves.
type Mount struct {
	Path       string   `json:"path"`
	Device     string   `json:"device"`
	Type       string   `json:"type"`
	Total      uint64   `json:"total"`
	Free       uint64   `json:"free"`
	Inodes     uint64   `json:"inodes,omitempty"` // 0 on file systems that make them as they need them
	InodesFree uint64   `json:"inodesFree,omitempty"`
	Options    []string `json:"options,omitempty"`
}

// Proxy is a variable that tells services to use a proxy, or for which addresses not to. User and password are taken out of Value.
type Proxy struct {
	Where string `json:"where"` // the file, or the command that shows it
	Name  string `json:"name"`
	Value string `json:"value"`
}

// Listener is the process that listens on a TCP port. Process and Unit are empty if they cannot be found out.
type Listener struct {
	Port    int    `json:"port"`
	Process string `json:"process,omitempty"` // its name, at most 15 bytes of it
	Unit    string `json:"unit,omitempty"`    // of systemd; "kubepods" for a process of a pod
}

// Lookup is how the host's resolver asks its name servers.
type Lookup struct {
	TimeoutSeconds int `json:"timeoutSeconds"` // how long it waits for one answer
	Attempts       int `json:"attempts"`       // rounds through all servers
}

// ResolvFile is a file of the host that names name servers.
type ResolvFile struct {
	Path    string   `json:"path"`
	Servers []string `json:"servers"`          // those pods can use
	Others  bool     `json:"others,omitempty"` // it names more, which only the host itself can use: on the loopback, or for one link
	Rest    []string `json:"rest,omitempty"`   // its lines search, domain and options
}

// Nameserver is a line of resolv.conf, and whether that server answered a question within a second.
type Nameserver struct {
	Address string `json:"address"`
	Answers bool   `json:"answers"`
	Silent  bool   `json:"silent,omitempty"` // nothing came back in that second, not even a refusal
}

// Dir describes a path that should be a directory.
type Dir struct {
	Exists bool `json:"exists"`
	// NotDir tells that something else is there: a file, or a link that leads to no directory.
	NotDir  bool     `json:"notDir,omitempty"`
	Link    bool     `json:"link,omitempty"`    // the name itself is a link
	Mount   bool     `json:"mount,omitempty"`   // a file system is mounted on it
	Entries []string `json:"entries,omitempty"` // names of what it holds, sorted, the first maxDirEntries
	Error   string   `json:"error,omitempty"`   // why it could not be looked at
}

// LostFound is the directory in the root of a new file system of the ext family.
const LostFound = "lost+found"

// Empty tells whether nothing is in the directory, or there is none.
func (d Dir) Empty() bool { return !d.NotDir && d.Error == "" && len(d.Entries) == 0 }

// Fresh tells whether it is a mount point that holds nothing but lost+found.
func (d Dir) Fresh() bool {
	return d.Mount && !d.NotDir && d.Error == "" && slices.Equal(d.Entries, []string{LostFound})
}

// Holds lists the entries of the directory; lost+found of a mount point does not count.
func (d Dir) Holds() []string {
	return slices.DeleteFunc(slices.Clone(d.Entries), func(name string) bool { return d.Mount && name == LostFound })
}

// NoProxies gives the entries of all variables no_proxy: addresses that are reached without a proxy.
func (f Facts) NoProxies() []string {
	var out []string
	for _, p := range f.Proxies {
		if strings.EqualFold(p.Name, "no_proxy") {
			for _, entry := range strings.FieldsFunc(p.Value, func(c rune) bool { return c == ',' || c == ' ' }) {
				if !slices.Contains(out, entry) {
					out = append(out, entry)
				}
			}
		}
	}
	return out
}
