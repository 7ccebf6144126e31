package payload

import (
	"cmp"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/sealbuild/sealbuild/installer"
)

// Share is what one host has of a payload, in the cluster that is wanted. It is made anew for each question, from what is
// known then.
type Share struct {
	*Payload
	Cluster  *installer.Cluster
	Host     installer.Host
	Variant  []*Image    // the images of the host's architecture; nil where the first master has the same
	First    func() bool // tells whether the host is the first master now: that one has the applications
	Access   Access      // to the registry of the cluster
	Overlays Overlays    // the files rendered for the host; nil before that
}

// Overlays are the files that are rendered for one host, by image.
type Overlays map[*Image]Overlay

// All are the images of the cluster in the host's architecture. Their order is the same on every host.
func (s Share) All() []*Image {
	if s.Variant != nil {
		return s.Variant
	}
	return s.Images
}

// Here are the images of the bundle that lie on the host: applications lie on the first master only.
func (s Share) Here() []*Image {
	out := s.system()
	if s.First() {
		out = slices.Clone(s.All())
	}
	return slices.DeleteFunc(out, func(i *Image) bool { return i.Recorded })
}

// system are the rootfs and the patches for the host.
func (s Share) system() []*Image {
	return slices.DeleteFunc(slices.Clone(s.All()), func(i *Image) bool { return i.Type == installer.TypeApplication })
}

// RegistryHosts lists the addresses of the registries in the order in which the host asks them. A master asks its own
// first. The first one of the others differs from host to host, so that not all ask the first master. A host that leaves the
// cluster asks that first.
func (s Share) RegistryHosts() []string {
	ips := s.Cluster.MasterIPs()
	i := slices.Index(ips, s.Host.IP.String())
	if i < 0 {
		i = max(0, slices.IndexFunc(s.Cluster.Hosts, func(h installer.Host) bool { return h.IP == s.Host.IP })) % len(ips)
	}
	return slices.Concat(ips[i:], ips[:i])
}

// Env is the environment of an image's scripts and templates on the host.
func (s Share) Env(i *Image) map[string]string {
	mode := "node"
	if s.Host.Master {
		mode = "master"
	}
	system := map[string]string{
		"registryUsername":              s.Access.User,
		"registryPassword":              s.Access.Password,
		"registryPort":                  s.Access.Port,
		"registryDomain":                s.Access.Domain,
		"registryData":                  s.Access.Data,
		"defaultVIP":                    s.VIP(s.Cluster),
		"SEALOS_SYS_SEALINSTALL":        installer.StubPath,
		"SEALOS_SYS_HOST_IP":            s.Host.IP.String(),
		"SEALOS_SYS_RUN_MODE":           mode,
		"SEALOS_SYS_CLUSTER":            s.Cluster.Name,
		"SEALOS_SYS_KUBE_VERSION":       s.Rootfs().KubeVersion(),
		"SEALOS_SYS_SEALOS_VERSION":     s.Rootfs().Labels["sealos.io.version"],
		"SEALOS_SYS_REGISTRY_HOSTS":     strings.Join(s.RegistryHosts(), " "),
		"SEALOS_SYS_MASTERS":            strings.Join(s.Cluster.MasterIPs(), " "),
		"SEALOS_SYS_VIP":                s.VIP(s.Cluster),
		"SEALOS_SYS_ROOTFS":             installer.Dir(s.Cluster.Name, "rootfs"),
		"SEALOS_SYS_APISERVER_ENDPOINT": installer.APIServerDomain,
	}
	return installer.MergeEnv(s.All()[0].Env, i.Env, s.Cluster.Env, s.Host.Env, system)
}

// RootfsEnv is the environment of the rootfs on the host.
func (s Share) RootfsEnv() map[string]string { return s.Env(s.All()[0]) }

// RuntimeSocket is the path of the socket of the host's container runtime.
func (s Share) RuntimeSocket() string {
	socket := installer.MergeEnv(s.Rootfs().Env, s.Cluster.Env, s.Host.Env)["SEALOS_SYS_CRI_ENDPOINT"]
	return strings.TrimPrefix(cmp.Or(socket, "/run/containerd/containerd.sock"), "unix://")
}

// scriptsByFile are the scripts that run where an image has their file, with a label or without. init-cri and clean-cri are
// not among them: images made for sealos have these files, too, but call them from init and clean, with arguments. Nor is
// prepare: what a file of that name does there nobody knows.
var scriptsByFile = []string{"check", "init", "clean", "init-registry", "clean-registry"}

