// Package agent has work done on a host: an [Agent] runs the stub there with typed verbs. The rooms below it are the other end:
// verbs takes a call; files, layers, programs and facts carry it out.
//
// One call is one process `<stub> node <verb>`. The request is a JSON line on its stdin; JSON lines on its stdout are lines of
// the log and at last one answer. Verbs that move bytes use stdin for them after the request. A verb does not change what is as
// asked already, so every call can be made again. It ends when its stdin closes, and ends what it has started.
package agent

import (
	"fmt"
	"io/fs"

	"github.com/opencontainers/go-digest"
)

// File is a file as it should be.
type File struct {
	Path    string      `json:"path"` // absolute
	Mode    fs.FileMode `json:"mode,omitempty"`
	Content []byte      `json:"content,omitempty"`
	Remove  bool        `json:"remove,omitempty"` // the file must not be there; Mode and Content have no meaning
	Link    string      `json:"link,omitempty"`   // it is a symbolic link to this absolute path, there or not; Mode and Content mean nothing
	Own     bool        `json:"own,omitempty"`    // replace a symbolic link in its place; else the file that it leads to is written
}

// HostsEntry is one line of /etc/hosts.
type HostsEntry struct {
	IP    string   `json:"ip"`
	Names []string `json:"names"`
}

// ScriptRequest is shell text to run with bash.
type ScriptRequest struct {
	Dir  string            `json:"dir,omitempty"`
	Line string            `json:"line"`
	Env  map[string]string `json:"env,omitempty"`  // on top of the agent's own environment
	Then []File            `json:"then,omitempty"` // files to make once the script has ended with status 0: the mark that it ran
}

// ExecRequest is a program to run.
type ExecRequest struct {
	Argv           []string          `json:"argv"`
	Env            map[string]string `json:"env,omitempty"` // on top of the agent's own environment
	Dir            string            `json:"dir,omitempty"`
	Stdin          []byte            `json:"stdin,omitempty"`
	TimeoutSeconds int               `json:"timeoutSeconds,omitempty"` // 0 means none
	Then           []File            `json:"then,omitempty"`           // as for a script
	// Hide are directories that the program finds empty: it cannot reach what lies or is mounted there. Show are files in them
	// of which it finds copies.
	Hide []string `json:"hide,omitempty"`
	Show []string `json:"show,omitempty"`
}

// ExecResult is how the program ended. Stdout and Stderr hold at most 8 MiB each, the end of what was written.
type ExecResult struct {
	Truncated bool   `json:"truncated,omitempty"` // Stdout or Stderr lack their beginning
	Code      int    `json:"code"`
	Stdout    []byte `json:"stdout,omitempty"`
	Stderr    []byte `json:"stderr,omitempty"`
}

// Layers is what is to lie in a directory.
type Layers struct {
	Dir     string          `json:"dir"`               // made if it is missing
	Digests []digest.Digest `json:"digests"`           // of the decoded tars, the lowest first
	Exclude []string        `json:"exclude,omitempty"` // paths in the layers, with all below them, that are not unpacked and stay as they are: "registry"
	// Executable are paths below which every file may be run, whatever the layers say; "." is all.
	Executable []string `json:"executable,omitempty"`
	// Aside has them unpacked into a directory beside, also where they only go on from those in use, which stay untouched. It is
	// refused where nobody knows whether those are whole, and where the directory is a mount point.
	Aside bool `json:"aside,omitempty"`
	// Keep says what becomes of the directory that a switch takes out of use: it is kept as DIR.before, until the next switch that
	// keeps one. One that is switched back from waits beside for another try. Without Keep it is removed.
	Keep bool `json:"keep,omitempty"`
}

// LayersPlace is where layers are to be unpacked.
type LayersPlace struct {
	Beside bool   `json:"beside,omitempty"` // into a directory beside: other layers lie in the directory itself
	Have   int    `json:"have"`             // how many of the layers lie there, from the lowest on
	At     string `json:"at,omitempty"`     // the directory that they lie in, with links resolved
}

// LayersKept ends the name of the directory that a switch has kept, beside the one in use.
const LayersKept = ".before"

// LayersNote is the name, in a directory of layers, of a file of the installer's own. No layer touches it, and it goes where the
// directory goes. A directory beside that has one is taken for [Layers.Aside] only: other files may lie over its layers.
const LayersNote = ".layers/note"

// UnpackRequest is one layer to apply to a directory.
type UnpackRequest struct {
	Dir        string          `json:"dir"`
	Beside     bool            `json:"beside,omitempty"` // as [LayersPlace] says
	Digest     digest.Digest   `json:"digest"`           // of the decoded tar
	Size       int64           `json:"size,omitempty"`   // of the decoded tar in bytes; 0 means unknown
	Format     string          `json:"format"`           // of the stream: zstd, gzip or tar
	Upon       []digest.Digest `json:"upon,omitempty"`   // the layers that lie there, in order
	Exclude    []string        `json:"exclude,omitempty"`
	Executable []string        `json:"executable,omitempty"`
}

// ClearRequest names directories of the cluster's data. The site may have made links or mount points of them.
type ClearRequest struct {
	Paths   []string `json:"paths"`
	Keep    []string `json:"keep,omitempty"`    // names in each of them that stay with all they hold
	Volumes bool     `json:"volumes,omitempty"` // what is mounted for pods below kubelet's directory is unmounted
}

// Whole gives the whole stdout of the program, for callers that cannot use a part. It is an error if the beginning is lost.
func (res ExecResult) Whole() ([]byte, error) {
	if res.Truncated {
		return nil, fmt.Errorf("it wrote more than the %d MiB that are kept: its beginning is lost", MaxCapture>>20)
	}
	return res.Stdout, nil
}

// Endpoint is an address and a TCP port.
type Endpoint struct {
	IP   string `json:"ip"`
	Port int    `json:"port"`
}

// Unreached is an endpoint that could not be talked to, and why: "refused", "silent" (nothing comes back, as from a
// firewall that drops), "no route", "another answers", or the system's words.
type Unreached struct {
	Endpoint
	Why string `json:"why"`
}

// TidyRequest names the cluster's files in a directory that others use, too.
type TidyRequest struct {
	Dir string `json:"dir"`
	// Known are names below Dir. The last part of each is a pattern of path.Match. A directory that matches goes with all it holds.
	Known []string `json:"known"`
}

// SweepRequest names copies that a program leaves in a directory.
type SweepRequest struct {
	Dir   string   `json:"dir"`
	Known []string `json:"known"` // patterns of path.Match, of names in Dir
}

// SweepResult is what became of them.
type SweepResult struct {
	Removed []string `json:"removed,omitempty"` // names in the directory
	Bytes   int64    `json:"bytes,omitempty"`   // that they took on the disk
	Left    []string `json:"left,omitempty"`    // names of what else is there
}

// SnapshotRequest is a snapshot of etcd to keep on the host.
type SnapshotRequest struct {
	Dir  string `json:"dir"`  // made, and kept, with mode 0700
	Name string `json:"name"` // etcd-*-<20060102T150405Z>.db
	Keep int    `json:"keep"` // how many snapshots stay in Dir: the newest, and this one among them
}

// SnapshotResult is the snapshot that was kept.
type SnapshotResult struct {
	Path     string   `json:"path"`
	Bytes    int64    `json:"bytes"`
	SHA256   string   `json:"sha256"`            // of the file, in hex digits
	Etcd     string   `json:"etcd"`              // version of the member
	Revision int64    `json:"revision"`          // that the database had at least
	Removed  []string `json:"removed,omitempty"` // names of older snapshots that went
}
