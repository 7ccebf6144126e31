package pull

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"

	"github.com/containers/image/v5/docker"
	image5 "github.com/containers/image/v5/image"
	"github.com/containers/image/v5/signature"
	"github.com/containers/image/v5/types"
	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"

	"github.com/sealbuild/sealbuild/bundle/assemble/store"
)

// readPolicy reads the machine's policy.json; nil when there is none or when it accepts everything.
func readPolicy(sys *types.SystemContext) (*signature.Policy, error) {
	policy, err := signature.DefaultPolicy(sys)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read signature policy: %w", err)
	}
	raw, err := json.Marshal(policy)
	if err != nil {
		return nil, fmt.Errorf("read signature policy: %w", err)
	}
	var all struct {
		Default    []requirement
		Transports map[string]map[string][]requirement
	}
	if err := json.Unmarshal(raw, &all); err != nil {
		return nil, fmt.Errorf("read signature policy: %w", err)
	}
	for _, scopes := range append([]map[string][]requirement{{"": all.Default}}, all.Transports["docker"]) {
		for _, requirements := range scopes {
			for _, r := range requirements {
				if r.Type != "insecureAcceptAnything" {
					return policy, nil
				}
			}
		}
	}
	return nil, nil
}

type requirement struct{ Type string }

// allowed applies the policy to the manifest that a reference was resolved to.
// Signatures are looked for by containers/image, where podman finds them.
func (g *gatherer) allowed(ctx context.Context, named reference.Named, resolved digest.Digest) error {
	if g.policy == nil {
		return nil
	}
	ref, err := docker.NewReference(reference.TagNameOnly(named))
	if err != nil {
		return fmt.Errorf("apply the signature policy: %w", err)
	}
	source, err := ref.NewImageSource(ctx, g.options.System)
	if err != nil {
		return fmt.Errorf("apply the signature policy: %w", err)
	}
	defer func() { _ = source.Close() }()
	pc, err := signature.NewPolicyContext(g.policy)
	if err != nil {
		return fmt.Errorf("read signature policy: %w", err)
	}
	defer func() { _ = pc.Destroy() }()
	image := image5.UnparsedInstance(source, nil)
	if ok, err := pc.IsRunningImageAllowed(ctx, image); !ok {
		return fmt.Errorf("refused by the signature policy: %w", err)
	}
	raw, _, err := image.Manifest(ctx)
	if err != nil {
		return fmt.Errorf("apply the signature policy: %w", err)
	}
	if got := digest.FromBytes(raw); got != resolved { // the tag moved between the two looks
		return fmt.Errorf("apply the signature policy: %w", &store.DigestError{Want: resolved, Got: got, Size: int64(len(raw))})
	}
	return nil
}
