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

// journal.EtcdData says that etcd's data directory of a master is the cluster's: it was absent or empty when kubeadm was about to
// begin. It holds the directory, and what of its path was made then. Without it, or a manifest that names the directory,
// nothing in there is touched.

// EtcdManifest is the static pod of etcd on a master.
const EtcdManifest = installer.KubeDir + "/manifests/etcd.yaml"

// DataDir is a directory for etcd's data on a host.
type DataDir struct {
	Path string
	Made string // the topmost directory on its path that was not there before; empty if all was
}

func (d DataDir) String() string { return d.Path + "\n" + d.Made }

// EtcdData is where a host's etcd has its data, if they are the cluster's.
func EtcdData(t *fleet.Target) (DataDir, bool) {
	dir, made, _ := strings.Cut(t.Journal.Of(journal.EtcdData), "\n")
	if path.IsAbs(dir) {
		return DataDir{path.Clean(dir), made}, true
	}
	// A cluster made before there was the mark.
	if t.BegunKubeadm() && t.EtcdManifest != "" {
		return DataDir{t.EtcdManifest, t.EtcdManifest}, true
	}
	return DataDir{}, false
}

// ManifestDataDir reads out of etcd's manifest where its data are; empty if it does not say.
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

// AskedDataDir is where the documents want etcd's data; empty where they say nothing. It is known before any host is.
func (st *Site) AskedDataDir() string {
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

// knownDataDir is where the cluster that is there has etcd's data; empty if there is none.
func (st *Site) knownDataDir() string {
	for _, t := range st.Masters() {
		if d, ok := EtcdData(t); ok && t.Joined() {
			return d.Path
		}
	}
	return ""
}

// defaultDataDir is where etcd's data go unless a document says otherwise: one level below a mount point that a master
// brings, since kubeadm refuses a directory with lost+found in it.
func (st *Site) defaultDataDir() string {
	for _, t := range st.Masters() {
		if d := t.Facts.Dirs[kubeadm.DefaultEtcdDataDir]; d.Mount && slices.Contains(d.Entries, "lost+found") {
			return path.Join(kubeadm.DefaultEtcdDataDir, "data")
		}
	}
	return kubeadm.DefaultEtcdDataDir
}

// EtcdSettings gives where etcd's data are on a host of the cluster, and whether it is an etcd of the operator's own.
func (st *Site) EtcdSettings(t *fleet.Target) (dir string, external bool, err error) {
	docs, err := kubeadm.Render(st.KubeadmInput(kubeadm.Init, t))
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

// ignoredChecks are the checks of kubeadm that are wrong on a host: it takes lost+found for data.
func (st *Site) ignoredChecks(t *fleet.Target) []string {
	if !t.Master {
		return nil
	}
	dir := cmp.Or(st.knownDataDir(), st.AskedDataDir(), st.defaultDataDir())
	if !t.Facts.Dirs[dir].Fresh() {
		return nil
	}
	return []string{"DirAvailable-" + strings.ReplaceAll(dir, "/", "-")}
}

// DirsToLookAt are the directories of a host whose content matters before anything is done.
func (st *Site) DirsToLookAt() []string {
	dirs := []string{kubeadm.DefaultEtcdDataDir, path.Join(kubeadm.DefaultEtcdDataDir, "data"), cmp.Or(st.AskedDataDir(), kubeadm.DefaultEtcdDataDir)}
	slices.Sort(dirs)
	return slices.Compact(dirs)
}

// EtcdFiles are what is read of a host to know its etcd.
func EtcdFiles() []string { return []string{EtcdManifest} }
