package verbs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/sealbuild/sealbuild/installer/agent"
	"github.com/sealbuild/sealbuild/installer/agent/files"
	"github.com/sealbuild/sealbuild/registry/disk"
	"github.com/sealbuild/sealbuild/registry/storesync"
)

// inBand is an error that must not be answered by a line: stdout belongs to another protocol by then.
type inBand struct{ error }

// registryMark is a file in the root of a registry that this cluster made; the scripts of the rootfs image remove no other.
const (
	registryMark = ".sealos-registry"
	registryTree = "docker/registry/v2"
	markText     = "This registry was made by a cluster installation and is removed with it.\n"
	markBefore   = "The directory itself was there before.\n"
)

// claimRegistry marks root as made by this cluster, unless a registry is there already. It has to come before the first blob:
// afterwards nothing tells whose registry it is.
func (m machine) claimRegistry(root string) error {
	mark := m.Path(filepath.Join(root, registryMark))
	for _, name := range []string{m.Path(filepath.Join(root, registryTree)), mark} {
		if _, err := os.Lstat(name); !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	text := markText
	if entries, err := os.ReadDir(m.Path(root)); err == nil && len(entries) == 0 {
		text += markBefore // a reset keeps a directory that holds something anyway
	}
	if err := files.MakeParents(mark); err != nil {
		return err
	}
	return m.Replace(filepath.Join(root, registryMark), mark, files.DefaultMode, []byte(text), nil)
}

// recordBundle records what a bundle brings to a registry, and whether the cluster runs with it.
func (m machine) recordBundle(_ context.Context, q agent.BundleRequest) error {
	if err := files.CheckPath(q.Root); err != nil {
		return err
	}
	var b disk.Bundle
	if err := json.Unmarshal(q.Bundle, &b); err != nil {
		return &agent.Error{Code: agent.CodeProtocol, Message: "record bundle: " + err.Error()}
	}
	store := disk.Open(m.Path(q.Root))
	switch q.State {
	case agent.BundleComes:
		if err := m.claimRegistry(q.Root); err != nil {
			return fmt.Errorf("mark registry %s as this cluster's: %w", q.Root, err)
		}
		return store.BundleComes(b)
	case agent.BundleInUse:
		return store.BundleInUse(b)
	case agent.BundleLeft:
		return store.BundleLeft(b)
	}
	return &agent.Error{Code: agent.CodeProtocol, Message: fmt.Sprintf("record bundle: state %q is not known", q.State)}
}

// receiveRegistry hands stdin and stdout to the protocol of the sync.
func (m machine) receiveRegistry(ctx context.Context, q agent.ReceiveRequest, c *call) (any, error) {
	if err := files.CheckPath(q.Root); err != nil {
		return nil, err
	}
	what := "receive files"
	if !q.Passing {
		what = "fill registry"
		if err := m.claimRegistry(q.Root); err != nil {
			return nil, fmt.Errorf("mark registry %s as this cluster's: %w", q.Root, err)
		}
	}
	if err := c.out.stream(true); err != nil {
		return nil, err
	}
	// The store closes its input to end a read that waits.
	in := struct {
		io.Reader
		io.Closer
	}{c.in, c.end}
	_, err := storesync.Receive(ctx, disk.Open(m.Path(q.Root)), in, c.out.w, m.Sync())
	if err != nil {
		return nil, &inBand{fmt.Errorf("%s: %w", what, err)}
	}
	return nil, nil
}
