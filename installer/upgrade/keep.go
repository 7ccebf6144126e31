package upgrade

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/agent"
	"github.com/sealbuild/sealbuild/installer/fleet"
	"github.com/sealbuild/sealbuild/installer/site"
)

// What `kubeadm upgrade` changes of a host is kept there before, byte for byte: kubeadm itself puts back manifests alone, and
// none after it was killed.

// keeper keeps what hosts had, and gives it back.
type keeper struct{ *site.Site }

func (u *Upgrade) keeper() keeper { return keeper{u.Site} }

// components are the static pods of a control plane, as kubeadm upgrades them.
func components() []string {
	return []string{"etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler"}
}

func manifest(component string) string {
	return path.Join(installer.KubeDir, "manifests", component+".yaml")
}

const kubeletDir = "/var/lib/kubelet"

// changedByKubeadm are the files of a host that kubeadm changes, with their modes.
func changedByKubeadm(t *fleet.Target) map[string]fs.FileMode {
	out := map[string]fs.FileMode{
		kubeletDir + "/config.yaml": 0o644, kubeletDir + "/kubeadm-flags.env": 0o644, kubeletDir + "/instance-config.yaml": 0o644,
		path.Join(installer.KubeDir, "kubelet.conf"): 0o600,
	}
	if t.Master {
		for _, c := range components() {
			out[manifest(c)] = 0o600
		}
		for _, c := range []string{"admin", "super-admin", "controller-manager", "scheduler"} {
			out[path.Join(installer.KubeDir, c+".conf")] = 0o600
		}
	}
	return out
}

// keptDir is where a host keeps what it had before.
func (u keeper) keptDir() string {
	return u.Dir("before") //docs:file hosts /var/lib/sealos/data/<cluster>/before/: files that kubeadm changes in an upgrade, as they were
}

func (u keeper) kept(name string) string {
	return path.Join(u.keptDir(), strings.ReplaceAll(strings.TrimPrefix(name, "/"), "/", "_"))
}

// configMaps are the documents of the cluster that `kubeadm upgrade apply` writes before any other host has followed.
func configMaps() []string { return []string{"kubeadm-config", "kubelet-config"} }

// keep keeps what kubeadm will change, on a host that has not begun. What an upgrade before this one has kept goes.
func (u keeper) keep(ctx context.Context, t *fleet.Target) error {
	modes := changedByKubeadm(t)
	var names []string
	for name := range modes {
		names = append(names, name)
	}
	slices.Sort(names)
	found, err := t.Agent.ReadFiles(ctx, names)
	if err != nil {
		return fmt.Errorf("read what kubeadm will change: %w", err)
	}
	for _, c := range components() {
		if name := manifest(c); t.Master && found[name] == nil && (c != "etcd" || t.EtcdManifest != "") {
			return fmt.Errorf("%s is missing: put it back before an upgrade", name)
		}
	}
	var files []agent.File
	for _, name := range names {
		files = append(files, agent.File{Path: u.kept(name), Mode: 0o600, Content: found[name], Remove: found[name] == nil})
	}
	if t.Master {
		for _, name := range configMaps() {
			raw, err := u.configMap(ctx, name)
			if err != nil {
				return err
			}
			files = append(files, agent.File{Path: u.kept(name), Mode: 0o600, Content: raw, Remove: raw == nil})
		}
	}
	if _, err := t.Agent.WriteFiles(ctx, files); err != nil {
		return fmt.Errorf("keep what kubeadm will change: %w", err)
	}
	return nil
}

// giveBack writes kept files where they were. only names some of them; nil means all.
func (u keeper) giveBack(ctx context.Context, t *fleet.Target, only func(name string, now []byte) bool) error {
	modes := changedByKubeadm(t)
	var paths []string
	for name := range modes {
		paths = append(paths, u.kept(name), name)
	}
	found, err := t.Agent.ReadFiles(ctx, paths)
	if err != nil {
		return fmt.Errorf("read what was kept: %w", err)
	}
	var files []agent.File
	for name, mode := range modes {
		before, had := found[u.kept(name)]
		if only != nil && !only(name, found[name]) {
			continue
		}
		if had {
			files = append(files, agent.File{Path: name, Mode: mode, Content: before})
		} else if only == nil && found[name] != nil {
			files = append(files, agent.File{Path: name, Remove: true})
		}
	}
	slices.SortFunc(files, func(a, b agent.File) int { return strings.Compare(a.Path, b.Path) })
	_, err = t.Agent.WriteFiles(ctx, files)
	return err
}

// mendManifests puts manifests back that are missing: kubeadm moves the old one away before it moves the new one to its place,
// and, killed between, refuses to run again. It does not wait for the disk either: one that a power cut has left empty is missing,
// too.
func (u keeper) mendManifests(ctx context.Context, t *fleet.Target) error {
	return u.giveBack(ctx, t, func(name string, now []byte) bool {
		return len(bytes.Trim(now, "\x00 \t\r\n")) == 0 && path.Base(path.Dir(name)) == "manifests"
	})
}

// configMap gives the data of a ConfigMap of kube-system as JSON; nil if there is none.
func (u keeper) configMap(ctx context.Context, name string) ([]byte, error) {
	var data []byte
	err := installer.Insist(ctx, u.APIPatience(), func(ctx context.Context) error {
		raw, err := u.Kube.Kubectl(ctx, "get", "configmap", "-n", "kube-system", name, "-o", "json", "--ignore-not-found")
		if err != nil || len(raw) == 0 {
			return err
		}
		var stored struct {
			Data map[string]string `json:"data"`
		}
		if err := json.Unmarshal(raw, &stored); err != nil {
			return fmt.Errorf("decode ConfigMap kube-system/%s: %w", name, err)
		}
		data, err = json.Marshal(stored)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read ConfigMap kube-system/%s: %w", name, err)
	}
	return data, nil
}

// configMapsBack gives the cluster the documents that a host has kept.
func (u keeper) configMapsBack(ctx context.Context, t *fleet.Target) error {
	for _, name := range configMaps() {
		found, err := t.Agent.ReadFiles(ctx, []string{u.kept(name)})
		if err != nil {
			return fmt.Errorf("read what was kept: %w", err)
		}
		patch, there := found[u.kept(name)]
		if !there {
			continue
		}
		err = installer.Insist(ctx, u.APIPatience(), func(ctx context.Context) error {
			return u.Kube.PatchMap(ctx, name, patch)
		})
		if err != nil {
			return fmt.Errorf("give ConfigMap kube-system/%s back what it said: %w", name, err)
		}
	}
	return nil
}
