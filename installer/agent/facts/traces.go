package facts

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/sealbuild/sealbuild/installer/agent"
	"github.com/sealbuild/sealbuild/installer/agent/programs"
)

// UnitMark is in the systemd unit files that the images' scripts install. A runtime whose unit has it belongs to the cluster
// and is not reported.
const UnitMark = "sealos"

// runtimeKind is by what a container runtime is recognised.
type runtimeKind struct {
	name     string
	unit     string
	programs []string
	sockets  []string
}

func runtimeKinds() []runtimeKind {
	return []runtimeKind{
		{"docker", "docker.service", []string{"dockerd"}, []string{"/run/docker.sock"}},
		{"containerd", "containerd.service", []string{"containerd"}, []string{"/run/containerd/containerd.sock"}},
		{"cri-o", "crio.service", []string{"crio"}, []string{"/run/crio/crio.sock"}},
	}
}

// foreignRuntimes gives the container runtimes that no image of ours installed, each with where it was seen.
func (m machine) foreignRuntimes() []string {
	found := []string{}
	for _, k := range runtimeKinds() {
		unit, ours := m.unit(k.unit)
		if ours {
			continue
		}
		var seen []string
		if unit != "" {
			seen = append(seen, unit)
		}
		for _, p := range k.programs {
			for dir := range strings.SplitSeq(programs.SystemPath, ":") {
				// Where /bin is a link to /usr/bin, one file has two names.
				if info, err := os.Lstat(m.Path(dir)); err != nil || info.Mode()&os.ModeSymlink != 0 {
					continue
				}
				if file := filepath.Join(dir, p); m.Exists(file) {
					seen = append(seen, file)
				}
			}
		}
		for _, s := range k.sockets {
			if m.Exists(s) {
				seen = append(seen, s)
			}
		}
		if len(seen) > 0 {
			found = append(found, fmt.Sprintf("%s (%s)", k.name, strings.Join(seen, ", ")))
		}
	}
	return found
}

// unit gives the file of a unit that systemd would take, and whether it has [UnitMark].
func (m machine) unit(name string) (file string, ours bool) {
	for _, dir := range []string{"/etc/systemd/system", "/run/systemd/system", "/usr/local/lib/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system"} {
		file := filepath.Join(dir, name)
		if m.Exists(file) {
			return file, strings.Contains(m.Text(file), UnitMark)
		}
	}
	return "", false
}

// kubernetesTraces gives what an earlier cluster has left on this host, or runs there.
func (m machine) kubernetesTraces() []string {
	found := []string{}
	for _, name := range []string{"/etc/kubernetes/admin.conf", "/etc/kubernetes/kubelet.conf"} {
		if m.Exists(name) {
			found = append(found, name)
		}
	}
	found = append(found, m.Glob("/etc/kubernetes/manifests/*")...)
	if pid := m.running("kubelet"); pid != "" {
		found = append(found, "kubelet runs as process "+pid)
	}
	return found
}

// kubernetesPlaces lists what lies in the directories of Kubernetes.
func (m machine) kubernetesPlaces(f *agent.Facts) {
	f.KubernetesFiles = m.Below("/etc/kubernetes")
	entries, _ := os.ReadDir(m.Path("/var/lib/kubelet")) // mostly it is not there
	for _, e := range entries {
		f.KubeletDir = append(f.KubeletDir, e.Name())
	}
}
