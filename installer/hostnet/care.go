package hostnet

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/agent"
	"github.com/sealbuild/sealbuild/installer/care"
	"github.com/sealbuild/sealbuild/installer/fleet"
	"github.com/sealbuild/sealbuild/installer/sealos"
)

// CareManifest is the static pod of care on a worker.
const CareManifest = installer.KubeDir + "/manifests/" + care.PodName + ".yaml"

// PullCare pulls the image of a new care pod on a worker before the pod names it. The container that runs there ends when
// the manifest changes, and then the host has no other way to the API. Where kubelet asks the runtime itself nothing needs
// to be done: any registry will do, and kubelet pulls the image in time.
func (n Net) PullCare(ctx context.Context, t *fleet.Target, image string, pod []byte) error {
	if sealos.HeldPrefix(n.Share(t)) == "" {
		return nil
	}
	found, err := t.Agent.ReadFiles(ctx, []string{CareManifest})
	if err != nil || bytes.Equal(found[CareManifest], pod) {
		return err
	}
	env := n.Share(t).RootfsEnv()
	endpoint := func(socket string) string { return "unix://" + strings.TrimPrefix(socket, "unix://") }
	if res, err := t.Agent.Exec(ctx, agent.ExecRequest{Argv: []string{"crictl", "--version"}, TimeoutSeconds: 30}, io.Discard); err != nil || res.Code != 0 {
		return nil // the rootfs brings no crictl; kubelet will pull the image
	}
	_, err = n.Exec(ctx, t, "sync-ipvs", "crictl", "--runtime-endpoint", endpoint(env["SEALOS_SYS_CRI_ENDPOINT"]), "--image-endpoint", endpoint(env["SEALOS_SYS_IMAGE_ENDPOINT"]), "pull", image)
	if err != nil && len(found[CareManifest]) == 0 {
		n.Report.Warnf("%s: the image of the keeper of the virtual address cannot be pulled yet, so kubelet will: %v", t.IP, err)
		return nil // no care runs that would end for it
	}
	if err != nil {
		return fmt.Errorf("pull the image of the keeper of the virtual address: %w (does the registry on %s answer?)", err, n.Share(t).RegistryHosts()[0])
	}
	return nil
}

// StartCare makes the virtual address work on a worker before it joins.
func (n Net) StartCare(ctx context.Context, t *fleet.Target) error {
	vip, servers, err := n.VirtualServer()
	if err != nil {
		return err
	}
	if !t.Facts.Modules["ip_vs"] {
		n.Report.Warnf("%s: its kernel has no ip_vs: the virtual address %s is served by a userspace proxy instead", t.IP, vip.Addr())
	}
	// A care that runs already may be of an earlier bundle.
	if err := t.Agent.CareStop(ctx, care.Unit); err != nil {
		return err
	}
	if err := t.Agent.CareStart(ctx, care.Unit, append([]string{installer.StubPath}, care.Args(vip, servers, care.ModeAuto)...)); err != nil {
		return err
	}
	// kubeadm would wait five minutes for an address that does not answer, and say little.
	_, err = n.Exec(ctx, t, "join-nodes", t.Stub, "care", "--check", "--vs", vip.String())
	return err
}
