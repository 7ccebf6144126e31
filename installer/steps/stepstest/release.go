package stepstest

import (
	"cmp"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// release is what a version of Kubernetes is made of besides itself, as its kubeadm has it built in.
type release struct{ version, etcd, dns, pause string }

// releaseOf gives the release of a kubeadm; all is empty for a bundle that does not say its version.
func releaseOf(version string) release {
	switch {
	case version == "":
		return release{}
	case version == "v1.35.4": // a patch may bring other add-ons, too
		return release{version, "3.6.6-0", "v1.13.2", "3.10.1"}
	case minor(version) <= 35:
		return release{version, "3.6.6-0", "v1.13.1", "3.10.1"}
	case minor(version) == 36:
		return release{version, "3.6.8-0", "v1.14.2", "3.10.2"}
	}
	return release{version, "3.7.0-0", "v1.15.0", "3.11"}
}

// minor is the minor of a version like v1.36.3; -1 if that is none.
func minor(version string) int {
	_, rest, _ := strings.Cut(version, ".")
	number, _, _ := strings.Cut(rest, ".")
	n, err := strconv.Atoi(number)
	if err != nil {
		return -1
	}
	return n
}

// older compares two versions number by number.
func older(a, b string) bool {
	numbers := func(v string) (out []int) {
		for word := range strings.SplitSeq(strings.TrimPrefix(v, "v"), ".") {
			n, _ := strconv.Atoi(word)
			out = append(out, n)
		}
		return out
	}
	return slices.Compare(numbers(a), numbers(b)) < 0
}

const imageRepository = "registry.k8s.io/"

// images are those that kubeadm pulls for a control plane of a version, in its order; node are those that every host needs.
func (r release) images(version string, node bool) []string {
	list := []string{
		imageRepository + "kube-proxy:" + version, imageRepository + "coredns/coredns:" + r.dns, imageRepository + "pause:" + r.pause,
	}
	if node {
		return list
	}
	control := []string{"kube-apiserver", "kube-controller-manager", "kube-scheduler"}
	for i, name := range control {
		control[i] = imageRepository + name + ":" + version
	}
	return append(append(control, list...), imageRepository+"etcd:"+r.etcd)
}

// imageForm finds the image of the first container of a manifest.
var imageForm = regexp.MustCompile(`(?m)^\s+(?:- )?image: (\S+)$`)

func imageOf(manifest string) string {
	if found := imageForm.FindStringSubmatch(manifest); found != nil {
		return found[1]
	}
	return ""
}

// tagOf is the tag of an image.
func tagOf(image string) string { return image[strings.LastIndexByte(image, ':')+1:] }

// programVersion reads the version out of a program of a bundle of [Kubernetes].
func programVersion(text string) string {
	_, version, _ := strings.Cut(strings.TrimSpace(text), " ")
	return version
}

// imageList is where a rootfs says which images Kubernetes is made of.
const imageList = "images/shim/DefaultImageList"

// Kubernetes are the images of a bundle that installs a version of Kubernetes (v1.35.0) with a version of containerd (2.1.4):
// what [Cluster] has, but programs that know their version, scripts that install them, and the images that the version is
// made of. No two versions have a rootfs, or an image of Kubernetes, in common.
func Kubernetes(version, containerd string) []Image {
	r := releaseOf(version)
	images := Cluster()
	rootfs := &images[0]
	rootfs.Name = "localhost/kubernetes:" + version
	labels := maps.Clone(rootfs.Config.Labels)
	labels["version"], labels["init-cri"], labels["init"], labels["clean"], labels["clean-registry"], labels["prepare"] = version, "init-cri.sh", "init.sh", "clean.sh", "clean-registry.sh", "prepare.sh"
	rootfs.Config.Labels, rootfs.Config.Cmd = labels, []string{"echo first", "echo second"}
	for _, name := range []string{"init-cri", "init", "clean", "clean-registry", "prepare"} {
		rootfs.Files["scripts/"+name+".sh"] = "echo " + name + " of " + version + "\n"
	}
	for _, name := range []string{"kubelet", "kubeadm", "kubectl"} {
		rootfs.Files["bin/"+name] = name + " " + version + "\n"
	}
	rootfs.Files["cri/containerd"] = "containerd " + containerd + "\n"
	rootfs.Files[imageList] = strings.Join(r.images(version, false), "\n") + "\n"
	images = images[:3] // the others are of the release
	for _, name := range r.images(version, false) {
		images = append(images, Image{Name: name, Files: map[string]string{"program": name + "\n"}, Gzip: true})
	}
	return images
}

// DownloadedBy are the names of images that a kubeadm of a version pulls on a master.
func DownloadedBy(version string) []string { return releaseOf(version).images(version, false) }

// flaw is a program of a version, or an image, that does not work on a machine.
func flaw(program, version string) string { return program + " " + version }

// Break lets a program of a version fail on a machine, with its last words, whenever it is started there: kubelet or a static
// pod (kube-apiserver, v1.36.3; etcd, 3.6.8-0) ends at once and is started again and again. The program kube-apiserver/readyz
// runs and answers, but is never ready; an image is not pulled (image, registry.k8s.io/pause:3.10.2), and for kubeadm's copy of
// etcd's data there is no room (disk, /etc/kubernetes/tmp/).
func Break(m *Machine, program, version, words string) {
	defer m.site.locked()()
	m.before()
	m.flaws = maps.Clone(m.flaws)
	if m.flaws == nil {
		m.flaws = map[string]string{}
	}
	m.flaws[flaw(program, version)] = cmp.Or(words, "it ends")
}

// Mend takes back all that [Break] and [Stick] have done to a machine.
func Mend(m *Machine) {
	defer m.site.locked()()
	m.before()
	m.flaws, m.stuck, m.fresh = nil, false, true // systemd starts kubelet again and again
}

// Stick keeps the kubelet of a machine from seeing that manifests change, which happens on slow disks. It renews its lease.
func Stick(m *Machine) {
	defer m.site.locked()()
	m.before()
	m.stuck = true
}

// broken gives the last words of a program that does not work.
func broken(m *Machine, program, version string) string { return m.flaws[flaw(program, version)] }

// LoseImage takes an image from a machine, as a garbage collection of its kubelet does.
func LoseImage(m *Machine, image string) {
	defer m.site.locked()()
	m.images = maps.Clone(m.images)
	delete(m.images, image)
}

// CollectImages takes all images from a machine that are not pinned, and that no container of it runs.
func CollectImages(m *Machine) {
	defer m.site.locked()()
	m.static()
	used := []string{m.proxyImage}
	for _, c := range m.running {
		used = append(used, c.image)
	}
	m.images = maps.Clone(m.images)
	maps.DeleteFunc(m.images, func(image string, pinned bool) bool { return !pinned && !slices.Contains(used, image) })
}

// obtain tells whether a machine has an image, or gets it from a registry of the site. A site whose bundle does not say its
// version has no images.
func obtain(m *Machine, image string) bool {
	if m.images == nil || image == "" {
		return true
	}
	if _, has := m.images[image]; has {
		return true
	}
	if !offers(m.site, image) || broken(m, "image", image) != "" {
		return false
	}
	m.images[image] = false
	return true
}

// offers tells whether a registry that runs has an image.
func offers(s *Site, image string) bool {
	name, tag := image[:strings.LastIndexByte(image, ':')], tagOf(image)
	return slices.ContainsFunc(s.machines, func(m *Machine) bool {
		return m.registry && !m.off && m.tree.has(fmt.Sprintf("/var/lib/registry/docker/registry/v2/repositories/%s/_manifests/tags/%s/current/link", name, tag))
	})
}

// NotAt lists what of a cluster does not run, or does not say, a version of Kubernetes and of containerd, on every machine but
// those at the addresses that are left out: a bundle of [Kubernetes] of these, installed on a fresh site, leaves nothing to list.
func NotAt(s *Site, version, containerd string, leaveOut ...string) (out []string) {
	defer s.locked()()
	defer s.remembering()()
	r := releaseOf(version)
	workloads{s}.tick()
	is := func(what, got, want string) {
		if got != want {
			out = append(out, fmt.Sprintf("%s is %q, not %s", what, got, want))
		}
	}
	for _, m := range s.machines {
		if slices.Contains(leaveOut, m.IP) {
			continue
		}
		for _, line := range notAt(m, r, containerd) {
			out = append(out, m.IP+": "+line)
		}
	}
	if len(leaveOut) > 0 {
		return out
	}
	is("the version in kubeadm-config", fmt.Sprint(documents(s.kube.configs["kubeadm-config"])["ClusterConfiguration"]["kubernetesVersion"]), version)
	is("kube-proxy's DaemonSet", tagOf(s.kube.proxyImage), version)
	for _, m := range s.machines {
		is(m.IP+": kube-proxy", tagOf(m.proxyImage), version)
	}
	for _, a := range s.kube.apps {
		if a.label == "kube-dns" {
			is("CoreDNS's Deployment", tagOf(a.image), r.dns)
		}
	}
	return out
}

// notAt is [NotAt] for one machine.
func notAt(m *Machine, r release, containerd string) (out []string) {
	is := func(what, got, want string) {
		if got != want {
			out = append(out, fmt.Sprintf("%s is %q, not %s", what, got, want))
		}
	}
	for _, program := range []string{"kubelet", "kubeadm", "kubectl"} {
		is("the installed "+program, installed(m, program), r.version)
	}
	is("the installed containerd", installed(m, "containerd"), containerd)
	is("the kubelet that runs", m.programs.kubelet, r.version)
	is("the containerd that runs", m.programs.containerd, containerd)
	n := m.site.kube.nodes[m.node()]
	is("the kubelet of the Node", n.kubelet, r.version)
	is("the containerd of the Node", n.containerd, containerd)
	m.static()
	for _, pod := range staticPods() {
		want := r.version
		if pod == "etcd" {
			want = r.etcd
		}
		if n.master {
			is(pod, m.version(pod), want)
			if !podWorks(m, pod) {
				out = append(out, pod+" does not work")
			}
		}
	}
	for _, image := range r.images(r.version, !n.master) {
		if !m.images[image] {
			out = append(out, image+" is not pinned")
		}
	}
	return out
}

// Pinned lists the images that are pinned on a machine.
func Pinned(m *Machine) (list []string) {
	defer m.site.locked()()
	for _, image := range slices.Sorted(maps.Keys(m.images)) {
		if m.images[image] {
			list = append(list, image)
		}
	}
	return list
}
