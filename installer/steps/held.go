package steps

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/sealbuild/sealbuild/installer/agent"
	"github.com/sealbuild/sealbuild/installer/fleet"
)

// pullCare brings the image of a new care pod to a host before the pod names it:
// the container that runs there ends when the manifest changes, and the node has
// no other way to the API. Where kubelet asks the runtime itself, any registry
// will do, and kubelet pulls it in time.
func (r *Run) pullCare(ctx context.Context, t *fleet.Target, image string, pod []byte) error {
	if r.HeldPrefix(t) == "" {
		return nil
	}
	found, err := t.Agent.ReadFiles(ctx, []string{careManifest})
	if err != nil || bytes.Equal(found[careManifest], pod) {
		return err
	}
	env := r.Share(t).RootfsEnv()
	endpoint := func(socket string) string { return "unix://" + strings.TrimPrefix(socket, "unix://") }
	if res, err := t.Agent.Exec(ctx, agent.ExecRequest{Argv: []string{"crictl", "--version"}, TimeoutSeconds: 30}, io.Discard); err != nil || res.Code != 0 {
		return nil // the image brings none; kubelet will pull it
	}
	_, err = r.Exec(ctx, t, "sync-ipvs", "crictl", "--runtime-endpoint", endpoint(env["SEALOS_SYS_CRI_ENDPOINT"]), "--image-endpoint", endpoint(env["SEALOS_SYS_IMAGE_ENDPOINT"]), "pull", image)
	if err != nil && len(found[careManifest]) == 0 {
		r.Report.Warnf("%s: the image of the keeper of the virtual address cannot be pulled yet, so kubelet will: %v", t.IP, err)
		return nil // none runs that would have to end for it
	}
	if err != nil {
		return fmt.Errorf("pull the image of the keeper of the virtual address: %w (does the registry on %s answer?)", err, r.Share(t).RegistryHosts()[0])
	}
	return nil
}
