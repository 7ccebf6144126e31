package steps

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/dustin/go-humanize"
	"github.com/klauspost/compress/zstd"
	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/sealbuild/sealbuild/bundle"
	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/node"
)

// Room that a running cluster takes beside what the bundle brings, in bytes.
const (
	etcdRoom = 1 << 30 // write-ahead log, snapshots and a database that has not been compacted
	logRoom  = 512 << 20
)

// guessedRatio is unpacked to packed of a layer that does not tell.
const guessedRatio = 3

// places are the directories of a host where an installation needs room, or to write or run programs.
type places struct{ data, bin, cri, registry, etcd, kubelet, log, cni, etc string }

// placesOf reads them from the environment, before any host has been seen.
func (r *Run) placesOf(t *Target) places {
	env := installer.MergeEnv(r.rootfs().Env, r.Cluster.Env, t.Env)
	return places{
		data: dataRoot, bin: orDefault(env["BIN_DIR"], "/usr/bin"), cri: orDefault(env["criData"], "/var/lib/containerd"),
		registry: orDefault(installer.MergeEnv(r.rootfs().Env, r.Cluster.Env)["registryData"], "/var/lib/registry"),
		etcd:     "/var/lib/etcd", kubelet: "/var/lib/kubelet", log: "/var/log", cni: "/opt/cni/bin", etc: "/etc",
	}
}

func (p places) all() []string {
	return []string{p.data, p.bin, p.cri, p.registry, p.etcd, p.kubelet, p.log, p.cni, p.etc}
}

// needs is what an installation takes on a host.
type needs struct {
	places places
	least  map[string]int64 // bytes by directory, however pods are spread
	most   map[string]int64 // bytes by directory, when every image is used on this host
}

// sizes is what the bundle's content takes on disks, in bytes. What images share counts once.
type sizes struct {
	stub     int64
	rootfs   int64 // unpacked, with patches
	apps     int64 // unpacked
	registry int64 // every blob of the container images
	system   int64 // a runtime's share of the images that every node runs: packed and unpacked
	control  int64 // the same of the control plane's, beside those
	images   int64 // the same of all images
}

// measure adds up the bundle. A layer tells its unpacked size itself, in its last bytes, or is guessed.
func (r *Run) measure(ctx context.Context) (sizes, error) {
	s := sizes{stub: stubSize(r.Bundle)}
	for _, i := range r.images {
		for _, l := range i.Layers {
			n := unpackedSize(r.Bundle, l.Digest, l.Size, l.MediaType)
			if i.Type == installer.TypeApplication {
				s.apps += n
			} else {
				s.rootfs += n
			}
		}
	}
	catalog, err := Catalog(ctx, r.Bundle)
	if err != nil {
		return sizes{}, err
	}
	for _, b := range catalog.Blobs() {
		s.registry += b.Size
	}
	var system, control, all []bundle.Image
	for _, i := range r.Bundle.Images() {
		if i.Kind != bundle.KindImage {
			continue
		}
		all = append(all, i)
		switch imageBase(i.Name) {
		case "pause", "kube-proxy", "care", "lvscare":
			system = append(system, i)
		case "kube-apiserver", "kube-controller-manager", "kube-scheduler", "etcd":
			control = append(control, i)
		}
	}
	s.system = r.runtimeSize(system)
	s.control = r.runtimeSize(slices.Concat(system, control)) - s.system
	s.images = r.runtimeSize(all)
	return s, nil
}

func stubSize(b *bundle.Reader) int64 {
	if stub := b.Stub(); stub != nil {
		return stub.Size()
	}
	return 0
}

// imageBase is the last word of an image's name: pause of registry.k8s.io/pause:3.10.
func imageBase(name string) string {
	name, _, _ = strings.Cut(name, "@")
	name = path.Base(name)
	name, _, _ = strings.Cut(name, ":")
	return name
}

