package oldpackage

import (
	"archive/tar"
	"bufio"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/containers/image/v5/pkg/compression"
)

// runtimeDirs are where packages have the container runtime: docker/ had Docker, and containerd took its place there or beside.
var runtimeDirs = [...]string{"docker", "containerd", "cri"}

// maxMembers bounds how many entries of a runtime's archive are looked at.
const maxMembers = 100000

// readRuntime looks for containerd, packed or not. Docker brings a containerd of its own, which is no runtime for kubelet.
func (p *reader) readRuntime() error {
	for _, dir := range runtimeDirs {
		var members []string
		err := filepath.WalkDir(p.path(dir), func(file string, e fs.DirEntry, err error) error {
			if errors.Is(err, fs.ErrNotExist) || err == nil && !e.Type().IsRegular() {
				return nil
			}
			if err != nil {
				return err
			}
			if err := p.ctx.Err(); err != nil {
				return err
			}
			if !archived(file) {
				members = append(members, e.Name())
				return nil
			}
			of, err := membersOf(file)
			if err != nil {
				return fmt.Errorf("%s/%s: %w", dir, e.Name(), err)
			}
			members = append(members, of...)
			return nil
		})
		if err != nil {
			return err
		}
		holds := func(program string) bool {
			return slices.ContainsFunc(members, func(m string) bool { return path.Base(m) == program })
		}
		switch {
		case holds("dockerd"):
			p.hasDocker = true
			p.lost[dir] = "kubelet has no use for Docker"
		case holds("containerd"):
			p.hasCRI = true
			p.runtime = append(p.runtime, installed(members)...)
			p.copied = append(p.copied, dir)
		}
	}
	if _, err := os.Stat(p.path("bin/containerd")); err == nil {
		p.hasCRI = true
	}
	const remedy = "put an archive such as cri-containerd-cni-VERSION-linux-ARCH.tar.gz into containerd/ and have shell/init.sh install it from there"
	switch {
	case p.hasCRI:
	case p.hasDocker:
		p.problem("the package brings Docker and no containerd, and Kubernetes takes no Docker any more: %s, in place of docker.sh", remedy)
	default:
		p.problem("the package brings no container runtime in docker/, containerd/, cri/ or bin/: %s", remedy)
	}
	return nil
}

// membersOf lists the files of a packed archive.
func membersOf(file string) ([]string, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	plain, _, err := compression.AutoDecompress(bufio.NewReaderSize(f, 1<<20))
	if err != nil {
		return nil, err
	}
	defer func() { _ = plain.Close() }()
	var all []string
	entries := tar.NewReader(plain)
	for range maxMembers {
		h, err := entries.Next()
		if errors.Is(err, io.EOF) {
			return all, nil
		}
		if err != nil {
			return nil, err
		}
		if h.Typeflag != tar.TypeDir {
			all = append(all, path.Clean(h.Name))
		}
	}
	return nil, fmt.Errorf("it holds more than %d files", maxMembers)
}

// installed are the places on a host where files of a runtime's archive come to lie: the archive's own where it is unpacked at the
// root, else the usual ones.
func installed(members []string) []string {
	var all []string
	for _, m := range members {
		m = strings.TrimPrefix(m, "/")
		first, _, _ := strings.Cut(m, "/")
		switch {
		case strings.ContainsAny(m, " \t\n") || !filepath.IsLocal(m):
		case slices.Contains([]string{"usr", "opt", "etc"}, first):
			all = append(all, "/"+m)
		default:
			all = append(all, "/usr/bin/"+path.Base(m), "/usr/local/bin/"+path.Base(m))
		}
	}
	return all
}

// onHosts are the files that shell/init.sh puts on a host, a line each with the part of the cluster they belong to.
func (p *reader) onHosts() []string {
	var all []string
	for _, f := range append(slices.Clone(p.runtime), "/etc/containerd/config.toml", "/etc/crictl.yaml", "/etc/systemd/system/containerd.service") {
		all = append(all, "cri "+f)
	}
	programs, _ := os.ReadDir(p.path("bin"))
	for _, e := range programs {
		if !strings.ContainsAny(e.Name(), " \t\n") && !slices.Contains(p.runtime, "/usr/bin/"+e.Name()) {
			all = append(all, "kube /usr/bin/"+e.Name())
		}
	}
	for _, f := range []string{
		"/etc/systemd/system/kubelet.service", "/etc/systemd/system/kubelet.service.d/10-kubeadm.conf", "/etc/sysctl.d/k8s.conf",
	} {
		all = append(all, "kube "+f)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// architecture is that of a program, as platforms name it; empty for what is no program.
func architecture(file string) string {
	f, err := elf.Open(file)
	if err != nil {
		return ""
	}
	defer func() { _ = f.Close() }()
	return map[elf.Machine]string{elf.EM_X86_64: "amd64", elf.EM_AARCH64: "arm64"}[f.Machine]
}
