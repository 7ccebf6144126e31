package steps

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/sealbuild/sealbuild/bundle"
	"github.com/sealbuild/sealbuild/installer/agent"
)

// heldPrefix is what the container runtime of a host puts before the names of
// images that it has pulled: "" where it keeps the names that are asked for.
//
// In images made for sealos kubelet asks an image-cri-shim, which asks the
// registry whether it has an image, and gives the runtime the registry's name
// for it. So that name is the one that the runtime holds. Asked for the other
// while the registry is down, the shim remembers for half an hour that there is
// no image of that name, and a pod whose container ended does not come back
// though its image lies on the host. What a node cannot do without, the keeper
// of the virtual address and the control plane, is therefore named as it is held:
// that name passes the shim unchanged, whatever it remembers.
func (r *Run) heldPrefix(t *Target) string {
	env := r.share(t).RootfsEnv()
	plain := func(socket string) string { return strings.TrimPrefix(strings.TrimPrefix(socket, "unix://"), "/var") }
	shim := env["SEALOS_SYS_IMAGE_ENDPOINT"]
	if shim == "" || plain(shim) == plain(env["SEALOS_SYS_CRI_ENDPOINT"]) || !r.plainRegistry(t) {
		return ""
	}
	return r.access().Domain + ":" + r.access().Port + "/"
}

// careImage finds the image of the care pod in the bundle, by the name that the
// runtime of a host holds. There it bears its full name, which no other image has.
//
// It is ours whatever image the label `image` of the rootfs names: lvscare does
// not serve where the kernel has no ip_vs, keeps masters that are gone, does not
// put a route back that somebody took away, and would find the address kept by
// the unit that served while the node joined, which takes its route along.
func (r *Run) careImage(t *Target) (string, error) {
	for _, i := range r.Bundle.Images() {
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
func (r *Run) pullCare(ctx context.Context, t *Target, image string, pod []byte) error {
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
	_, err = r.exec(ctx, t, "sync-ipvs", "crictl", "--runtime-endpoint", endpoint(env["SEALOS_SYS_CRI_ENDPOINT"]), "--image-endpoint", endpoint(env["SEALOS_SYS_IMAGE_ENDPOINT"]), "pull", image)
	if err != nil && len(found[careManifest]) == 0 {
		r.Report.Warnf("%s: the image of the keeper of the virtual address cannot be pulled yet, so kubelet will: %v", t.IP, err)
		return nil // none runs that would have to end for it
	}
	if err != nil {
		return fmt.Errorf("pull the image of the keeper of the virtual address: %w (does the registry on %s answer?)", err, r.share(t).RegistryHosts()[0])
	}
	return nil
}
