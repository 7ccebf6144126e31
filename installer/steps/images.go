package steps

import (
	"context"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/sealbuild/sealbuild/bundle"
	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/guest"
)

// load is how every pipeline begins: it settles the architecture, and reads the images and their small files. Only where the
// bundle is for several architectures is a host asked.
func (r *Run) load(ctx context.Context) error {
	if err := r.settleArch(ctx); err != nil {
		return err
	}
	if err := r.loadImages(); err != nil {
		return err
	}
	return r.readFiles(ctx)
}

// loadImages reads what the cluster images say about themselves and puts them
// in order: the rootfs, patches, then applications, each kind as listed.
func (r *Run) loadImages() error {
	if r.images != nil {
		return nil
	}
	all, err := r.imagesOfArch(r.hostArch)
	r.images = all
	return err
}

// imagesOfArch reads the images for hosts of an architecture. Their order is the same for each.
func (r *Run) imagesOfArch(arch string) ([]*image, error) {
	wanted, err := r.wantedImages()
	if err != nil {
		return nil, err
	}
	var all []*image
	for _, b := range wanted {
		if arch != "" && !slices.Contains(b.Platforms, "linux/"+arch) {
			return nil, fmt.Errorf("cluster image %s is in the bundle for %s, not for linux/%s: build it for that platform, too", b.Name, strings.Join(b.Platforms, ", "), arch)
		}
		i, err := installer.LoadImage(r.Bundle, b.Name, b.Digest, archOf(b, arch))
		if err != nil {
			return nil, err
		}
		i.Secret = r.Cluster.SecretEnv
		all = append(all, &image{Image: i, bundled: b.Digest})
	}
	order := map[string]int{installer.TypeRootfs: 0, installer.TypePatch: 1, installer.TypeApplication: 2}
	slices.SortStableFunc(all, func(a, b *image) int { return order[a.Type] - order[b.Type] })
	rootfs := 0
	for _, i := range all {
		if i.Type == installer.TypeRootfs {
			rootfs++
		}
		i.dir = r.rootfsDir()
		if i.Type == installer.TypeApplication {
			i.dir = r.dir("applications", dirName(i.Name), "workdir")
		}
	}
	if rootfs != 1 {
		return nil, fmt.Errorf("the bundle holds %d rootfs images (label sealos.io.type=rootfs); a cluster is made from exactly one", rootfs)
	}
	return all, nil
}

// wantedImages are the cluster images asked for, in the order in which they are
// asked for; all of the bundle when nothing is said.
func (r *Run) wantedImages() ([]bundle.Image, error) {
	var have []string
	byName := map[string]bundle.Image{}
	for _, b := range r.Bundle.Images() {
		if b.Kind == bundle.KindCluster {
			have = append(have, b.Name)
			byName[b.Name] = b
		}
	}
	names := have
	asked := r.Cluster.Images
	if len(asked) == 0 && r.Cluster.MadeWith() == r.Bundle.IndexDigest().String() {
		asked = r.Cluster.Kept // the same file as before: what was left out of it then is left out now
	}
	// What an earlier bundle brought is in the cluster already.
	asked = slices.DeleteFunc(slices.Clone(asked), func(a string) bool {
		same := func(name string) bool { return installer.SameImage(a, name) }
		return !slices.ContainsFunc(have, same) && slices.ContainsFunc(r.Cluster.Kept, same)
	})
	if len(asked) > 0 {
		var err error
		if names, err = installer.ResolveImages(asked, have); err != nil {
			return nil, err
		}
	}
	var out []bundle.Image
	for _, name := range names {
		out = append(out, byName[name])
	}
	return out, nil
}

var notInNames = regexp.MustCompile(`[^A-Za-z0-9._-]+`)

// dirName is an image's name as part of a path. app:v1 and app-v1 are two
// images, so a few digits of the name's digest tell them apart.
func dirName(image string) string {
	plain := notInNames.ReplaceAllString(image, "-")
	if plain == image {
		return image
	}
	return plain + "-" + digest.FromString(image).Encoded()[:8]
}

func (r *Run) rootfs() *image { return r.images[0] }

// readFiles reads the small files of every image. It is the first time that
// the layers are decoded, so their digests are checked here.
func (r *Run) readFiles(ctx context.Context) error {
	if err := r.readSmallFiles(ctx, r.images); err != nil {
		return err
	}
	return r.checkNetworks()
}

func (r *Run) readSmallFiles(ctx context.Context, images []*image) error {
	for _, i := range images {
		if i.files != nil {
			continue
		}
		var configured []string
		for _, c := range r.Cluster.Configs {
			configured = append(configured, strings.TrimPrefix(path.Clean("/"+c.Path), "/"))
		}
		files, err := i.Files(ctx, r.Bundle, configured...)
		if err != nil {
			return err
		}
		i.files = files
	}
	return nil
}

