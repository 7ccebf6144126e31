package members

import (
	"context"
	"errors"
	"fmt"

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
func (e Members) ClearKubeadmCopies(ctx context.Context, t *fleet.Target) error {
	res, err := t.Agent.Sweep(ctx, agent.SweepRequest{Dir: kubeadmTmp, Known: KubeadmCopies()})
	if refused, ok := errors.AsType[*agent.Error](err); ok && refused.Code == agent.CodeRefused {
		e.Report.Warnf("%s: kubeadm's copies of etcd's data and of manifests in %s stay: %s", t.IP, kubeadmTmp, refused.Message)
		return nil
	}
	if err != nil {
		return fmt.Errorf("remove kubeadm's copies from %s: %w", kubeadmTmp, err)
	}
	if len(res.Removed) > 0 {
		e.Report.Infof("%s: kubeadm's copies of what it replaced are removed from %s: %d, of %s", t.IP, kubeadmTmp, len(res.Removed), humanize.IBytes(uint64(res.Bytes)))
	}
	if len(res.Left) > 0 {
		e.Report.Warnf("%s: these in %s are no copies of kubeadm's upgrades and stay: %s", t.IP, kubeadmTmp, installer.NameSome(res.Left))
	}
	return nil
}
