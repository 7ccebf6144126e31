// Package status asks the hosts of a cluster, and the cluster itself, how they are, and judges the answers. It takes no lock and
// brings nothing to a host: it uses the stub that lies there, and writes nothing. All is asked side by side and under one deadline,
// so hosts that are dead, an API that hangs, and a run at work cost no more than that.
//
// Hosts are asked in host.go, the cluster in cluster.go. What follows from the answers is pure: judge.go and the files beside it.
package status

import (
	"time"

	"github.com/sealbuild/sealbuild/installer/preflight"
)

// Status is the truth about a cluster: what its hosts and itself say now. docs/schemas/status.schema.json describes its JSON.
type Status struct {
	Cluster    string    `json:"cluster"`
	Kubernetes string    `json:"kubernetes"` // of the cluster by its record; without one, of the bundle
	Ready      bool      `json:"ready"`      // nothing is wrong, waited for or left undone
	Asked      bool      `json:"asked"`      // a host has answered; else nothing is known
	At         time.Time `json:"at"`         // of this machine's clock
	Hosts      []Host    `json:"hosts"`      // masters first
	LockedBy   string    `json:"lockedBy,omitempty"`
	LockedStep string    `json:"lockedStep,omitempty"` // the step at which that installer works; empty if it has not told

	Record   Record              `json:"record,omitzero"`
	Etcd     *Etcd               `json:"etcd,omitempty"` // nil where nobody could ask, or the operator has an etcd of their own
	Registry *Registry           `json:"registry,omitempty"`
	Pods     []Pod               `json:"pods,omitempty"`     // those that do not run, of all namespaces
	Undone   []string            `json:"undone,omitempty"`   // work that was begun and has not come to its end
	Waiting  []string            `json:"waiting,omitempty"`  // what the cluster still waits for
	Causes   []string            `json:"causes,omitempty"`   // what holds it up, as far as that was found
	Warnings []string            `json:"warnings,omitempty"` // what does not keep it from being Ready: applications, hosts that were not asked
	Problems []preflight.Problem `json:"problems,omitempty"` // such as hosts that cannot be asked, an etcd without a majority, full disks
}

// Host is what is true of one host.
type Host struct {
	Address   string    `json:"address"`
	Hostname  string    `json:"hostname,omitempty"` // of a host that is not reached, the name of its node
	Role      string    `json:"role"`               // master or node
	Reached   bool      `json:"reached"`            // it has answered
	Begun     bool      `json:"begun"`              // the cluster was begun there
	Joined    bool      `json:"joined"`             // kubeadm came to its end there
	Stopped   string    `json:"stopped,omitempty"`  // what of it does not run
	CertsEnd  time.Time `json:"certificatesEnd,omitzero"`
	FirstCert string    `json:"firstCertificate,omitempty"` // the one that ends first

	NodeReady    string        `json:"nodeReady,omitempty"` // True, False or Unknown, as the API has it; empty if it does not tell
	Kubelet      string        `json:"kubelet,omitempty"`   // its version; while the API does not answer, what the rootfs there brought
	Runtime      string        `json:"runtime,omitempty"`   // container runtime and version, as the API has it
	Installer    string        `json:"installer,omitempty"` // version of the stub that lies there
	Older        []string      `json:"older,omitempty"`     // what that stub is too old to tell
	Certificates []Certificate `json:"certificates,omitempty"`
	Disks        []Disk        `json:"disks,omitempty"`
	Servers      []Server      `json:"servers,omitempty"` // of the virtual address, on a node
	Registry     *Store        `json:"registry,omitempty"`
}

// Certificate is one in force on a host.
type Certificate struct {
	Path string    `json:"path"`
	Ends time.Time `json:"notAfter"`
}

// Disk is a file system on which directories of the cluster lie. Sizes are bytes.
type Disk struct {
	Path  string    `json:"path"`
	Holds []string  `json:"holds"` // what of the cluster: etcd, the registry, pods
	Total uint64    `json:"total"`
	Free  uint64    `json:"free"`
	Full  time.Time `json:"fullAt,omitzero"` // when nothing is left, if it goes on as since an earlier status; zero if it does not fill
}

// Server is an API server behind the virtual address, as a node has it in force.
type Server struct {
	Address  string `json:"address"`            // IP:PORT
	Weight   int    `json:"weight"`             // 0: it gets no new connections
	Withheld bool   `json:"withheld,omitempty"` // it is to get none, because an upgrade is at work on it or was cut off there
}

// Store is the registry of a master.
type Store struct {
	Answers bool     `json:"answers"` // something listens on its port
	Blobs   int      `json:"blobs"`
	Bytes   int64    `json:"bytes"`
	Lacks   []string `json:"lacks,omitempty"` // digests of blobs that the bundle of the cluster, or another master, has; the first few
	Missing int      `json:"missing"`         // how many these are in all
}

// Registry is the registry of the cluster: one store on every master, which are to be alike.
type Registry struct {
	Complete bool `json:"complete"` // every master that was asked has all blobs
	Blobs    int  `json:"blobs"`    // that any of them has, or the cluster's bundle brings
	ByBundle bool `json:"byBundle"` // this is the bundle that the cluster was made with: its blobs count
}

// Etcd is the members of etcd.
type Etcd struct {
	Leader  bool     `json:"leader"`  // there is one, so a majority answers
	Matches bool     `json:"matches"` // the members are the masters
	Members []Member `json:"members"`
}

// Member is one of them.
type Member struct {
	Address string   `json:"address"` // at which the others reach it
	Name    string   `json:"name,omitempty"`
	Leads   bool     `json:"leads"`
	Learner bool     `json:"learner,omitempty"`
	Answers bool     `json:"answers"`
	Version string   `json:"version,omitempty"`
	Size    int64    `json:"size,omitempty"`  // of its database file in bytes
	InUse   int64    `json:"inUse,omitempty"` // of that in use
	Quota   int64    `json:"quota,omitempty"` // at which etcd refuses writes
	Alarms  []string `json:"alarms,omitempty"`
	Error   string   `json:"error,omitempty"`
}

// Pod is one that does not run.
type Pod struct {
	Name string `json:"name"` // NAMESPACE/NAME
	Node string `json:"node,omitempty"`
	Why  string `json:"why"`
}

// Record is the last change that is recorded, by the newest record of this machine and the masters.
type Record struct {
	Phase   string    `json:"phase,omitempty"`
	Step    string    `json:"step,omitempty"` // at which a change failed
	Message string    `json:"message,omitempty"`
	At      time.Time `json:"at,omitzero"`
}

// texts are the places of all that others have said, for masking.
func (s *Status) texts() []*string {
	var out []*string
	for _, list := range [][]string{s.Undone, s.Waiting, s.Causes, s.Warnings} {
		for i := range list {
			out = append(out, &list[i])
		}
	}
	for i := range s.Problems {
		out = append(out, &s.Problems[i].Message, &s.Problems[i].Remedy)
	}
	for i := range s.Pods {
		out = append(out, &s.Pods[i].Why)
	}
	for i := range s.Hosts {
		out = append(out, &s.Hosts[i].Stopped)
	}
	return append(out, &s.Record.Message)
}
