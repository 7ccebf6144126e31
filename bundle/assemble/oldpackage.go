package assemble

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"

	"github.com/sealbuild/sealbuild/bundle/assemble/scan"
	"github.com/sealbuild/sealbuild/kubefile"
)

// OldPackage tells whether dir is an offline package of the kind that came before cluster images: programs in bin/, archives of
// container images in images/, scripts in shell/, and no Kubefile. All of that may lie in kube/, as such packages unpack. It
// returns the directory that holds it.
func OldPackage(dir string) (string, bool) {
	if _, err := kubefile.Find(os.DirFS(dir)); !errors.Is(err, fs.ErrNotExist) {
		return "", false
	}
	for _, sub := range []string{".", "kube"} {
		at := filepath.Join(dir, sub)
		init, _ := filepath.Glob(filepath.Join(at, "shell", "*.sh"))
		images, _ := filepath.Glob(filepath.Join(at, "images", "*.tar*"))
		programs, _ := filepath.Glob(filepath.Join(at, "bin", "kube*"))
		if len(init) > 0 && len(images)+len(programs) > 0 {
			return at, true
		}
	}
	return "", false
}

// PlanOldPackage says what an older offline package holds: it is a rootfs, and its images are those of its archives.
func PlanOldPackage(ctx context.Context, dir string) (*scan.Plan, error) {
	labels := map[string]string{"sealos.io.type": string(kubefile.Rootfs)}
	if v := oldVersion(os.DirFS(dir)); v != "" {
		labels["version"] = v
	}
	result, err := scan.Dir(ctx, dir, kubefile.Of(dir, kubefile.Config{Labels: labels}), scan.Options{})
	if err != nil {
		return nil, err
	}
	return &scan.Plan{Type: kubefile.Rootfs, Labels: labels, Env: map[string]string{}, Instructions: []scan.PlanInstruction{}, Result: result}, nil
}

// oldVersion is the Kubernetes version of an older package: that of its Metadata file, else of its kubeadm configuration.
func oldVersion(fsys fs.FS) string {
	var meta struct {
		Version string `json:"k8sVersion"`
	}
	if raw, err := fs.ReadFile(fsys, "Metadata"); err == nil && json.Unmarshal(raw, &meta) == nil && meta.Version != "" {
		return meta.Version
	}
	line := regexp.MustCompile(`(?m)^kubernetesVersion:\s*["']?(v?[0-9][^\s"']*)`)
	for _, name := range []string{"kubeadm.yaml", "kubeadm.yaml.tmpl", "kubeadm-config.yaml"} {
		raw, err := fs.ReadFile(fsys, path.Join("conf", name))
		if found := line.FindSubmatch(raw); err == nil && found != nil {
			return string(found[1])
		}
	}
	return ""
}

// oldPackageError is what a build says of such a directory.
func oldPackageError(dir string) error {
	return fmt.Errorf("%s is an offline package of the older kind, without a Kubefile: sealbuild plan %s shows what it holds. "+
		"To make a cluster image of it, put its programs and scripts where the cluster-images/kubernetes image has them, beside a Kubefile "+
		"(FROM scratch, LABEL sealos.io.type=rootfs, COPY . .); its images/*.tar are gathered as they are", dir, dir)
}