// scriptsByFile are the scripts that run where an image has their file, label
// or not. init-cri and clean-cri are not among them: images made for sealos
// have the files and call them from init and clean, with arguments.
var scriptsByFile = []string{"check", "init", "clean", "init-registry", "clean-registry"}

// warnOfScripts tells of labels that are not run.
func (r *Run) warnOfScripts() {
	for _, i := range r.images {
		for _, key := range slices.Concat(scriptsByFile, []string{"init-cri", "clean-cri", "auth"}) {
			if _, has := i.Labels[key]; has && i.Type == installer.TypeApplication {
				r.Report.Warnf("%s is an application: its label %s is not run", i.Name, key)
			}
		}
	}
}

// script finds the image that provides a script of the rootfs and its shell
// text on a host: the label, or <key>.sh where the image has that file. Later
// images win.
func (r *Run) script(t *Target, key string) (img *image, line string) {
	for _, i := range r.imagesOn(t) {
		label, has := i.Labels[key]
		_, file := i.files["scripts/"+key+".sh"]
		_, tmpl := i.files["scripts/"+key+".sh.tmpl"]
		switch {
		case i.Type == installer.TypeApplication:
		case has:
			img, line = i, label
		case (file || tmpl) && slices.Contains(scriptsByFile, key):
			img, line = i, key+".sh"
		}
	}
	return img, line
}

func orDefault(v, def string) string {
	if v == "" {
		return def
	}
	return v
}

// vip is the virtual address: from the environment, the rootfs's label, or the default.
func (r *Run) vip() string {
	env := installer.MergeEnv(r.rootfs().Env, r.Cluster.Env)
	if v := env["defaultVIP"]; v != "" {
		return v
	}
	if v, err := guest.Expand(r.rootfs().Labels["vip"], env); err == nil && v != "" && !strings.Contains(v, "$") {
		return v
	}
	return installer.DefaultVIP
}

// envOf is the environment of an image's scripts and templates on a host.
func (r *Run) envOf(i *image, t *Target) map[string]string {
	mode := "node"
	if t.Master {
		mode = "master"
	}
	system := map[string]string{
		"registryUsername":              r.registry.user,
		"registryPassword":              r.registry.password,
		"registryPort":                  r.registry.port,
		"registryDomain":                r.registry.domain,
		"registryData":                  r.registry.data,
		"defaultVIP":                    r.vip(),
		"SEALOS_SYS_SEALINSTALL":        stubPath,
		"SEALOS_SYS_HOST_IP":            t.IP.String(),
		"SEALOS_SYS_RUN_MODE":           mode,
		"SEALOS_SYS_CLUSTER":            r.Cluster.Name,
		"SEALOS_SYS_KUBE_VERSION":       r.rootfs().KubeVersion(),
		"SEALOS_SYS_SEALOS_VERSION":     r.rootfs().Labels["sealos.io.version"],
		"SEALOS_SYS_REGISTRY_HOSTS":     strings.Join(r.registryHostsFor(t), " "),
		"SEALOS_SYS_MASTERS":            strings.Join(r.Cluster.MasterIPs(), " "),
		"SEALOS_SYS_VIP":                r.vip(),
		"SEALOS_SYS_ROOTFS":             r.rootfsDir(),
		"SEALOS_SYS_APISERVER_ENDPOINT": installer.APIServerDomain,
	}
	return installer.MergeEnv(r.imagesOn(t)[0].Env, i.Env, r.Cluster.Env, t.Host.Env, system)
}

// registryHosts are the hosts that serve the registry: every master.
func (r *Run) registryHosts() []*Target { return r.masters() }

// registryHostsFor lists the registry hosts as one host should ask them: itself
// first; the others begin at a place that differs from host to host, so that
// not every node asks the first master.
func (r *Run) registryHostsFor(t *Target) []string {
	ips := r.Cluster.MasterIPs()
	if i := slices.Index(ips, t.IP.String()); i >= 0 {
		return slices.Concat(ips[i:], ips[:i])
	}
	i := slices.IndexFunc(r.Cluster.Hosts, func(h installer.Host) bool { return h.IP == t.IP }) % len(ips)
	return slices.Concat(ips[i:], ips[:i])
}

// imagesFor lists the images that go to a host: applications only to master0.
func (r *Run) imagesFor(t *Target) []*image {
	return slices.DeleteFunc(slices.Clone(r.imagesOn(t)), func(i *image) bool {
		return i.Type == installer.TypeApplication && t != r.master0()
	})
}
