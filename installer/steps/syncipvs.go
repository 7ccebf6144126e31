package steps

import (
	"context"
	"fmt"
	"sync/atomic"

	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/agent"
	"github.com/sealbuild/sealbuild/installer/care"
	"github.com/sealbuild/sealbuild/installer/fleet"
)

const careManifest = installer.KubeDir + "/manifests/" + care.PodName + ".yaml"

// startCare makes the virtual address work on a node before it joins.
func (r *Run) startCare(ctx context.Context, t *fleet.Target) error {
	vip, servers, err := r.VirtualServer()
	if err != nil {
		return err
	}
	if !t.Facts.Modules["ip_vs"] {
		r.Report.Warnf("%s: its kernel has no ip_vs: the virtual address %s is served by a userspace proxy instead", t.IP, vip.Addr())
	}
	// One that runs may be of an earlier bundle.
	if err := t.Agent.CareStop(ctx, care.Unit); err != nil {
		return err
	}
	if err := t.Agent.CareStart(ctx, care.Unit, append([]string{installer.StubPath}, care.Args(vip, servers, care.ModeAuto)...)); err != nil {
		return err
	}
	// kubeadm would wait five minutes for an address that does not answer, and say little.
	_, err = r.Exec(ctx, t, "join-nodes", t.Stub, "care", "--check", "--vs", vip.String())
	return err
}

// syncIPVS writes the care pod with exactly the masters of now on every node.
func (r *Run) syncIPVS(ctx context.Context) (installer.Result, error) {
	vip, servers, err := r.VirtualServer()
	if err != nil {
		return installer.Result{}, err
	}
	if _, err := r.CareImage(r.Master0()); err != nil {
		return installer.Result{}, err
	}
	var changes atomic.Int64
	err = r.Each(ctx, r.Workers(), func(ctx context.Context, t *fleet.Target) error {
		image, err := r.CareImage(t)
		if err != nil {
			return err
		}
		pod, err := care.StaticPod(image, vip, servers, care.ModeAuto)
		if err != nil {
			return err
		}
		if err := r.pullCare(ctx, t, image, pod); err != nil {
			return err
		}
		changed, err := t.Agent.WriteFiles(ctx, []agent.File{{Path: careManifest, Mode: 0o600, Content: pod}})
		changes.Add(int64(len(changed)))
		return err
	})
	return installer.Result{Changes: int(changes.Load()), Note: fmt.Sprintf("%d masters behind %s", len(servers), vip)}, err
}
