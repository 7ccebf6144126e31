package agent

import "encoding/json"

// What travels between an [Agent] and its process on the host, one request and one result for each verb. Those that callers
// fill in or read are in api.go and facts.go.

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

// DirsResult describes them, by name.
type DirsResult struct {
	Dirs map[string]Dir `json:"dirs"`
}

// WriteRequest are files to make.
type WriteRequest struct {
	Files []File `json:"files"`
}

// WriteResult names those that were changed.
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

// HostsRequest has the installer's lines of /etc/hosts.
type HostsRequest struct {
	Entries []HostsEntry `json:"entries"`
}

// HostsResult tells whether the file was changed.
type HostsResult struct {
	Changed bool `json:"changed"`
}

// InstallerRequest says which version of this program units use, and which are removed.
type InstallerRequest struct {
	Name string `json:"name"` // that units use; versions are <name>-<12 hex digits>
	Own  string `json:"own"`  // the version of the caller
	// Use gives the own version the name; else that version is removed, unless it has the name.
	Use bool `json:"use,omitempty"`
	// Idle keeps the own version where another process runs it.
	Idle bool     `json:"idle,omitempty"`
	Dirs []string `json:"dirs,omitempty"` // removed when they are empty, in this order
}

// InstallerResult is the outcome.
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

// PodCgroupsRequest asks to remove the control groups of pods.
type PodCgroupsRequest struct{}

// PodCgroupsResult names the processes for which they stay.
type PodCgroupsResult struct {
	Busy []string `json:"busy,omitempty"`
}

// ListenRequest names ports to open, and the word for those who connect.
type ListenRequest struct {
	IP    string `json:"ip"`
	Ports []int  `json:"ports"`
	Word  string `json:"word"`
}

// ListenResult names the ports that another program has.
type ListenResult struct {
	Busy []int `json:"busy,omitempty"`
}

// ReachRequest names endpoints to dial, and the word that they must answer with.
type ReachRequest struct {
	Endpoints []Endpoint `json:"endpoints"`
	Word      string     `json:"word"`
}

// ReachResult names those that did not answer with the word.
type ReachResult struct {
	Unreached []Unreached `json:"unreached,omitempty"`
}

// BlobsRequest is where a registry lies whose blobs are listed.
type BlobsRequest struct {
	Root string `json:"root"`
}

// BlobsResult has the sizes of the blobs in bytes, by the hex digits of their sha256.
type BlobsResult struct {
	Blobs map[string]int64 `json:"blobs"`
}

// ReceiveRequest is where a registry lies.
type ReceiveRequest struct {
	Root string `json:"root"`
	// Passing tells that it is no registry: files pass through on their way to another place.
	Passing bool `json:"passing,omitempty"`
}

// BundleRequest is what the registry in Root is to record of a bundle.
type BundleRequest struct {
	Root   string          `json:"root"`
	Bundle json.RawMessage `json:"bundle"` // a disk.Bundle of package registry/disk
	State  BundleState     `json:"state"`
}

// BundleState is how far a cluster is with a bundle.
type BundleState string

// States of a bundle.
const (
	BundleComes BundleState = "comes"  // what it brings is about to be sent
	BundleInUse BundleState = "in use" // a run with it came to its end
	BundleLeft  BundleState = "left"   // the cluster went back to what it had before
)

// RemoveRequest names what to remove.
type RemoveRequest struct {
	Paths []string `json:"paths"`
}

// ScriptResult is how a script ended.
type ScriptResult struct {
	Code int      `json:"code"`
	Tail []string `json:"tail,omitempty"`
}

// TidyResult names the files of others that are there.
type TidyResult struct {
	Left []string `json:"left,omitempty"`
}
