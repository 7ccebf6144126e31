// Package journal is the marks of a host: a file for each piece of work that was done there for a cluster. They lie on the
// host itself and not on the control machine: a host that was set up anew has lost its marks together with the work.
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

// Version is that of the marks: where they lie, their names, and what they say. It is raised when an installer of before would read
// one wrongly; a mark that is new, or says something new to who did not read it, raises nothing.
const Version = 1

// The marks of a host.
const (
	Begun         = "begun"          // set before anything else is changed on the host; what it says: nodes.BegunWith
	Images        = "images"         // the rootfs and patches there, a line each: DIGEST VERSION NAME; absent while they are exchanged
	Overlaid      = "overlaid"       // the paths of the files that lie over the images, one a line
	Rendered      = "rendered"       // the rendered files of images made for sealos were written
	Preflight     = "preflight"      // the image's check script passed
	Checked       = "check"          // the check script of an image made for sealos has run once more, in the rootfs
	Findings      = "check-found"    // what that script changed, as JSON
	Registry      = "init-registry"  // the init-registry script has run
	RegistryShown = "registry-shown" // the certificate and the accounts that it has put in place
	Init          = "init"           // the scripts that set up the container runtime and kubelet have run
	EtcdData      = "etcd"           // etcd's data directory is the cluster's; holds a site.DataDir
	KubeadmBegun  = "kubeadm-begun"  // set before kubeadm runs, so that the next run recognises one that was killed
	KubeadmDone   = "kubeadm-done"   // the host is in the cluster
	Settings      = "settings"       // the files of kubeadm and kubelet as they were written; holds a settings.mark
	Kubeconfig    = "kubeconfig"     // root's kubeconfig is settled
	Upgrade       = "upgrade"        // how far an upgrade has come there; holds an upgrade.mark
	Cleaned       = "cleaned"        // a reset has run the clean scripts
)

// Guest is the name of the mark of an image's commands. image is the name of the image's directory.
func Guest(image string) string { return "guest-" + image }

// Marks are the names of all marks but those of commands.
func Marks() []string {
	return []string{
		Begun, Images, Overlaid, Checked, Findings, Preflight, Rendered,
		Registry, RegistryShown, Init, EtcdData, KubeadmBegun, KubeadmDone, Settings, Kubeconfig, Upgrade, Cleaned,
	}
}

// Journal is the journal of one host, of which nothing is known before [Journal.Read]. Only the goroutine that works on the
// host writes to it; any goroutine may read it.
type Journal struct {
	cluster string
	agent   *agent.Agent
	mu      sync.RWMutex
	marks   map[string]string // what each mark says: most often the digest of its inputs
}

// Open names the cluster, and the agent of the host. It reads nothing.
func (j *Journal) Open(cluster string, a *agent.Agent) { j.cluster, j.agent = cluster, a }

// Read reads marks, in place of those that are known, and other files of the host. It returns all files that exist, by
// path.
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

// Of gives what a mark says; it is empty if the mark is not set.
func (j *Journal) Of(mark string) string {
	j.mu.RLock()
	defer j.mu.RUnlock()
	return j.marks[mark]
}

// Has tells whether a mark is set.
func (j *Journal) Has(mark string) bool { return j.Of(mark) != "" }

// Is tells whether a mark says inputs.
func (j *Journal) Is(mark, inputs string) bool { return j.Of(mark) == inputs }

// Empty tells whether no mark is set: then this cluster was never begun on the host.
func (j *Journal) Empty() bool {
	j.mu.RLock()
	defer j.mu.RUnlock()
	return len(j.marks) == 0
}

// Note takes note of a mark that the host has set itself. It writes nothing.
func (j *Journal) Note(mark, inputs string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.marks == nil {
		j.marks = map[string]string{}
	}
	j.marks[mark] = inputs
}

// Forget forgets all marks, after they were removed from the host.
func (j *Journal) Forget() {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.marks = nil
}

// Path is the file of a mark on the host.
func (j *Journal) Path(mark string) string {
	return installer.Dir(j.cluster, "journal", mark) //docs:file hosts /var/lib/sealos/data/<cluster>/journal/: marks of what is done there
}

// File is a mark as a file, for requests in which the agent sets the mark itself once it has seen the work end. That is
// best for programs that must not run twice.
func (j *Journal) File(mark, inputs string) agent.File {
	return agent.File{Path: j.Path(mark), Mode: 0o600, Content: []byte(inputs + "\n")}
}

// Set sets a mark on the host.
func (j *Journal) Set(ctx context.Context, mark, inputs string) error {
	if _, err := j.agent.WriteFiles(ctx, []agent.File{j.File(mark, inputs)}); err != nil {
		return fmt.Errorf("record %s: %w", mark, err)
	}
	j.Note(mark, inputs)
	return nil
}

// Drop takes marks back that are set, so that their work is done again. For a mark that is not set it asks nothing of the
// host.
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

// Work is work that is under way, see [Journal.Under].
type Work struct {
	file   agent.File
	byHost bool
}

// ByHost gives the mark of the work as a file, for a request in which the agent sets it. Without ByHost, [Journal.Under]
// sets the mark when the work has ended.
func (w *Work) ByHost() agent.File {
	w.byHost = true
	return w.file
}

// Under does the work of a mark, unless the mark says that it was done with the same inputs. If the mark says other inputs,
// it is taken back before the work begins: if that fails half way, no mark is left, and work with the earlier inputs is
// done again, too. Only a mark that says how far work with these inputs has come stays: inputs, a slash, and more. did
// tells whether the work began.
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
	if !w.byHost {
		return true, j.Set(ctx, mark, inputs)
	}
	j.Note(mark, inputs)
	return true, nil
}

// Inputs is a digest of values, as a mark says it. The values must be such that JSON can hold them; others panic.
func Inputs(values ...any) string {
	h := sha256.New()
	enc := json.NewEncoder(h)
	for _, v := range values {
		if err := enc.Encode(v); err != nil {
			panic(fmt.Sprintf("journal: inputs of a mark: %v", err))
		}
	}
	return hex.EncodeToString(h.Sum(nil))
}
