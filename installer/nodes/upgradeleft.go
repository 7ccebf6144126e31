package nodes

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path"
	"slices"

	"github.com/dustin/go-humanize"

	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/agent"
	"github.com/sealbuild/sealbuild/installer/fleet"
)

// kubeadmTmp is where kubeadm keeps copies of what an upgrade replaces.
const kubeadmTmp = installer.KubeDir + "/tmp"

// KubeadmCopies are the directories that each run of `kubeadm upgrade` makes there, as patterns of path.Match. It removes the new
// manifests only, and those only if it succeeds; the others stay, the copy of etcd's data among them. Names end in the time or in
// a number (CreateTimestampDir and CreateTempDir in kubeadm's constants).
func KubeadmCopies() []string {
	return []string{
		"kubeadm-backup-etcd-[0-9]*", "kubeadm-backup-manifests-[0-9]*", "kubeadm-upgraded-manifests[0-9]*",
		"kubeadm-kubelet-config-[0-9]*", "kubeadm-kubelet-config[0-9]*", "kubeadm-kubelet-env[0-9]*",
	}
}

// ClearKubeadmCopies removes from a host what `kubeadm upgrade` keeps there of each run, earlier ones and those of other hands
// included: a copy of etcd's data each time, with all Secrets. What else lies there stays, and is told.
func (n *Nodes) ClearKubeadmCopies(ctx context.Context, t *fleet.Target) error {
	res, err := t.Agent.Sweep(ctx, agent.SweepRequest{Dir: kubeadmTmp, Known: KubeadmCopies()})
	if refused, ok := errors.AsType[*agent.Error](err); ok && refused.Code == agent.CodeRefused {
		n.Report.Warnf("%s: kubeadm's copies of etcd's data and of manifests in %s stay: %s", t.IP, kubeadmTmp, refused.Message)
		return nil
	}
	if err != nil {
		return fmt.Errorf("remove kubeadm's copies from %s: %w", kubeadmTmp, err)
	}
	if len(res.Removed) > 0 {
		n.Report.Infof("%s: kubeadm's copies of what it replaced are removed from %s: %d, of %s", t.IP, kubeadmTmp, len(res.Removed), humanize.IBytes(uint64(res.Bytes)))
	}
	if len(res.Left) > 0 {
		n.Report.Warnf("%s: these in %s are no copies of kubeadm's upgrades and stay: %s", t.IP, kubeadmTmp, installer.NameSome(res.Left))
	}
	return nil
}

// controlPlanePods are the static pods whose manifests kubeadm replaces.
func controlPlanePods() []string {
	return []string{"etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler"}
}

// MissingManifests names the files of static pods that were kept before an upgrade and that the host lacks now. kubeadm moves the old
// manifest away and then the new one in; killed between the two it leaves none, and refuses to go on. It does not wait
// for the disk, so after a power cut a manifest may be there and empty: that is as good as none. kept and there are contents by
// file name ("etcd.yaml"); of the kept, only those count that kubeadm replaces.
func MissingManifests(kept, there map[string][]byte) (names []string) {
	for _, pod := range controlPlanePods() {
		name := pod + ".yaml"
		if _, had := kept[name]; had && len(bytes.Trim(there[name], "\x00 \t\r\n")) == 0 {
			names = append(names, name)
		}
	}
	return names
}

// PutBackManifests puts those manifests back on a host that it lacks of the kept, each in one step, and names them.
func (n *Nodes) PutBackManifests(ctx context.Context, t *fleet.Target, kept map[string][]byte) (names []string, err error) {
	var paths []string
	for name := range kept {
		paths = append(paths, path.Join(kubeManifests, name))
	}
	slices.Sort(paths)
	found, err := t.Agent.ReadFiles(ctx, paths)
	if err != nil {
		return nil, fmt.Errorf("look for the manifests of static pods: %w", err)
	}
	there := map[string][]byte{}
	for at, content := range found {
		there[path.Base(at)] = content
	}
	var files []agent.File
	for _, name := range MissingManifests(kept, there) {
		names = append(names, name)
		files = append(files, agent.File{Path: path.Join(kubeManifests, name), Mode: 0o600, Content: kept[name]})
	}
	if _, err := t.Agent.WriteFiles(ctx, files); err != nil {
		return nil, fmt.Errorf("put manifests of static pods back: %w", err)
	}
	return names, nil
}
