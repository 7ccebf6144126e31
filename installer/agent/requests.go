package agent

// What travels between an [Agent] and the stub, one request and one result for each verb. Those that callers fill in, or read,
// are beside the methods.

// CareRequest names a unit, and what it runs.
type CareRequest struct {
	Unit string   `json:"unit"`
	Argv []string `json:"argv,omitempty"`
}

// ClearResult names the mount points that were left alone.
type ClearResult struct {
	Kept []string `json:"kept,omitempty"`
}

// MaxCapture is how much is kept of each output of a program, in bytes.
const MaxCapture = 8 << 20

// ExecMessage is ExecRequest on the wire.
type ExecMessage struct {
	ExecRequest
	Log bool `json:"log,omitempty"` // pass lines on as they come
}

// DirsRequest names directories to look at.
type DirsRequest struct {
	Dirs []string `json:"dirs"`
}

// DirsResult is what they are like.
type DirsResult struct {
	Dirs map[string]Dir `json:"dirs"`
}

// WriteRequest are files to make.
type WriteRequest struct {
	Files []File `json:"files"`
}

// WriteResult names those that were not so before.
type WriteResult struct {
	Changed []string `json:"changed"`
}

// ReadRequest names files to read.
type ReadRequest struct {
	Paths []string `json:"paths"`
}

// ReadResult is what those hold that are there.
type ReadResult struct {
	Files map[string][]byte `json:"files"`
}

// HostsRequest are our lines of /etc/hosts.
type HostsRequest struct {
	Entries []HostsEntry `json:"entries"`
}

// HostsResult tells whether they were others.
type HostsResult struct {
	Changed bool `json:"changed"`
}

// InstallerRequest is which version of this program is used, and which go.
type InstallerRequest struct {
	Name string `json:"name"` // that units use; versions are <name>-<12 hex digits>
	Own  string `json:"own"`  // the version that asks
	// Use makes the own version the one in use; else it goes, unless it is that.
	Use bool `json:"use,omitempty"`
	// Idle: the own version goes only where no other process runs it.
	Idle bool     `json:"idle,omitempty"`
	Dirs []string `json:"dirs,omitempty"` // go when they are empty, in this order
}

// InstallerResult is what came of it.
type InstallerResult struct {
	Changed bool `json:"changed"` // another version is in use now
	Busy    bool `json:"busy"`    // another process runs the own version
}

// LockRequest asks for a lock.
type LockRequest struct {
	Path   string `json:"path"`
	Holder string `json:"holder"`
	// PatienceMillis is how long the host waits for a sign of life; 0 means as usual.
	PatienceMillis int `json:"patienceMillis,omitempty"`
}

// PodCgroupsRequest asks for the control groups of pods to go.
type PodCgroupsRequest struct{}

// PodCgroupsResult names those that stay.
type PodCgroupsResult struct {
	Busy []string `json:"busy,omitempty"`
}

// ListenRequest are ports to open, and what is said to whoever connects.
type ListenRequest struct {
	IP    string `json:"ip"`
	Ports []int  `json:"ports"`
	Word  string `json:"word"`
}

// ListenResult names the ports that somebody has.
type ListenResult struct {
	Busy []int `json:"busy,omitempty"`
}

// ReachRequest are endpoints to dial, and what they have to say.
type ReachRequest struct {
	Endpoints []Endpoint `json:"endpoints"`
	Word      string     `json:"word"`
}

// ReachResult names those that did not.
type ReachResult struct {
	Unreached []Unreached `json:"unreached,omitempty"`
}

// ReceiveRequest is where a registry lies.
type ReceiveRequest struct {
	Root string `json:"root"`
}

// RemoveRequest names what is to go.
type RemoveRequest struct {
	Paths []string `json:"paths"`
}

// ScriptResult is how a script ended.
type ScriptResult struct {
	Code int      `json:"code"`
	Tail []string `json:"tail,omitempty"`
}

// TidyResult names what others have put there.
type TidyResult struct {
	Left []string `json:"left,omitempty"`
}