// runtimeSize is what images take in a container runtime, which keeps layers packed and unpacked.
func (r *Run) runtimeSize(images []bundle.Image) int64 {
	seen := map[digest.Digest]bool{}
	var total int64
	for _, i := range images {
		for _, l := range r.layersOf(i.Digest, 0) {
			if !seen[l.Digest] {
				seen[l.Digest] = true
				total += l.Size + unpackedSize(r.Bundle, l.Digest, l.Size, l.MediaType)
			}
		}
	}
	return total
}

// layersOf lists the layers of an image for the bundle's architecture. What cannot be read is found when the bundle is verified.
func (r *Run) layersOf(d digest.Digest, depth int) []v1.Descriptor {
	raw, err := r.Bundle.ReadBlob(d, 8<<20)
	if err != nil || depth > 2 {
		return nil
	}
	var m struct {
		Layers    []v1.Descriptor `json:"layers"`
		Manifests []v1.Descriptor `json:"manifests"`
	}
	if json.Unmarshal(raw, &m) != nil {
		return nil
	}
	layers := m.Layers
	for _, child := range m.Manifests {
		if child.Platform == nil || child.Platform.Architecture == r.arch() {
			layers = append(layers, r.layersOf(child.Digest, depth+1)...)
		}
	}
	return layers
}

// unpackedSize is what a layer holds: a plain tar its own size, a gzip what its last four bytes tell (modulo 4 GiB, and
// of its last member only), a zstd what its first frame's header tells if it does.
func unpackedSize(b *bundle.Reader, d digest.Digest, size int64, mediaType string) int64 {
	var tail [4]byte
	var head [zstd.HeaderMaxSize]byte
	blob, err := b.BlobAt(d)
	switch {
	case err != nil:
	case strings.HasSuffix(mediaType, "gzip"):
		if n, _ := blob.ReadAt(tail[:], size-4); n == len(tail) {
			return gzipSize(size, binary.LittleEndian.Uint32(tail[:]))
		}
	case strings.HasSuffix(mediaType, "zstd"):
		n, _ := blob.ReadAt(head[:], 0)
		var h zstd.Header
		if h.Decode(head[:n]) == nil && h.HasFCS && int64(h.FrameContentSize) > size {
			return int64(h.FrameContentSize)
		}
	default:
		return size
	}
	return guessedRatio * size
}

// gzipSize completes a size that is known modulo 4 GiB only. Smaller than what is packed it can only be of a last member.
func gzipSize(packed int64, told uint32) int64 {
	n := int64(told)
	if packed >= 1<<30 {
		for n < packed {
			n += 1 << 32
		}
	}
	if n < packed-packed/100-1024 {
		return guessedRatio * packed
	}
	return n
}

// needOf computes the disk space a host needs. A host where the cluster was begun holds some of it already, so nothing
// is asked of it. Images are pulled where pods run: each host gets at least its share, at most all.
func (r *Run) needOf(t *Target, s sizes) needs {
	n := needs{places: r.placesOf(t)}
	if t.begun() {
		return n
	}
	p := n.places
	n.least = map[string]int64{p.data: s.stub + s.rootfs, p.log: logRoom}
	n.least[p.bin] += s.rootfs // its programs are copied there
	certain := s.system
	if t.Master {
		certain += s.control
		n.least[p.registry] += s.registry
		n.least[p.etcd] += etcdRoom
	}
	if t == r.master0() {
		n.least[p.data] += s.apps
	}
	n.most = maps.Clone(n.least)
	n.least[p.cri] += certain + max(0, s.images-s.system-s.control)/int64(len(r.Targets))
	n.most[p.cri] += s.images
	return n
}

