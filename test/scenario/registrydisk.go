package scenario

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/sealbuild/sealbuild/registry/catalog"
	"github.com/sealbuild/sealbuild/registry/disk"
	"github.com/sealbuild/sealbuild/test/testbed"
)

// registryDir is a host's registry as this machine sees it.
func registryDir(h *testbed.Host) string {
	return filepath.Join(h.VarLib(), strings.TrimPrefix(registryRoot, "/var/lib/"))
}

// kubernetesTag is the tag of a program's image in a host's registry.
func kubernetesTag(h *testbed.Host, program string) (string, error) {
	dir := filepath.Join(registryDir(h), "docker/registry/v2/repositories/registry.k8s.io", program, "_manifests/tags")
	tags, err := os.ReadDir(dir)
	if err != nil {
		return "", err
	}
	if len(tags) != 1 {
		return "", fmt.Errorf("%s holds %d tags, want one", dir, len(tags))
	}
	return tags[0].Name(), nil
}

// contents lists the blobs of an image of Kubernetes in a host's registry.
func contents(ctx context.Context, h *testbed.Host, program string) (catalog.Repository, error) {
	tag, err := kubernetesTag(h, program)
	if err != nil {
		return catalog.Repository{}, err
	}
	c, absent, err := disk.Open(registryDir(h)).Reach(ctx, []catalog.Ref{{Name: repoOfK8s + program + ":" + tag}})
	if err != nil {
		return catalog.Repository{}, err
	}
	if len(absent) > 0 || len(c.Repositories) != 1 {
		return catalog.Repository{}, fmt.Errorf("the registry of %s does not hold %s: %v", h.Name, program, absent)
	}
	return c.Repositories[0], nil
}

// largestLayer is the one that no other image shares: programs are larger than what lies below them.
func largestLayer(ctx context.Context, h *testbed.Host, program string) (digest.Digest, error) {
	r, err := contents(ctx, h, program)
	if err != nil {
		return "", err
	}
	var largest catalog.Blob
	for _, b := range r.Layers {
		if b.Size > largest.Size {
			largest = b
		}
	}
	return largest.Digest, nil
}

func blobFile(h *testbed.Host, d digest.Digest) string {
	return filepath.Join(registryDir(h), "docker/registry/v2/blobs/sha256", d.Encoded()[:2], d.Encoded(), "data")
}

// flipByte changes one bit of a file and leaves its size and its times.
func flipByte(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	fi, err := f.Stat()
	if err != nil {
		return errors.Join(err, f.Close())
	}
	var b [1]byte
	at := fi.Size() / 2
	if _, err := f.ReadAt(b[:], at); err != nil {
		return errors.Join(err, f.Close())
	}
	b[0] ^= 1
	_, err = f.WriteAt(b[:], at)
	return errors.Join(err, f.Close(), os.Chtimes(path, fi.ModTime(), fi.ModTime()))
}

// damageDisk does to the registry on the disk of a dead host what a failing disk
// does, and returns the blob whose size does not tell.
func damageDisk(ctx context.Context, st *story, dead *testbed.Host) (digest.Digest, error) {
	st.heading("meanwhile the disk of %s loses a part of its registry", dead.Name)
	layers := map[string]digest.Digest{}
	for _, program := range []string{"kube-apiserver", "etcd", "kube-scheduler"} {
		d, err := largestLayer(ctx, dead, program)
		if err != nil {
			return "", err
		}
		layers[program] = d
	}
	proxy, err := contents(ctx, dead, "kube-proxy")
	if err != nil {
		return "", err
	}
	tag, err := kubernetesTag(dead, "pause")
	if err != nil {
		return "", err
	}
	manifest := proxy.Manifests[len(proxy.Manifests)-1].Digest
	half := blobFile(dead, layers["etcd"])
	fi, err := os.Stat(half)
	if err != nil {
		return "", err
	}
	st.say("a layer of kube-apiserver and the manifest of kube-proxy are gone, a layer of etcd is cut in half, the tag of pause is gone,")
	st.say("and of a layer of kube-scheduler one bit is another: %s", layers["kube-scheduler"])
	return layers["kube-scheduler"], errors.Join(
		os.RemoveAll(filepath.Dir(blobFile(dead, layers["kube-apiserver"]))),
		os.RemoveAll(filepath.Dir(blobFile(dead, manifest))),
		os.Truncate(half, fi.Size()/2),
		os.RemoveAll(filepath.Join(registryDir(dead), "docker/registry/v2/repositories/registry.k8s.io/pause/_manifests/tags", tag)),
		flipByte(blobFile(dead, layers["kube-scheduler"])),
	)
}

// scrub lets a master read its whole registry and repair from another's what the
// sizes did not tell.
func (s *Site) scrub(ctx context.Context, st *story, h *testbed.Host, damaged digest.Digest) error {
	st.heading("%s reads its registry and takes what is damaged from another's", h.Name)
	const script = `SEALINSTALL_PASSWORD=$(cat /var/lib/sealos/data/default/etc/registry-password) exec /var/lib/sealos/bin/sealinstall registry verify ` +
		`--from "https://$1:5000" --ca /etc/containerd/certs.d/_default/ca.crt --user admin`
	res, err := h.Exec(ctx, "bash", "-c", script, "scrub", s.master0().Addr)
	st.say("%s", strings.TrimSpace(res.Stdout))
	if err != nil {
		return fmt.Errorf("verify the registry: %w", err)
	}
	for _, want := range []string{"damaged: " + damaged.String() + ": repaired", "is whole"} {
		if !strings.Contains(res.Stdout, want) {
			return fmt.Errorf("verify does not say %q:\n%s", want, res.Stdout)
		}
	}
	if n := strings.Count(res.Stdout, "repaired"); n != 1 {
		return fmt.Errorf("verify repaired %d blobs; the installer had to bring back all but one:\n%s", n, res.Stdout)
	}
	return nil
}

// registriesAreEqual compares the registries of all masters byte for byte, names,
// links and blobs.
func (s *Site) registriesAreEqual(ctx context.Context, st *story) error {
	const list = `cd "$1" && find . -type f -print0 | sort -z | xargs -0 sha256sum`
	var first string
	files := 0
	for i, m := range s.Masters {
		res, err := m.Exec(ctx, "bash", "-euo", "pipefail", "-c", list, "list", registryRoot)
		if err != nil {
			return fmt.Errorf("read the registry of %s: %w", m.Name, err)
		}
		if i == 0 {
			first, files = res.Stdout, strings.Count(res.Stdout, "\n")
			continue
		}
		if res.Stdout != first {
			return fmt.Errorf("the registries of %s and %s differ:\n%s", s.master0().Name, m.Name,
				strings.Join(diff(strings.Split(first, "\n"), strings.Split(res.Stdout, "\n")), "\n"))
		}
	}
	if files == 0 {
		return errors.New("the registries are empty")
	}
	st.heading("the registries of all masters are equal, byte for byte: %d files", files)
	return nil
}
