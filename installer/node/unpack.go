package node

import (
	"bufio"
	"compress/gzip"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/klauspost/compress/zstd"
	"golang.org/x/sys/unix"
)

// layersDir is where a directory keeps which layers it has, and what is being unpacked into it.
const layersDir = ".layers"

// maxWindow is the largest zstd window taken: what `zstd --long` makes by default.
const maxWindow = 128 << 20

// unpack applies a layer to a directory. It answers first whether it wants the bytes: a layer that the
// directory has, with the same parts excluded, is not read again.
func (m machine) unpack(ctx context.Context, q UnpackRequest, c *call) (any, error) {
	if err := q.check(); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(m.path(q.Dir), 0o755); err != nil {
		return nil, fmt.Errorf("unpack: %w", err)
	}
	root, err := os.OpenRoot(m.path(q.Dir))
	if err != nil {
		return nil, fmt.Errorf("unpack: %w", err)
	}
	defer root.Close()
	if q.done(root) {
		sweepStages(root) // of one that was killed right after its mark
		return struct{}{}, c.out.stream(false)
	}
	if err := c.out.stream(true); err != nil {
		return nil, err
	}
	stage, err := openStage(root)
	if err != nil {
		return nil, fmt.Errorf("unpack into %s: %w", q.Dir, err)
	}
	defer stage.close()
	// An end of the context (a signal) shows between two chunks; the chunks end when the installer does.
	in := &contextReader{ctx, &chunkReader{r: c.in}}
	if err := q.apply(m, in, root, stage); err != nil {
		if errors.Is(err, errCut) {
			return nil, errCut
		}
		return nil, fmt.Errorf("unpack %s into %s: %w", q.Digest, q.Dir, err)
	}
	return struct{}{}, m.change(path.Join(q.Dir, q.markName()), Before, func() error { return q.mark(root, stage) })
}

func (q UnpackRequest) check() error {
	if err := checkPath(q.Dir); err != nil {
		return err
	}
	if err := q.Digest.Validate(); err != nil {
		return &Error{Code: CodeRefused, Message: fmt.Sprintf("unpack: digest %q: %v", q.Digest, err)}
	}
	for _, e := range q.Exclude {
		if e == "" || path.Clean(e) != e || path.IsAbs(e) || strings.HasPrefix(e, "..") {
			return &Error{Code: CodeRefused, Message: fmt.Sprintf("unpack: exclude %q: want a clean relative path", e)}
		}
	}
	return nil
}

// apply reads the whole stream: also what follows the archive's end is part of the digest.
func (q UnpackRequest) apply(m machine, in io.Reader, root *os.Root, stage *stage) error {
	tar, closeTar, err := decode(q.Format, in)
	if err != nil {
		return err
	}
	defer closeTar()
	verifier := q.Digest.Verifier()
	counted := &counter{r: io.TeeReader(tar, verifier), limit: q.Size}
	// The archive's reader asks for 512 bytes at a time.
	buffered := bufio.NewReaderSize(counted, 256<<10)
	l := &layer{root: root, stage: stage, exclude: q.Exclude, executable: q.Executable, own: map[string]bool{}, machine: m, dir: q.Dir}
	if err := l.apply(buffered); err != nil {
		return err
	}
	if _, err := io.Copy(io.Discard, buffered); err != nil {
		return err
	}
	if q.Size > 0 && counted.n != q.Size {
		return &Error{Code: CodeDigest, Message: fmt.Sprintf("%d bytes came, %d were announced", counted.n, q.Size)}
	}
	if !verifier.Verified() {
		return &Error{Code: CodeDigest, Message: "the bytes that came have another digest"}
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
	return nil, nil, &Error{Code: CodeRefused, Message: fmt.Sprintf("format %q: want zstd, gzip or tar", format)}
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
		return 0, &Error{Code: CodeDigest, Message: fmt.Sprintf("more than the %d bytes announced came", c.limit)}
	}
	return n, err
}

// markName is the file that says that the layer is there; its content is what was left out, and what it was applied upon.
func (q UnpackRequest) markName() string { return path.Join(layersDir, q.Digest.String()) }

func (q UnpackRequest) markText() string {
	list := slices.Sorted(slices.Values(q.Exclude))
	if q.After != "" {
		list = append(list, "after "+q.After.String())
	}
	return strings.Join(append(list, ""), "\n")
}

func (q UnpackRequest) done(root *os.Root) bool {
	text, err := root.ReadFile(q.markName())
	return err == nil && string(text) == q.markText()
}

// mark comes after everything else is on disk.
func (q UnpackRequest) mark(root *os.Root, stage *stage) error {
	dir, err := root.Open(".")
	if err != nil {
		return fmt.Errorf("mark layer: %w", err)
	}
	defer dir.Close()
	if err := unix.Syncfs(int(dir.Fd())); err != nil {
		return fmt.Errorf("sync %s: %w", q.Dir, err)
	}
	temp := stage.name()
	if err := root.WriteFile(temp, []byte(q.markText()), 0o644); err != nil {
		return fmt.Errorf("mark layer: %w", err)
	}
	f, err := root.Open(temp)
	if err != nil {
		return fmt.Errorf("mark layer: %w", err)
	}
	defer f.Close()
	if err := errors.Join(f.Sync(), root.Rename(temp, q.markName())); err != nil {
		return fmt.Errorf("mark layer: %w", err)
	}
	layers, err := root.Open(layersDir)
	if err != nil {
		return fmt.Errorf("mark layer: %w", err)
	}
	defer layers.Close()
	return layers.Sync()
}

// maxChunk bounds what one chunk of a stream announces.
const maxChunk = 1 << 20

// chunkReader reads a stream cut into chunks, each after its length, up to one of length 0. So the end of the stream
// is told from the end of the connection.
type chunkReader struct {
	r    *bufio.Reader
	left uint32
	end  bool
}

func (c *chunkReader) Read(p []byte) (int, error) {
	if c.end {
		return 0, io.EOF
	}
	if c.left == 0 {
		var head [4]byte
		if _, err := io.ReadFull(c.r, head[:]); err != nil {
			return 0, errCut
		}
		c.left = binary.BigEndian.Uint32(head[:])
		if c.left > maxChunk {
			return 0, &Error{Code: CodeProtocol, Message: "the stream is not in chunks"}
		}
		if c.left == 0 {
			c.end = true
			return 0, io.EOF
		}
	}
	n, err := c.r.Read(p[:min(len(p), int(c.left))])
	c.left -= uint32(n)
	if err != nil && (c.left > 0 || n == 0) {
		return n, errCut
	}
	return n, nil
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
