package upgrade

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/sealbuild/sealbuild/installer/payload"
)

// addons are what kubeadm runs in the cluster itself. It upgrades them with the last master, and says nothing where it does not:
// also the mirror of a pod of a master that is gone keeps it from it.
func addons() []string { return []string{"daemonset/kube-proxy", "deployment/coredns"} }

// AddonsFollow waits until the add-ons run with the images that the bundle brings, and says which these are. A cluster that has
// none of its own, or others in their place, keeps those.
func (u *Upgrade) AddonsFollow(ctx context.Context, step string) (note string, err error) {
	pending, err := u.Pending()
	if err != nil {
		return "", err
	}
	for _, t := range pending {
		if t.Master {
			return "", fmt.Errorf("master %s has not followed: kubeadm upgrades the add-ons with the last one", t.IP)
		}
	}
	var notes []string
	for _, name := range addons() {
		want := u.brings(name[strings.LastIndexByte(name, '/')+1:])
		image := ""
		err := u.insist(ctx, func(ctx context.Context) error {
			found, gone, err := u.addon(ctx, name)
			if err != nil || gone {
				return err
			}
			image = found.image
			if want != "" && payload.Repository(want) == payload.Repository(found.image) && want != found.image {
				return fmt.Errorf("%s runs %s, and the bundle brings %s: kubeadm has not upgraded it (do all masters run the same version?)", name, found.image, want)
			}
			return found.rolled()
		})
		if err != nil {
			return "", err
		}
		if image != "" {
			notes = append(notes, image[strings.LastIndexByte(image, '/')+1:])
		}
	}
	return strings.Join(notes, ", "), nil
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
		return fmt.Errorf("%s: %d of %d pods run %s, %d of them are available", w.name, w.updated, w.wanted, w.image, w.finished)
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
