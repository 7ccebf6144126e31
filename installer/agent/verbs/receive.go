package verbs

import (
	"context"
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

// inBand marks an error that must not be answered by a line: stdout belongs to another protocol by then.
type inBand struct{ err error }

var errAnsweredInBand = errors.New("answered in band")

func (e *inBand) Error() string { return e.err.Error() }

func (e *inBand) Unwrap() error { return e.err }

func (e *inBand) Is(target error) bool { return target == errAnsweredInBand }

// registryMark lies in the root of a registry that this cluster made; the scripts of the rootfs image remove no other.
const (
	registryMark = ".sealos-registry"
	registryTree = "docker/registry/v2"
	markText     = "This registry was made by a cluster installation and is removed with it.\n"
	markBefore   = "The directory itself was there before.\n"
)

// claimRegistry marks root as made by this cluster, unless a registry's tree is there already: filled, one's own tree
// looks like anybody's, so it has to be told before the first blob.
func (m machine) claimRegistry(root string) error {
	mark := m.Path(filepath.Join(root, registryMark))
	for _, name := range []string{m.Path(filepath.Join(root, registryTree)), mark} {
		if _, err := os.Lstat(name); !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	text := markText
	if entries, err := os.ReadDir(m.Path(root)); err == nil && len(entries) == 0 {
		text += markBefore // one that holds something stays anyway
	}
	if err := files.MakeParents(mark); err != nil {
		return err
	}
	return m.Replace(filepath.Join(root, registryMark), mark, files.DefaultMode, []byte(text), nil)
}

// receiveRegistry gives stdin and stdout to the registry's own protocol.
func (m machine) receiveRegistry(ctx context.Context, q agent.ReceiveRequest, c *call) (any, error) {
	if err := files.CheckPath(q.Root); err != nil {
		return nil, err
	}
	if err := m.claimRegistry(q.Root); err != nil {
		return nil, fmt.Errorf("mark registry %s as this cluster's: %w", q.Root, err)
	}
	if err := c.out.stream(true); err != nil {
		return nil, err
	}
	_, err := storesync.Receive(ctx, disk.Open(m.Path(q.Root)), &duplexReader{c.in, c.end}, c.out.w, m.Sync())
	if err != nil {
		return nil, &inBand{fmt.Errorf("fill registry: %w", err)}
	}
	return nil, nil
}

// duplexReader lets the registry end a read that waits, when its context ends.
type duplexReader struct {
	io.Reader
	io.Closer
}
