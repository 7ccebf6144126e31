package build

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"github.com/containers/buildah/define"
	"github.com/opencontainers/go-digest"

	"github.com/sealbuild/sealbuild/kubefile"
)

// revision is raised when the same inputs begin to give another image.
const revision = 1

// Key names everything that a build's result depends on: Kubefile, arguments, labels, environment, platform, time stamp, the
// digests of base images, the files of contexts that the Kubefile reads, the names of secrets, and the builder. Two requests with
// one key make the same image, as far as RUN instructions do: those are taken to give today what they gave before, which is what
// docker's and buildah's users know of layers that are reused.
//
// cache is a file in which digests of context files are remembered; empty for
// none. A request that ADDs from elsewhere has no key, which is "".
func Key(ctx context.Context, r Request, reads kubefile.Reads, cache string) (digest.Digest, error) {
	if reads.Remote {
		return "", nil
	}
	dir, err := filepath.Abs(r.Context)
	if err != nil {
		return "", fmt.Errorf("find context %s: %w", r.Context, err)
	}
	text, err := os.ReadFile(r.Kubefile)
	if err != nil {
		return "", fmt.Errorf("read Kubefile: %w", err)
	}
	ignore, err := Ignored(dir, r.Kubefile, r.Exclude)
	if err != nil {
		return "", err
	}
	contents, err := digestContents(ctx, dir, reads.Paths, ignore, cache)
	if err != nil {
		return "", err
	}
	inputs := struct {
		Revision int
		Builder  string
		Kubefile string
		Edits    []Edit
		Args     map[string]string
		Labels   []string
		Env      []string
		Platform string
		Epoch    int64
		Bases    []string
		Contents string

		Target   string   `json:",omitempty"`
		Contexts []string `json:",omitempty"`
		Given    []string `json:",omitempty"` // names of secrets and ssh agents, not what they are
	}{
		Revision: revision, Builder: define.Version, Kubefile: string(text), Edits: r.Edits,
		Args: r.Args, Labels: r.Labels, Env: r.Env, Epoch: r.Epoch.Unix(), Contents: contents,
		Platform: fmt.Sprintf("%s/%s/%s", r.Platform.OS, r.Platform.Architecture, r.Platform.Variant),
		Target:   r.Target, Given: ids(r.Secrets, r.SSH),
	}
	for _, c := range r.Contexts {
		means := c.Image
		if c.Dir != "" {
			if means, err = namedContents(ctx, c, reads.Named[c.Name]); err != nil {
				return "", err
			}
		}
		inputs.Contexts = append(inputs.Contexts, c.Name+"="+means)
	}
	for _, p := range r.Preload {
		inputs.Bases = append(inputs.Bases, p.Name+"@"+p.Digest.String())
	}
	raw, err := json.Marshal(inputs)
	if err != nil {
		return "", fmt.Errorf("name the inputs of %s: %w", r.Kubefile, err)
	}
	return digest.FromBytes(raw), nil
}

// namedContents is the digest of what a build reads of a further build context.
func namedContents(ctx context.Context, c NamedContext, paths []string) (string, error) {
	dir, err := filepath.Abs(c.Dir)
	if err != nil {
		return "", fmt.Errorf("find build context %s: %w", c.Name, err)
	}
	ignore, err := Ignored(dir, "", c.Exclude)
	if err != nil {
		return "", err
	}
	return digestContents(ctx, dir, paths, ignore, "")
}
