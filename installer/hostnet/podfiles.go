package hostnet

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/agent"
	"github.com/sealbuild/sealbuild/installer/fleet"
	"github.com/sealbuild/sealbuild/installer/journal"
)

// Others put files beside those of the network of pods: plugins and networks of nerdctl or podman, of backup or storage agents. So
// of what is newer than the cluster only that is removed of which something tells whose it is: the image brings a plugin or a
// configuration of that name, or a network of pods is known to write it. What nothing tells of stays, and is named.

const (
	cniConfigs = "/etc/cni"
	cniPlugins = "/opt/cni"
	cniState   = "/var/lib/cni"
)

// podNetworks are networks whose pods write plugins and configurations on hosts, as their plugins' names begin: the manifests of
// the projects have them.
func podNetworks() []string {
	return []string{"antrea", "calico", "cilium", "flannel", "kube-ovn", "multus", "weave", "whereabouts"}
}

// ofPods tells whether the name of a plugin is that of a network of pods.
func ofPods(plugin string) bool {
	return slices.ContainsFunc(podNetworks(), func(n string) bool { return plugin == n || strings.HasPrefix(plugin, n+"-") })
}

// network is a configuration that a container runtime takes: one plugin, or a list of them.
type network struct {
	Name    string `json:"name"`
	Type    string `json:"type"`
	Plugins []struct {
		Type string `json:"type"`
	} `json:"plugins"`
}

func readNetwork(text []byte) (n network) {
	_ = json.Unmarshal(text, &n) // what is none tells nothing
	return n
}

func (n network) ofPods() bool {
	return ofPods(n.Type) || slices.ContainsFunc(n.Plugins, func(p struct {
		Type string `json:"type"`
	},
	) bool {
		return ofPods(p.Type)
	})
}

// netFiles is what a host has of networks.
type netFiles struct {
	newer   []string           // than the cluster
	configs map[string]network // all of them, by path
	shipped map[string]bool    // paths and names of plugins that the image brings
}

// shippedKey says under which key netFiles.shipped has a file. Archives have plugins under any directory.
func shippedKey(name string) string {
	if strings.HasPrefix(name, cniPlugins+"/") {
		return "plugin " + path.Base(name)
	}
	return name
}

// ours tells whether a file below the directories of configurations and plugins is known to be the cluster's.
func (f netFiles) ours(name string) bool {
	if f.shipped[shippedKey(name)] {
		return true
	}
	if n, is := f.configs[name]; is {
		return n.ofPods()
	}
	below := strings.TrimPrefix(strings.TrimPrefix(name, cniConfigs+"/net.d/"), cniPlugins+"/bin/")
	first, _, _ := strings.Cut(below, "/") // multus.d/multus.kubeconfig
	stem, _, _ := strings.Cut(first, ".")
	return ofPods(stem) // calico-kubeconfig, flannel, calico-ipam
}

// split says which of the newer files go. Addresses and results of networks that stay, stay.
func (f netFiles) split() (gone, stay []string) {
	kept := map[string]bool{}
	for name, n := range f.configs {
		if goes := slices.Contains(f.newer, name) && f.ours(name); !goes && n.Name != "" {
			kept[n.Name] = true
		}
	}
	for _, name := range f.newer {
		switch {
		case strings.HasPrefix(name, cniState+"/"):
			held := false
			for n := range kept {
				held = held || strings.Contains(name, "/"+n+"/") || strings.Contains(name, "/"+n+"-")
			}
			if !held {
				gone = append(gone, name)
			}
		case !strings.HasPrefix(name, cniConfigs+"/") && !strings.HasPrefix(name, cniPlugins+"/"), f.ours(name):
			gone = append(gone, name)
		default:
			stay = append(stay, name)
		}
	}
	return gone, stay
}

