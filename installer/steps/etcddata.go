package steps

import (
	"cmp"
	"context"
	"fmt"
	"path"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/agent"
	"github.com/sealbuild/sealbuild/installer/fleet"
	"github.com/sealbuild/sealbuild/installer/journal"
	"github.com/sealbuild/sealbuild/installer/kubeadm"
	"github.com/sealbuild/sealbuild/installer/preflight"
)

// journal.EtcdData says that etcd's data directory of a master is the cluster's: it was absent or empty when kubeadm was about to
// begin. It holds the directory, and what of its path was made then. Without it, or a manifest that names the directory,
// nothing in there is touched.

const etcdManifest = installer.KubeDir + "/manifests/etcd.yaml"

// dataDir is a directory for etcd's data on a host.
type dataDir struct {
	path string
	made string // the topmost directory on its path that was not there before; empty if all was
}

func (d dataDir) String() string { return d.path + "\n" + d.made }

// etcdData is where a host's etcd has its data, if they are the cluster's.
func etcdData(t *fleet.Target) (dataDir, bool) {
	dir, made, _ := strings.Cut(t.Journal.Of(journal.EtcdData), "\n")
	if path.IsAbs(dir) {
		return dataDir{path.Clean(dir), made}, true
	}
	// A cluster made before there was the mark.
	if t.BegunKubeadm() && t.EtcdManifest != "" {
		return dataDir{t.EtcdManifest, t.EtcdManifest}, true
	}
	return dataDir{}, false
}

// manifestDataDir reads out of etcd's manifest where its data are; empty if it does not say.
func manifestDataDir(manifest []byte) string {
	var pod struct {
		Spec struct {
			Volumes []struct {
				Name     string `yaml:"name"`
				HostPath struct {
					Path string `yaml:"path"`
				} `yaml:"hostPath"`
			} `yaml:"volumes"`
		} `yaml:"spec"`
	}
	if len(manifest) > 1<<20 || yaml.Unmarshal(manifest, &pod) != nil {
		return ""
	}
	for _, v := range pod.Spec.Volumes {
		if v.Name == "etcd-data" && path.IsAbs(v.HostPath.Path) {
			return path.Clean(v.HostPath.Path)
		}
	}
	return ""
}

// askedDataDir is where the documents want etcd's data; empty where they say nothing. It is known before any host is.
func (r *Run) askedDataDir() string {
	docs := [][]byte{}
	for _, i := range r.Payload.Images {
		if f, ok := i.Files[kubeadmFile]; ok {
			docs = append(docs, f.Content)
		}
	}
	if dir := kubeadm.EtcdDataDir(append(docs, r.Cluster.Kubeadm...)...); path.IsAbs(dir) {
		return path.Clean(dir)
	}
	return ""
}

// knownDataDir is where the cluster that is there has etcd's data; empty if there is none.
func (r *Run) knownDataDir() string {
	for _, t := range r.Masters() {
		if d, ok := etcdData(t); ok && t.Joined() {
			return d.path
		}
	}
	return ""
}

// defaultDataDir is where etcd's data go unless a document says otherwise: one level below a mount point that a master
// brings, since kubeadm refuses a directory with lost+found in it.
func (r *Run) defaultDataDir() string {
	for _, t := range r.Masters() {
		if d := t.Facts.Dirs[kubeadm.DefaultEtcdDataDir]; d.Mount && slices.Contains(d.Entries, "lost+found") {
			return path.Join(kubeadm.DefaultEtcdDataDir, "data")
		}
	}
	return kubeadm.DefaultEtcdDataDir
}

// etcdSettings gives where etcd's data are on a host of the cluster, and whether it is an etcd of the operator's own.
func (r *Run) etcdSettings(t *fleet.Target) (dir string, external bool, err error) {
	docs, err := kubeadm.Render(r.kubeadmInput(kubeadm.Init, t))
	if err != nil {
		return "", false, err
	}
	dir, external = r.etcdSettingsIn(docs)
	return dir, external, nil
}

func (r *Run) etcdSettingsIn(docs kubeadm.Documents) (dir string, external bool) {
	s := docs.Settings()
	if s.ExternalEtcd {
		return "", true
	}
	return cmp.Or(r.knownDataDir(), path.Clean(s.EtcdDataDir)), false
}

