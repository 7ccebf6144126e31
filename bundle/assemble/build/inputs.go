package build

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/containers/buildah/define"
	"github.com/containers/buildah/pkg/parse"
	"github.com/containers/image/v5/pkg/sysregistriesv2"
	"github.com/containers/image/v5/signature"
	"github.com/containers/image/v5/types"
	"golang.org/x/sys/unix"
)

// acceptAll is the signature policy of a machine that has none configured, which is what docker and a bare buildah do.
const acceptAll = `{"default":[{"type":"insecureAcceptAnything"}]}` + "\n"

const dockerHub = "unqualified-search-registries = [\"docker.io\"]\n"

// systemContext is a copy of the request's, pointed at the platform and the
// scratch directory, with a policy where the machine has none.
func systemContext(r Request) (*types.SystemContext, error) {
	sys := types.SystemContext{}
	if r.System != nil {
		sys = *r.System
	}
	sys.OSChoice, sys.ArchitectureChoice, sys.VariantChoice = r.Platform.OS, r.Platform.Architecture, r.Platform.Variant
	sys.OCIAcceptUncompressedLayers = true
	sys.BigFilesTemporaryDir = r.Scratch
	if sys.SignaturePolicyPath == "" {
		if _, err := signature.DefaultPolicy(&sys); errors.Is(err, fs.ErrNotExist) {
			sys.SignaturePolicyPath = filepath.Join(r.Scratch, "policy.json")
			if err := os.WriteFile(sys.SignaturePolicyPath, []byte(acceptAll), 0o600); err != nil {
				return nil, fmt.Errorf("write signature policy: %w", err)
			}
		}
	}
	// With no configuration at all a short name means Docker Hub, as it does for docker; a configuration that is there is obeyed.
	if _, err := os.Stat(sysregistriesv2.ConfigPath(&sys)); sys.SystemRegistriesConfPath == "" && err != nil {
		sys.SystemRegistriesConfPath = filepath.Join(r.Scratch, "registries.conf")
		if err := os.WriteFile(sys.SystemRegistriesConfPath, []byte(dockerHub), 0o600); err != nil {
			return nil, fmt.Errorf("write registries.conf: %w", err)
		}
	}
	return &sys, nil
}

// prepareKubefile returns the file buildah is given: the user's own, or a copy
// with the edits made, in which every other instruction keeps its line number.
func prepareKubefile(r Request) (string, error) {
	if len(r.Edits) == 0 {
		return filepath.Abs(r.Kubefile)
	}
	text, err := os.ReadFile(r.Kubefile)
	if err != nil {
		return "", fmt.Errorf("read Kubefile: %w", err)
	}
	lines := strings.SplitAfter(string(text), "\n")
	for _, e := range r.Edits {
		if e.First < 1 || e.Last < e.First || e.Last > len(lines) {
			return "", fmt.Errorf("prepare Kubefile: no lines %d to %d", e.First, e.Last)
		}
		lines[e.First-1] = e.Text + "\n"
		for i := e.First; i < e.Last; i++ {
			lines[i] = "\n"
		}
	}
	file := filepath.Join(r.Scratch, "Kubefile")
	if err := os.WriteFile(file, []byte(strings.Join(lines, "")), 0o600); err != nil {
		return "", fmt.Errorf("write prepared Kubefile: %w", err)
	}
	return file, nil
}

// Ignored are the patterns of what a build does not see of a context: those of its ignore file, or of the Kubefile's own, and the
// given ones.
func Ignored(contextDir, kubefile string, exclude []string) ([]string, error) {
	var of []string
	dir, err := filepath.Abs(contextDir)
	if err == nil && kubefile != "" {
		kubefile, err = filepath.Abs(kubefile)
		of = []string{kubefile}
	}
	if err != nil {
		return nil, fmt.Errorf("find context %s: %w", contextDir, err)
	}
	own, _, err := parse.ContainerIgnoreFile(dir, "", of)
	if err != nil {
		return nil, fmt.Errorf("read ignore file of %s: %w", contextDir, err)
	}
	return slices.Concat(own, exclude), nil
}

// ulimits keeps RUN within the limits of this process where they are lower than those buildah would set: raising them needs a
// capability that root in a container lacks.
func ulimits() []string {
	var all []string
	for _, l := range []struct {
		name  string
		which int
	}{{"nofile", unix.RLIMIT_NOFILE}, {"nproc", unix.RLIMIT_NPROC}} {
		var now unix.Rlimit
		if err := unix.Getrlimit(l.which, &now); err == nil && now.Max < define.RLimitDefaultValue {
			all = append(all, fmt.Sprintf("%s=%d:%d", l.name, now.Max, now.Max))
		}
	}
	return all
}