// mountProblems judges every mount by what is needed on it.
func mountProblems(v view) []Problem {
	out := diskProblems(v)
	add := func(check, remedy, format string, args ...any) {
		out = append(out, Problem{Host: v.ip, Check: check, Message: fmt.Sprintf(format, args...), Remedy: remedy})
	}
	p := v.needs.places
	full := map[string]bool{}
	for _, dir := range slices.Compact(slices.Sorted(slices.Values(p.all()))) {
		m, ok := v.facts.Disks[dir]
		if !ok || (dir == p.registry || dir == p.etcd) && !v.master {
			continue
		}
		if slices.Contains(m.Options, "ro") {
			add("read-only", "mount it writable: mount -o remount,rw "+m.Path+hint(dir, p), "%s lies on %s, which is mounted read-only", dir, m.Path)
		}
		if runs := dir == p.data || dir == p.bin || dir == p.cni; runs && slices.Contains(m.Options, "noexec") {
			add("noexec", "mount -o remount,exec "+m.Path+", and take noexec out of /etc/fstab"+hint(dir, p), "programs are run from %s, but %s is mounted noexec", dir, m.Path)
		}
		least := max(minInodes, v.kube.threshold("nodefs.inodesFree", m.Inodes))
		if m.Inodes > 0 && m.InodesFree < least && !full[m.Path] && !v.begun {
			full[m.Path] = true
			add("inodes", "remove files, or make the file system anew with more inodes (mkfs -i 8192), or use xfs", "%s has %d of %d inodes free, %d are needed for the files of images", m.Path, m.InodesFree, m.Inodes, least)
		}
	}
	return out
}

// hint names the setting that moves a directory.
func hint(dir string, p places) string {
	for name, d := range map[string]string{"BIN_DIR": p.bin, "criData": p.cri, "registryData": p.registry} {
		if d == dir {
			return ", or choose another directory with -e " + name + "=DIR"
		}
	}
	return ""
}

// diskProblems adds up what is needed on each mount of a host.
func diskProblems(v view) []Problem {
	var out []Problem
	mounts := map[string]node.Mount{}
	for dir := range v.needs.most {
		if m, ok := v.facts.Disks[dir]; ok {
			mounts[m.Path] = m
		}
	}
	for _, at := range slices.Sorted(maps.Keys(mounts)) {
		m := mounts[at]
		spare := v.spare(at, m.Total)
		least, parts := v.sum(v.needs.least, at)
		most, _ := v.sum(v.needs.most, at)
		least, most = least+spare, most+spare
		if spare > 0 {
			parts = append(parts, iBytes(spare)+" below which kubelet evicts pods")
		}
		p := Problem{
			Host: v.ip, Check: "disk",
			Message: fmt.Sprintf("%s has %s free, %s are needed: %s", at, iBytes(int64(m.Free)), iBytes(least), strings.Join(parts, ", ")),
			Remedy:  "free some space, or mount a larger disk at one of these directories",
		}
		switch {
		case m.Total == 0: // it did not answer
			p.Message, p.Remedy, p.Warning = at+" did not tell its size within a second", "look whether the server of this file system is away", true
		case int64(m.Free) < least:
		case int64(m.Free) < most:
			p.Message = fmt.Sprintf("%s has %s free, enough for this host's share of the images; %s would be needed if pods use all of them here", at, iBytes(int64(m.Free)), iBytes(most))
			p.Remedy, p.Warning = "nothing to do if pods spread over the hosts: kubelet removes images that no pod uses", true
		default:
			continue
		}
		out = append(out, p)
	}
	return out
}

// spare is what kubelet wants to stay free on a mount of its own or of its images.
func (v view) spare(at string, total uint64) int64 {
	var n uint64
	if v.facts.Disks[v.needs.places.kubelet].Path == at {
		n = v.kube.threshold("nodefs.available", total)
	}
	if v.facts.Disks[v.needs.places.cri].Path == at {
		n = max(n, v.kube.threshold("imagefs.available", total))
	}
	return int64(n)
}

// sum adds up what is needed on one mount, and tells of what.
func (v view) sum(need map[string]int64, at string) (total int64, parts []string) {
	for _, dir := range slices.Sorted(maps.Keys(need)) {
		if v.facts.Disks[dir].Path == at && need[dir] > 0 {
			total += need[dir]
			parts = append(parts, iBytes(need[dir])+" for "+dir)
		}
	}
	return total, parts
}

func iBytes(n int64) string { return humanize.IBytes(uint64(max(0, n))) }