// Scripts are the labels that name scripts.
func Scripts() []string {
	return append(slices.Clone(scriptsByFile), "init-cri", "clean-cri", "auth", "prepare")
}

// Script finds the image that provides a script on the host, and the shell text that runs it: what the label says, or
// KEY.sh where the image has that file. The last image that has it counts. line is empty if none has.
func (s Share) Script(key string) (img *Image, line string) {
	for _, i := range s.system() {
		label, has := i.Labels[key]
		_, file := i.Files["scripts/"+key+".sh"]
		_, tmpl := i.Files["scripts/"+key+".sh.tmpl"]
		switch {
		case has:
			img, line = i, label
		case (file || tmpl) && slices.Contains(scriptsByFile, key):
			img, line = i, key+".sh"
		}
	}
	return img, line
}

// Render renders the templates of the host. It gives an error for each image where that fails.
func (s Share) Render() (out Overlays, failed []error) {
	out = Overlays{}
	for _, i := range s.Here() {
		o, err := i.Overlay(s.Cluster.Configs, s.Env(i))
		if err != nil {
			failed = append(failed, err)
			continue
		}
		out[i] = o
	}
	return out, failed
}

// Rendered are the files that lie over the images of one directory of the host. Where several images have a file, as a
// template, plain or by a Config document, the last one counts.
func (s Share) Rendered(dir string) Overlay {
	out := Overlay{}
	for _, i := range s.Here() {
		if i.Dir != dir {
			continue
		}
		for name := range i.Files {
			delete(out, name)
		}
		maps.Copy(out, s.Overlays[i])
	}
	return out
}

// Overlaid are the paths of all files that lie over the images of the host, sorted.
func (s Share) Overlaid() []string {
	var out []string
	for _, dir := range s.Dirs() {
		for name := range s.Rendered(dir) {
			out = append(out, path.Join(dir, name))
		}
	}
	slices.Sort(out)
	return out
}

// SystemFiles are the small files of the rootfs and the patches as they will be on the host, by path.
func (s Share) SystemFiles() (map[string]File, error) {
	out := map[string]File{}
	for _, i := range s.system() {
		overlay, err := i.Overlay(s.Cluster.Configs, s.Env(i))
		if err != nil {
			return nil, err
		}
		maps.Copy(out, i.Files)
		maps.Copy(out, overlay)
	}
	return out, nil
}

// SystemFile is a file of the rootfs and the patches as it is on the host, or its template before that is rendered.
func (s Share) SystemFile(name string) (text []byte, ok bool) {
	all := s.Documents(name+".tmpl", name)
	if len(all) == 0 {
		return nil, false
	}
	return all[len(all)-1], true
}

// Documents are the contents of the files of given names in the rootfs and each patch, the rootfs first; of each image first
// the plain ones, then the rendered ones.
func (s Share) Documents(names ...string) [][]byte {
	var out [][]byte
	for _, i := range s.system() {
		for _, files := range []map[string]File{i.Files, s.Overlays[i]} {
			for _, name := range names {
				if f, ok := files[name]; ok {
					out = append(out, f.Content)
				}
			}
		}
	}
	return out
}

// Digests are the digests of the rootfs and the patches for the host.
func (s Share) Digests() []string {
	var out []string
	for _, i := range s.system() {
		out = append(out, i.Digest.String())
	}
	return out
}

// Description describes the rootfs and the patches that the host is to have: a line each, DIGEST VERSION NAME.
func (s Share) Description() string {
	var lines []string
	for _, i := range s.system() {
		lines = append(lines, fmt.Sprintf("%s %s %s", i.Digest, cmp.Or(i.KubeVersion(), "-"), i.Name))
	}
	return strings.Join(lines, "\n")
}

// Dirs are the directories of images on the host, each once, in the order of the images.
func (s Share) Dirs() []string {
	var out []string
	for _, i := range s.Here() {
		if dir := path.Clean(i.Dir); !slices.Contains(out, dir) {
			out = append(out, dir)
		}
	}
	return out
}

// Layers are the layers of a directory of images on the host, lowest first, and the directories in it whose files may all
// be run.
func (s Share) Layers(dir string) (layers []Layer, executable []string) {
	for _, i := range s.Here() {
		if i.Dir == dir {
			executable = i.Executable()
			layers = append(layers, i.Layers...)
		}
	}
	return layers, executable
}