// removePodFiles removes from a host what the network of pods has written, and warns of what may be the site's.
func (n Net) removePodFiles(ctx context.Context, t *fleet.Target) error {
	begun := t.Journal.Path(journal.Begun)
	var dirs []string
	for _, dir := range podNetworkDirs() {
		there, err := t.Agent.Exec(ctx, agent.ExecRequest{Argv: []string{"test", "-d", dir}, TimeoutSeconds: 10}, nil)
		if err != nil {
			return err
		}
		if there.Code == 0 {
			dirs = append(dirs, dir)
		}
	}
	if len(dirs) == 0 {
		return nil
	}
	var f netFiles
	var err error
	if f.newer, err = find(ctx, t, dirs, "!", "-type", "d", "-cnewer", begun); err != nil {
		return err
	}
	if f.configs, err = configsOf(ctx, t, dirs); err != nil {
		return err
	}
	if f.shipped, err = n.shippedTo(ctx, t); err != nil {
		return err
	}
	gone, stay := f.split()
	if len(gone) > 0 {
		list := []byte(strings.Join(gone, "\x00") + "\x00")
		if _, err := n.ExecWith(ctx, t, "clean", agent.ExecRequest{Argv: []string{"xargs", "-0", "rm", "-f", "--"}, Stdin: list}); err != nil {
			return err
		}
	}
	// A directory that was emptied now has changed now; an empty one of before stays.
	if _, err := n.Exec(ctx, t, "clean", slices.Concat([]string{"find"}, dirs, []string{"-type", "d", "-cnewer", begun, "-empty", "-delete"})...); err != nil {
		return err
	}
	if len(stay) > 0 {
		slices.Sort(stay)
		n.Report.Warnf("%s: these came after the cluster, and nothing tells that they are of its network; they stay, and the next cluster there would find them: %s",
			t.IP, installer.NameSome(stay))
	}
	return nil
}

// find lists files of a host.
func find(ctx context.Context, t *fleet.Target, dirs []string, which ...string) ([]string, error) {
	argv := slices.Concat([]string{"find"}, dirs, which, []string{"-print0"})
	res, err := t.Agent.Exec(ctx, agent.ExecRequest{Argv: argv, TimeoutSeconds: 60}, nil)
	if err != nil {
		return nil, err
	}
	out, err := res.Whole()
	if err == nil && res.Code != 0 {
		err = &installer.CommandError{Host: t.IP.String(), Command: strings.Join(argv, " "), Code: res.Code, Tail: installer.Tail(string(res.Stderr), 5)}
	}
	if err != nil {
		return nil, fmt.Errorf("look for files of networks: %w", err)
	}
	return strings.FieldsFunc(string(out), func(r rune) bool { return r == 0 }), nil
}

// configsOf reads the configurations of networks on a host.
func configsOf(ctx context.Context, t *fleet.Target, dirs []string) (map[string]network, error) {
	if !slices.Contains(dirs, cniConfigs) {
		return nil, nil
	}
	names, err := find(ctx, t, []string{cniConfigs}, "-type", "f", "-size", "-64k", "(", "-name", "*.conf*", "-o", "-name", "*.json", ")")
	if err != nil || len(names) == 0 {
		return nil, err
	}
	found, err := t.Agent.ReadFiles(ctx, names)
	if err != nil {
		return nil, err
	}
	out := map[string]network{}
	for name, text := range found {
		out[name] = readNetwork(text)
	}
	return out, nil
}

// shippedTo is what the images bring a host of plugins and configurations: in archives of the rootfs, and as files.
func (n Net) shippedTo(ctx context.Context, t *fleet.Target) (map[string]bool, error) {
	out := map[string]bool{}
	plain, err := find(ctx, t, []string{n.RootfsDir()}, "-type", "f", "-path", "*cni*")
	if err != nil {
		return nil, err
	}
	archives, err := find(ctx, t, []string{n.RootfsDir()}, "-type", "f", "(", "-name", "*.tar", "-o", "-name", "*.tgz", "-o", "-name", "*.tar.*", ")")
	if err != nil {
		return nil, err
	}
	for _, name := range plain {
		note(out, name, true)
	}
	for _, archive := range archives {
		// One that cannot be listed tells nothing: what it brought stays, and is named.
		res, err := t.Agent.Exec(ctx, agent.ExecRequest{Argv: []string{"tar", "-tf", archive}, TimeoutSeconds: 120}, nil)
		if err != nil {
			return nil, err
		}
		names, err := res.Whole()
		if err != nil || res.Code != 0 {
			continue
		}
		for line := range bytes.Lines(names) {
			note(out, strings.TrimSpace(string(line)), strings.Contains(path.Base(archive), "cni"))
		}
	}
	return out, nil
}

// note notes the name of a file that an image brings. plugins says that it may be a plugin wherever it lies.
func note(shipped map[string]bool, name string, plugins bool) {
	if _, below, ok := strings.Cut("/"+name, cniConfigs+"/"); ok {
		shipped[cniConfigs+"/"+below] = true
	}
	if plugins || strings.Contains(name, strings.TrimPrefix(cniPlugins, "/")+"/") {
		shipped["plugin "+path.Base(name)] = true
	}
}
