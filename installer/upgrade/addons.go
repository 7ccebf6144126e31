package upgrade

import (
	"context"
	"encoding/json"
	"fmt"
	"path"
	"strings"

	"github.com/sealbuild/sealbuild/ground/count"
	"github.com/sealbuild/sealbuild/installer/fleet"
	"github.com/sealbuild/sealbuild/installer/payload"
)

// addons are what kubeadm runs in the cluster itself. It would upgrade them with the last master, before that has passed its gate:
// kube-proxy may not be newer than an API server that goes back. So it is told to leave them alone, and does them here. It says
// nothing where it does not: also the mirror of a pod of a master that is gone keeps it from it.
func addons() []string { return []string{"daemonset/kube-proxy", "deployment/coredns"} }

// AddonsFollow has kubeadm upgrade the add-ons, unless they have the images that the bundle brings, waits until they run with
// these, and says which they are. A cluster that has none of its own, or others in their place, keeps those.
func (u *Upgrade) AddonsFollow(ctx context.Context, step string) (changes int, note string, err error) {
	pending, err := u.Pending()
	if err != nil {
		return 0, "", err
	}
	for _, t := range pending {
		if t.Master {
			return 0, "", fmt.Errorf("master %s has not followed: the add-ons follow once all have", t.IP)
		}
	}
	var notes []string
	for _, name := range addons() {
		var found workload
		behind := false
		err := u.gate().insist(ctx, func(ctx context.Context) (err error) {
			found, behind, err = u.behind(ctx, name)
			return err
		})
		if err == nil && behind && changes == 0 { // kubeadm does all of them
			changes = 1
			err = u.upgradeAddons(ctx, step)
		}
		if err == nil {
			err = u.gate().insist(ctx, func(ctx context.Context) error {
				if found, behind, err = u.behind(ctx, name); err != nil || found.name == "" {
					return err
				}
				if behind {
					return fmt.Errorf("%s runs %s, which is not the image that the bundle brings: kubeadm has not upgraded it (do all masters run the same version?)", name, found.image)
				}
				return found.rolled()
			})
		}
		if err != nil {
			return changes, "", err
		}
		if found.image != "" {
			notes = append(notes, found.image[strings.LastIndexByte(found.image, '/')+1:])
		}
	}
	return changes, strings.Join(notes, ", "), nil
}

// behind asks for an add-on, and tells whether it has another image than the bundle brings for it. The workload is empty where
// the cluster has none.
func (u *Upgrade) behind(ctx context.Context, name string) (workload, bool, error) {
	found, gone, err := u.addon(ctx, name)
	if err != nil || gone {
		return workload{}, false, err
	}
	want := u.brings(name[strings.LastIndexByte(name, '/')+1:])
	return found, want != "" && payload.Repository(want) == payload.Repository(found.image) && want != found.image, nil
}

// skipAddons keeps `kubeadm upgrade` from them.
const skipAddons = "--skip-phases=addon"

// upgradeAddons has the kubeadm of the new rootfs upgrade them, on any master.
func (u *Upgrade) upgradeAddons(ctx context.Context, step string) error {
	masters := fleet.Only(u.Masters(), (*fleet.Target).InCluster)
	if len(masters) == 0 {
		return fmt.Errorf("no master of the cluster is named: kubeadm upgrades the add-ons from one")
	}
	_, err := u.Exec(ctx, masters[0], step, path.Join(u.RootfsDir(), "bin", "kubeadm"), "upgrade", "node", "phase", "addon", "all")
	return err
}

// brings is the image of an add-on that the bundle brings; empty if it has none, or several.
func (u *Upgrade) brings(name string) string {
	out := ""
	for _, i := range payload.ContainerImages(u.Payload.Bundle) {
		if repo := payload.Repository(i.Name); repo[strings.LastIndexByte(repo, '/')+1:] == name {
			if out != "" {
				return ""
			}
			out = i.Name
		}
	}
	return out
}

// workload is what a DaemonSet or a Deployment says of its rollout.
type workload struct {
	name, image               string
	generation, observed      int64
	wanted, updated, finished int64
}

// rolled is an error unless all pods run as the workload says.
func (w workload) rolled() error {
	if w.observed < w.generation || w.updated < w.wanted || w.finished < w.wanted {
		return fmt.Errorf("%s: %d of %s %s %s, %d of them available", w.name, w.updated, count.Of(w.wanted, "pod"), count.Word(w.wanted, "runs", "run"), w.image, w.finished)
	}
	return nil
}

// addon asks for an add-on; gone says that the cluster has none.
func (u *Upgrade) addon(ctx context.Context, name string) (w workload, gone bool, err error) {
	raw, err := u.Kube.Kubectl(ctx, "get", "-n", "kube-system", name, "-o", "json", "--ignore-not-found")
	if err != nil || len(raw) == 0 {
		return workload{}, err == nil, err
	}
	var o struct {
		Metadata struct {
			Generation int64 `json:"generation"`
		} `json:"metadata"`
		Spec struct {
			Replicas *int64 `json:"replicas"`
			Template struct {
				Spec struct {
					Containers []struct {
						Image string `json:"image"`
					} `json:"containers"`
				} `json:"spec"`
			} `json:"template"`
		} `json:"spec"`
		Status struct {
			Observed  int64 `json:"observedGeneration"`
			Desired   int64 `json:"desiredNumberScheduled"`
			Scheduled int64 `json:"updatedNumberScheduled"`
			Ready     int64 `json:"numberReady"`
			Updated   int64 `json:"updatedReplicas"`
			Available int64 `json:"availableReplicas"`
		} `json:"status"`
	}
	if err := json.Unmarshal(raw, &o); err != nil {
		return workload{}, false, fmt.Errorf("decode %s: %w", name, err)
	}
	w = workload{name: name, generation: o.Metadata.Generation, observed: o.Status.Observed}
	if len(o.Spec.Template.Spec.Containers) > 0 {
		w.image = o.Spec.Template.Spec.Containers[0].Image
	}
	if o.Spec.Replicas != nil {
		w.wanted, w.updated, w.finished = *o.Spec.Replicas, o.Status.Updated, o.Status.Available
	} else {
		w.wanted, w.updated, w.finished = o.Status.Desired, o.Status.Scheduled, o.Status.Ready
	}
	return w, false, nil
}

// imageVersion is the tag of the image in the manifest of a static pod; empty if there is none.
func imageVersion(manifest []byte) string {
	for line := range strings.Lines(string(manifest)) {
		line = strings.TrimRight(line, "\n")
		if image, ok := strings.CutPrefix(strings.TrimLeft(line, " -"), "image: "); ok {
			if repo := payload.Repository(image); len(image) > len(repo) {
				return strings.TrimPrefix(image[len(repo):], ":")
			}
		}
	}
	return ""
}