// etcdProblems judges the directory that etcd's data go to, on every host where kubeadm has not begun: nothing that lies
// there is this cluster's.
func etcdProblems(t *fleet.Target, dir string) []preflight.Problem {
	if t.BegunKubeadm() || t.Journal.Has(journal.EtcdData) {
		return nil
	}
	var out []preflight.Problem
	for _, name := range slices.Compact([]string{kubeadm.DefaultEtcdDataDir, dir}) {
		d, looked := t.Facts.Dirs[name]
		if !looked || name != dir && (strings.HasPrefix(dir, name+"/") && d.Fresh()) {
			continue
		}
		if message, remedy := occupiedDir(name, d); message != "" {
			out = append(out, preflight.Problem{Host: t.IP.String(), Check: "etcd", Message: message, Remedy: remedy})
		}
	}
	return out
}

// occupiedDir says what is in the way of etcd's data in a directory; empty if nothing is.
func occupiedDir(name string, d agent.Dir) (message, remedy string) {
	held := d.Holds()
	switch {
	case d.NotDir:
		return name + " is no directory, and etcd's data go there", "move it away"
	case d.Error != "":
		return "whether " + name + " is empty cannot be told: " + d.Error, "mend what it names"
	case len(held) == 0:
		return "", ""
	}
	more := ""
	if len(held) > 5 {
		held, more = held[:5], " and more"
	}
	return fmt.Sprintf("%s holds %s%s: etcd's data go there, and it must be absent, empty, or a mount point with only lost+found", name, strings.Join(held, ", "), more),
		fmt.Sprintf("look at what it is, and move it away: mkdir %s.before && mv %s/* %s.before/", name, name, name)
}

// claimData records that etcd's data directory of a master is the cluster's, and looks before whether it can be.
func (r *Run) claimData(ctx context.Context, t *fleet.Target, dir string) error {
	found, err := t.Agent.Dirs(ctx, upTo("/", dir)...)
	if err != nil {
		return fmt.Errorf("look at %s: %w", dir, err)
	}
	if message, remedy := occupiedDir(dir, found[dir]); message != "" {
		return fmt.Errorf("%s; nothing in it was touched (%s, and run the same command again)", message, remedy)
	}
	if t.Facts.Dirs == nil {
		t.Facts.Dirs = map[string]agent.Dir{}
	}
	t.Facts.Dirs[dir] = found[dir]
	made := ""
	for _, p := range upTo("/", dir) {
		if !found[p].Exists {
			made = p
		}
	}
	return t.Journal.Set(ctx, journal.EtcdData, dataDir{dir, made}.String())
}

// upTo lists a directory and those above it, the topmost being top or just below it if that is the root.
func upTo(top, dir string) []string {
	out := []string{dir}
	for dir != top && path.Dir(dir) != "/" {
		dir = path.Dir(dir)
		out = append(out, dir)
	}
	return out
}

// clearData removes etcd's data of this cluster from a host whose member is no more. What else was put into the directory
// stays, and so does a directory that was there before.
func (r *Run) clearData(ctx context.Context, t *fleet.Target, step string) error {
	d, ours := etcdData(t)
	if !ours {
		return nil
	}
	if err := t.Agent.Remove(ctx, []string{path.Join(d.path, "member")}); err != nil {
		return fmt.Errorf("remove etcd's data: %w", err)
	}
	found, err := t.Agent.Dirs(ctx, d.path)
	if err != nil {
		return fmt.Errorf("look at %s: %w", d.path, err)
	}
	left := found[d.path]
	if held := left.Holds(); len(held) > 0 {
		r.Report.Warnf("%s: %s keeps %s, which is not etcd's", t.IP, d.path, strings.Join(held, ", "))
	}
	if d.made != "" && left.Exists && left.Empty() && !left.Link && !left.Mount {
		if _, err := r.Exec(ctx, t, step, append([]string{"rmdir", "--ignore-fail-on-non-empty"}, upTo(d.made, d.path)...)...); err != nil {
			return err
		}
	}
	return t.Journal.Drop(ctx, journal.EtcdData)
}

// ignoredChecks are the checks of kubeadm that are wrong on a host: it takes lost+found for data.
func (r *Run) ignoredChecks(t *fleet.Target) []string {
	if !t.Master {
		return nil
	}
	dir := cmp.Or(r.knownDataDir(), r.askedDataDir(), r.defaultDataDir())
	if !t.Facts.Dirs[dir].Fresh() {
		return nil
	}
	return []string{"DirAvailable-" + strings.ReplaceAll(dir, "/", "-")}
}
