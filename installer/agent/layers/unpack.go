package layers

import (
	"bufio"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/klauspost/compress/zstd"
	"golang.org/x/sys/unix"

	"github.com/sealbuild/sealbuild/installer/agent"
	"github.com/sealbuild/sealbuild/installer/agent/files"
)

// maxWindow is the largest zstd window taken: what `zstd --long` makes by default.
const maxWindow = 128 << 20

// Unpack applies a layer to a directory, or to the one beside it. First it tells wants whether it reads the stream: it does not
// if the layer lies there already, upon the same others.
func Unpack(ctx context.Context, on files.Machine, q agent.UnpackRequest, stream *bufio.Reader, wants func(bool) error) error {
	m := machine{on}
	list := layersOf(q)
	if err := check(list); err != nil {
		return err
	}
	p, err := m.placesOf(q.Dir)
	if err != nil {
		return err
	}
	dir := p.dir
	if q.Beside {
		dir = p.next
	}
	done, err := m.beginLayer(dir, q)
	if err != nil {
		return err
	}
	root, err := os.OpenRoot(m.Path(dir))
	if err != nil {
		return fmt.Errorf("unpack: %w", err)
	}
	defer root.Close()
	if done {
		sweepStages(root) // of one that was killed right after its mark
		return wants(false)
	}
	if err := wants(true); err != nil {
		return err
	}
	stage, err := openStage(root)
	if err != nil {
		return fmt.Errorf("unpack into %s: %w", dir, err)
	}
	defer stage.close()
	// The end of the context (a signal) ends it between two chunks. The chunks end with the installer.
	in := &contextReader{ctx, agent.ReadChunks(stream)}
	if err := m.apply(q, dir, in, root, stage); err != nil {
		if errors.Is(err, agent.ErrCut) {
			return agent.ErrCut
		}
		return fmt.Errorf("unpack %s into %s: %w", q.Digest, dir, err)
	}
	// All files must be on disk before the list says that the layer is there.
	if err := syncFileSystem(root); err != nil {
		return fmt.Errorf("sync %s: %w", dir, err)
	}
	return m.writeList(dir, layerList{settings: settingsOf(list), layers: list.Digests})
}

// layersOf gives the layers that lie in the directory afterwards.
func layersOf(q agent.UnpackRequest) agent.Layers {
	return agent.Layers{Dir: q.Dir, Digests: append(slices.Clone(q.Upon), q.Digest), Exclude: q.Exclude, Executable: q.Executable}
}

// beginLayer writes into the list that a layer is begun, before any file of it is made. done tells that it lies there already.
func (m machine) beginLayer(dir string, q agent.UnpackRequest) (done bool, err error) {
	list := layersOf(q)
	have, known, err := m.layersIn(dir)
	if err != nil {
		return false, err
	}
	if !known {
		fresh, err := m.isFresh(dir, q.Exclude)
		if err != nil {
			return false, err
		}
		if !fresh || len(q.Upon) > 0 {
			return false, &agent.Error{Code: agent.CodeRefused, Message: fmt.Sprintf("unpack %s: nobody knows which layers lie in %s", q.Digest, dir)}
		}
		have = layerList{settings: settingsOf(list)}
	}
	n := len(list.Digests)
	switch {
	case len(have.layers) >= n && have.settings == settingsOf(list) && slices.Equal(have.layers[:n], list.Digests):
		return true, nil
	case !have.begins(list) || len(have.layers) != n-1:
		return false, &agent.Error{Code: agent.CodeRefused, Message: fmt.Sprintf("unpack %s: other layers lie in %s", q.Digest, dir)}
	case have.unpacking == q.Digest:
		return false, nil
	}
	have.unpacking = q.Digest
	return false, m.writeList(dir, have)
}

// apply reads the whole stream: what follows the end of the archive is part of the digest, too.
func (m machine) apply(q agent.UnpackRequest, dir string, in io.Reader, root *os.Root, stage *stage) error {
	tar, closeTar, err := decode(q.Format, in)
	if err != nil {
		return err
	}
	defer closeTar()
	verifier := q.Digest.Verifier()
	counted := &counter{r: io.TeeReader(tar, verifier), limit: q.Size}
	// The archive's reader asks for 512 bytes at a time.
	buffered := bufio.NewReaderSize(counted, 256<<10)
	l := &layer{root: root, stage: stage, exclude: q.Exclude, executable: q.Executable, own: map[string]bool{}, disk: m.Disk, dir: dir}
	if err := l.apply(buffered); err != nil {
		return err
	}
	if _, err := io.Copy(io.Discard, buffered); err != nil {
		return err
	}
	if q.Size > 0 && counted.n != q.Size {
		return &agent.Error{Code: agent.CodeDigest, Message: fmt.Sprintf("%d bytes came, %d were announced", counted.n, q.Size)}
	}
	if !verifier.Verified() {
		return &agent.Error{Code: agent.CodeDigest, Message: "the bytes that came have another digest"}
	}
	// The decoder may have stopped before the end of the stream, where the installer waits for us.
	_, err = io.Copy(io.Discard, in)
	return err
}

func decode(format string, in io.Reader) (io.Reader, func(), error) {
	switch format {
	case "tar":
		return in, func() {}, nil
	case "gzip":
		z, err := gzip.NewReader(in)
		if err != nil {
			return nil, nil, fmt.Errorf("gzip: %w", err)
		}
		return z, func() { z.Close() }, nil
	case "zstd":
		z, err := zstd.NewReader(in, zstd.WithDecoderMaxWindow(maxWindow), zstd.WithDecoderLowmem(true))
		if err != nil {
			return nil, nil, fmt.Errorf("zstd: %w", err)
		}
		return z, z.Close, nil
	}
	return nil, nil, &agent.Error{Code: agent.CodeRefused, Message: fmt.Sprintf("format %q: want zstd, gzip or tar", format)}
}

// counter counts what is read, and stops a stream that is longer than was announced (0: not announced).
type counter struct {
	r        io.Reader
	n, limit int64
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	if c.limit > 0 && c.n > c.limit {
		return 0, &agent.Error{Code: agent.CodeDigest, Message: fmt.Sprintf("more than the %d bytes announced came", c.limit)}
	}
	return n, err
}

func syncFileSystem(root *os.Root) error {
	dir, err := root.Open(".")
	if err != nil {
		return err
	}
	defer dir.Close()
	return unix.Syncfs(int(dir.Fd()))
}

type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func (c *contextReader) Read(p []byte) (int, error) {
	if c.ctx.Err() != nil {
		return 0, context.Cause(c.ctx)
	}
	return c.r.Read(p)
}
