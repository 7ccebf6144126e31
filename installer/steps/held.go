package steps

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/sealbuild/sealbuild/bundle"
	"github.com/sealbuild/sealbuild/installer/agent"
	"github.com/sealbuild/sealbuild/installer/fleet"
	"github.com/sealbuild/sealbuild/installer/sealos"
)

// plainRegistry tells that the registry that the images bring on a host speaks plain HTTP.
func (r *Run) plainRegistry(t *fleet.Target) bool { return sealos.PlainRegistry(r.share(t)) }

// heldPrefix is what the container runtime of a host puts before the names of images.
func (r *Run) heldPrefix(t *fleet.Target) string { return sealos.HeldPrefix(r.share(t)) }

// careImage finds the image of the care pod in the bundle, by the name that the
// runtime of a host holds. There it bears its full name, which no other image has.
//
// It is ours whatever image the label `image` of the rootfs names: lvscare does
// not serve where the kernel has no ip_vs, keeps masters that are gone, does not
// put a route back that somebody took away, and would find the address kept by
// the unit that served while the node joined, which takes its route along.
func (r *Run) careImage(t *fleet.Target) (string, error) {
	for _, i := range r.Payload.Bundle.Images() {
		if i.Kind == bundle.KindImage && strings.HasPrefix(i.Name, "sealbuild.io/care:") {
			return r.heldPrefix(t) + i.Name, nil
		}
	}
	return "", fmt.Errorf("the bundle has no sealbuild.io/care image: build it again with this sealbuild")
}

// pullCare brings the image of a new care pod to a host before the pod names it:
// the container that runs there ends when the manifest changes, and the node has
// no other way to the API. Where kubelet asks the runtime itself, any registry
// will do, and kubelet pulls it in time.
func (r *Run) pullCare(ctx context.Context, t *fleet.Target, image string, pod []byte) error {
	if r.heldPrefix(t) == "" {
		return nil
	}
	found, err := t.Agent.ReadFiles(ctx, []string{careManifest})
	if err != nil || bytes.Equal(found[careManifest], pod) {
		return err
	}
	env := r.share(t).RootfsEnv()
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
		return fmt.Errorf("pull the image of the keeper of the virtual address: %w (does the registry on %s answer?)", err, r.share(t).RegistryHosts()[0])
	}
	return nil
}
