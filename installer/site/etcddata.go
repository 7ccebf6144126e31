package site

import (
	"cmp"
	"path"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/fleet"
	"github.com/sealbuild/sealbuild/installer/journal"
	"github.com/sealbuild/sealbuild/installer/kubeadm"
)

// The mark journal.EtcdData says that etcd's data directory on a master is the cluster's: it was absent or empty when kubeadm was
// about to begin. The mark holds a [DataDir]. Without it, or a manifest that names the directory, nothing in there is touched.

// EtcdManifest is the static pod of etcd on a master.
const EtcdManifest = installer.KubeDir + "/manifests/etcd.yaml"

// DataDir is a directory for etcd's data on a host.
type DataDir struct {
	Path string
	Made string // the topmost directory of Path that was not there before; empty if all of them were
}

func (d DataDir) String() string { return d.Path + "\n" + d.Made }

// EtcdData is where etcd has its data on a host; ours is false if nothing says that they are the cluster's.
func EtcdData(t *fleet.Target) (DataDir, bool) {
	dir, made, _ := strings.Cut(t.Journal.Of(journal.EtcdData), "\n")
	if path.IsAbs(dir) {
		return DataDir{path.Clean(dir), made}, true
	}
	// An installer that did not write the mark made the cluster.
	if t.BegunKubeadm() && t.EtcdManifest != "" {
		return DataDir{t.EtcdManifest, t.EtcdManifest}, true
	}
	return DataDir{}, false
}

// ManifestDataDir reads from the manifest of etcd where its data are; it is empty if the manifest does not say.
func ManifestDataDir(manifest []byte) string {
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

// askedDataDir is where the documents want etcd's data; it is empty if they say nothing. It is known before any host is
// reached.
func (st *Site) askedDataDir() string {
	docs := [][]byte{}
	for _, i := range st.Payload.Images {
		if f, ok := i.Files[kubeadmFile]; ok {
			docs = append(docs, f.Content)
		}
	}
	if dir := kubeadm.EtcdDataDir(append(docs, st.Cluster.Kubeadm...)...); path.IsAbs(dir) {
		return path.Clean(dir)
	}
	return ""
}

// knownDataDir is where the cluster that exists has etcd's data; it is empty if there is no cluster.
func (st *Site) knownDataDir() string {
	for _, t := range st.Masters() {
		if d, ours := EtcdData(t); ours && t.Joined() {
			return d.Path
		}
	}
	return ""
}

// defaultDataDir is where etcd's data go unless a document says otherwise. If a master has a mount point there, it is one
// level below: kubeadm refuses a directory with lost+found in it.
func (st *Site) defaultDataDir() string {
	for _, t := range st.Masters() {
		if d := t.Facts.Dirs[kubeadm.DefaultEtcdDataDir]; d.Mount && slices.Contains(d.Entries, "lost+found") {
			return path.Join(kubeadm.DefaultEtcdDataDir, "data")
		}
	}
	return kubeadm.DefaultEtcdDataDir
}

// EtcdSettings gives where etcd's data are on a host of the cluster, and whether the operator has an etcd of their own
// (external).
func (st *Site) EtcdSettings(t *fleet.Target) (dir string, external bool, err error) {
	docs, err := st.InitDocuments(t)
	if err != nil {
		return "", false, err
	}
	dir, external = st.etcdSettingsIn(docs)
	return dir, external, nil
}

func (st *Site) etcdSettingsIn(docs kubeadm.Documents) (dir string, external bool) {
	s := docs.Settings()
	if s.ExternalEtcd {
		return "", true
	}
	return cmp.Or(st.knownDataDir(), path.Clean(s.EtcdDataDir)), false
}

// ignoredChecks are the checks of kubeadm that would wrongly refuse a host: kubeadm takes lost+found for data.
func ignoredChecks(st *Site, t *fleet.Target) []string {
	if !t.Master {
		return nil
	}
	dir := cmp.Or(st.knownDataDir(), st.askedDataDir(), st.defaultDataDir())
	if !t.Facts.Dirs[dir].Fresh() {
		return nil
	}
	return []string{"DirAvailable-" + strings.ReplaceAll(dir, "/", "-")}
}

// dirsToLookAt are the directories of a host whose content is judged before anything is changed.
func (st *Site) dirsToLookAt() []string {
	dirs := []string{kubeadm.DefaultEtcdDataDir, path.Join(kubeadm.DefaultEtcdDataDir, "data"), cmp.Or(st.askedDataDir(), kubeadm.DefaultEtcdDataDir)}
	slices.Sort(dirs)
	return slices.Compact(dirs)
}
