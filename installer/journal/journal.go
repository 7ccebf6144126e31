// Package journal is what a host has on record of the work that was done there
// for a cluster: a file for each mark, on the host itself and not on the control
// machine, so that a host that was set up anew has lost its marks together with
// the work they stand for.
package journal

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"sync"

	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/agent"
)

// The marks of a host.
const (
	Begun         = "begun"          // written before anything else is changed on the host
	Images        = "images"         // which rootfs and patches lie there; absent while they are being exchanged
	Overlaid      = "overlaid"       // the files that lie over the images, one a line
	Rendered      = "rendered"       // those of an image made for sealos were written with these inputs
	Preflight     = "preflight"      // the image's check script was passed with these inputs
	Checked       = "check"          // that of an image made for sealos has run once more, in the rootfs
	Findings      = "check-found"    // what it changed, as JSON
	Registry      = "init-registry"  // that script has run
	RegistryShown = "registry-shown" // the certificate and the accounts that it has put in place
	Init          = "init"           // the scripts of the container runtime and kubelet have run
	EtcdData      = "etcd"           // the directory of etcd's data is the cluster's, and what of its path was made
	KubeadmBegun  = "kubeadm-begun"  // written before kubeadm runs, so that one that was killed is recognised
	KubeadmDone   = "kubeadm-done"   // the host is in the cluster
	Kubeconfig    = "kubeconfig"     // root's
	Cleaned       = "cleaned"        // a reset has run the clean scripts
)

// Guest is the mark of the commands of an image, by the name of its directory.
func Guest(image string) string { return "guest-" + image }

// Marks are all marks but those of commands.
func Marks() []string {
	return []string{
		Begun, Images, Overlaid, Checked, Findings, Preflight, Rendered,
		Registry, RegistryShown, Init, EtcdData, KubeadmBegun, KubeadmDone, Kubeconfig, Cleaned,
	}
}

// Journal is that of one host. Only the goroutine that works on a host writes to it; everybody may read.
type Journal struct {
	cluster string
	agent   *agent.Agent
	mu      sync.RWMutex
	marks   map[string]string // mark -> digest of the inputs it was made with
}

// Open binds the journal of a cluster to the agent of its host. Nothing is read.
func (j *Journal) Open(cluster string, a *agent.Agent) { j.cluster, j.agent = cluster, a }

// Read reads marks, and the files also names, which it returns by their paths.
func (j *Journal) Read(ctx context.Context, marks []string, also ...string) (map[string][]byte, error) {
	paths := also
	for _, m := range marks {
		paths = append(paths, j.Path(m))
	}
	found, err := j.agent.ReadFiles(ctx, paths)
	if err != nil {
		return nil, fmt.Errorf("read what was done before: %w", err)
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.marks = map[string]string{}
	for _, m := range marks {
		if content, ok := found[j.Path(m)]; ok {
			j.marks[m] = strings.TrimSpace(string(content))
		}
	}
	return found, nil
}

// Of is what a mark says; empty where there is none.
func (j *Journal) Of(mark string) string {
	j.mu.RLock()
	defer j.mu.RUnlock()
	return j.marks[mark]
}

// Has tells whether there is a mark.
func (j *Journal) Has(mark string) bool { return j.Of(mark) != "" }

// Is tells whether the work of a mark was done with these inputs.
func (j *Journal) Is(mark, inputs string) bool { return j.Of(mark) == inputs }

// Empty tells that this cluster was never begun on the host.
func (j *Journal) Empty() bool {
	j.mu.RLock()
	defer j.mu.RUnlock()
	return len(j.marks) == 0
}

// Note notes a mark that the host has set by itself.
func (j *Journal) Note(mark, inputs string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.marks == nil {
		j.marks = map[string]string{}
	}
	j.marks[mark] = inputs
}

// Forget is for a host that has nothing on record any more.
func (j *Journal) Forget() {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.marks = nil
}

// Path is where a mark lies on the host.
func (j *Journal) Path(mark string) string { return installer.Dir(j.cluster, "journal", mark) }

// File is a mark as a file: what a program does not do twice is best marked by the agent that saw it end.
func (j *Journal) File(mark, inputs string) agent.File {
	return agent.File{Path: j.Path(mark), Mode: 0o600, Content: []byte(inputs + "\n")}
}

// Set sets a mark.
func (j *Journal) Set(ctx context.Context, mark, inputs string) error {
	if _, err := j.agent.WriteFiles(ctx, []agent.File{j.File(mark, inputs)}); err != nil {
		return fmt.Errorf("record %s: %w", mark, err)
	}
	j.Note(mark, inputs)
	return nil
}

// Drop takes marks back, so that what they stand for is done again.
func (j *Journal) Drop(ctx context.Context, marks ...string) error {
	for _, mark := range marks {
		if !j.Has(mark) {
			continue
		}
		if _, err := j.agent.WriteFiles(ctx, []agent.File{{Path: j.Path(mark), Remove: true}}); err != nil {
			return fmt.Errorf("take back the record of %s: %w", mark, err)
		}
		j.mu.Lock()
		delete(j.marks, mark)
		j.mu.Unlock()
	}
	return nil
}

// Work is work that is under way under a mark.
type Work struct {
	file  agent.File
	given bool
}

// ByHost gives the mark to the host, which sets it when it sees the work end; else it is set when the work returns.
func (w *Work) ByHost() agent.File {
	w.given = true
	return w.file
}

// Under does the work that a mark stands for, unless that was done with the same inputs. A mark of other inputs is taken
// back first: work that fails half way leaves none, so that what was asked for before is done again, too. A mark that
// says how far the work came with these inputs (inputs, a slash, and more) stays. did tells that the work was begun.
func (j *Journal) Under(ctx context.Context, mark, inputs string, work func(w *Work) error) (did bool, err error) {
	have := j.Of(mark)
	if have == inputs {
		return false, nil
	}
	if !strings.HasPrefix(have, inputs+"/") {
		if err := j.Drop(ctx, mark); err != nil {
			return false, err
		}
	}
	w := &Work{file: j.File(mark, inputs)}
	if err := work(w); err != nil {
		return true, err
	}
	if !w.given {
		return true, j.Set(ctx, mark, inputs)
	}
	j.Note(mark, inputs)
	return true, nil
}

// Inputs is the digest of what a mark depends on.
func Inputs(values ...any) string {
	h := sha256.New()
	enc := json.NewEncoder(h)
	for _, v := range values {
		if err := enc.Encode(v); err != nil {
			// Only programming errors get here: channels, functions, NaN.
			panic(fmt.Sprintf("journal: inputs of a mark: %v", err))
		}
	}
	return hex.EncodeToString(h.Sum(nil))
}
