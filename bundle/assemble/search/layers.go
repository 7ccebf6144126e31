package search

import (
	"archive/tar"
	"bufio"
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"

	"github.com/sealbuild/sealbuild/bundle/assemble/store"
	"github.com/sealbuild/sealbuild/ground/ocigraph"
)

// Bounds for what is taken out of an image that anybody may have made, beside those of the store.
const (
	maxPlain = 16 << 20 // bytes of a file that neither is an archive nor ends as a document does: programs, which name no images
	maxDepth = 200      // directories in each other
)

// extraction is one image being read, layer by layer: the files are merged as the site will see them.
type extraction struct {
	store *store.Store
	ctx   context.Context
	root  *os.Root
	links map[string]link // of registry/, by their paths
	own   map[string]bool // paths that the layer being read has brought
	files int             // taken so far
	room  int64           // bytes that may still be taken of the layer being read
}

// extract writes the files of an image, from a layer on, that may name container images to dir, puts the blobs of its registry/
// into the store, and returns the images of registry/, by repository:tag and repository@digest.
func extract(ctx context.Context, st *store.Store, image v1.Descriptor, from int, dir string) (map[string]digest.Digest, error) {
	m, err := ocigraph.Read(st, image.Digest)
	if err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer func() { _ = root.Close() }()
	x := newExtraction(ctx, st, root)
	for _, l := range m.Layers[min(from, len(m.Layers)):] {
		if err := x.layer(l); err != nil {
			return nil, fmt.Errorf("read layer %s: %w", l.Digest, err)
		}
	}
	return x.tags(), nil
}

func newExtraction(ctx context.Context, st *store.Store, root *os.Root) *extraction {
	return &extraction{store: st, ctx: ctx, root: root, links: map[string]link{}}
}

func (x *extraction) layer(d v1.Descriptor) error {
	f, err := x.store.OpenBlob(d.Digest)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	return x.read(f, d.Size)
}

// read takes what is wanted of a layer that has so many bytes.
func (x *extraction) read(layer io.Reader, size int64) error {
	x.own, x.room = map[string]bool{}, store.Room(size)
	plain, err := store.Unpacked(layer)
	if err != nil {
		return err
	}
	defer plain.Close()
	for entries := tar.NewReader(plain); ; {
		if err := x.ctx.Err(); err != nil {
			return err
		}
		h, err := entries.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		name := strings.TrimPrefix(path.Clean("/"+h.Name), "/")
		if err := x.entry(name, h, entries); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
}

func (x *extraction) entry(name string, h *tar.Header, r io.Reader) error {
	if strings.Count(name, "/") > maxDepth {
		return fmt.Errorf("its path has more than %d directories", maxDepth)
	}
	dir, file := path.Split(name)
	if hidden, ok := strings.CutPrefix(file, ".wh."); ok {
		return x.hide(strings.TrimSuffix(dir, "/"), hidden)
	}
	if err := x.replace(name, h.Typeflag == tar.TypeDir); err != nil {
		return err
	}
	if below, ok := strings.CutPrefix(name, RegistryTree); ok {
		if h.Typeflag != tar.TypeReg {
			return nil
		}
		if err := x.charge(h.Size); err != nil {
			return err
		}
		x.own[name] = true
		return x.registry(below, h.Size, r)
	}
	content := bufio.NewReader(r)
	if !wanted(name, h, content) {
		return nil
	}
	if err := x.makeDir(path.Dir(name)); err != nil {
		return err
	}
	x.own[name] = true
	switch h.Typeflag {
	case tar.TypeSymlink:
		return x.root.Symlink(inside(h.Linkname, name), name)
	case tar.TypeLink:
		err := x.root.Link(strings.TrimPrefix(path.Clean("/"+h.Linkname), "/"), name)
		if errors.Is(err, fs.ErrNotExist) {
			return nil // its other name was not taken either
		}
		return err
	}
	if err := x.charge(h.Size); err != nil {
		return err
	}
	out, err := x.root.Create(name)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, content)
	return errors.Join(err, out.Close())
}

// charge refuses what a layer of its size has no reason to hold.
func (x *extraction) charge(size int64) error {
	if x.files++; x.files > store.MaxFiles {
		return fmt.Errorf("the image has more than %d files", store.MaxFiles)
	}
	if x.room -= size; x.room < 0 {
		return &store.GrowthError{Size: size}
	}
	return nil
}

// makeDir makes a directory where a lower layer may have a file, which then is gone.
func (x *extraction) makeDir(dir string) error {
	if err := x.root.MkdirAll(dir, 0o755); err == nil {
		return nil
	}
	for at := dir; at != "."; at = path.Dir(at) {
		if fi, err := x.root.Stat(at); err != nil || !fi.IsDir() {
			if err := x.root.RemoveAll(at); err != nil {
				continue // something above it is in the way
			}
		}
	}
	return x.root.MkdirAll(dir, 0o755)
}

// inside is the target of a symbolic link as it is below the directory that stands for the root of the site: no path leads out.
func inside(target, name string) string {
	if !path.IsAbs(target) {
		if beside := path.Join(path.Dir(name), target); beside != ".." && !strings.HasPrefix(beside, "../") {
			return target
		}
		target = path.Join("/", path.Dir(name), target)
	}
	return strings.Repeat("../", strings.Count(name, "/")) + cmp.Or(strings.TrimPrefix(path.Clean(target), "/"), ".")
}

// wanted tells whether a file may name images, is a script, or is an archive of images.
func wanted(name string, h *tar.Header, content *bufio.Reader) bool {
	top, _, _ := strings.Cut(name, "/")
	switch {
	case top == "proc" || top == "sys" || top == "dev":
		return false
	case h.Typeflag == tar.TypeSymlink || h.Typeflag == tar.TypeLink:
		return true
	case h.Typeflag != tar.TypeReg:
		return false
	}
	switch strings.ToLower(path.Ext(name)) {
	case ".yaml", ".yml", ".json", ".tgz":
		return true
	}
	head, _ := content.Peek(262)
	switch top {
	case "bin", "cri", "usr", "lib", "lib64", "sbin": // the homes of programs
		return bytes.HasPrefix(head, []byte("#!"))
	}
	return h.Size <= maxPlain || store.Packed(head) || len(head) == 262 && string(head[257:]) == "ustar"
}

// replace makes room for an entry: it takes the place of what lies there, but a directory leaves a directory as it is.
func (x *extraction) replace(name string, dir bool) error {
	if dir {
		if fi, err := x.root.Lstat(cmp.Or(name, ".")); err != nil || fi.IsDir() {
			return nil
		}
	}
	if within(strings.TrimSuffix(RegistryTree, "/"), name) || strings.HasPrefix(name, RegistryTree) {
		return x.remove(name)
	}
	if err := x.root.RemoveAll(name); err != nil && !errors.Is(err, unix.ENOTDIR) {
		return err
	}
	return nil
}

// hide does what a whiteout says: something of a lower layer is gone. What the same layer brings stays, whichever comes first.
func (x *extraction) hide(dir, name string) error {
	gone := path.Join(dir, name)
	if name == ".wh..opq" {
		gone = dir
	}
	return x.remove(gone)
}

// remove takes away what lower layers have there and below; nothing is the whole image.
func (x *extraction) remove(gone string) error {
	for at := range x.links {
		if !x.own[at] && within(at, gone) {
			delete(x.links, at)
		}
	}
	keep := false
	for at := range x.own {
		if within(at, gone) {
			keep = true
			break
		}
	}
	if !keep && gone != "" {
		return x.root.RemoveAll(gone)
	}
	start := cmp.Or(gone, ".")
	var files []string
	err := fs.WalkDir(x.root.FS(), start, func(at string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && !x.own[at] {
			files = append(files, at)
		}
		return err
	})
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	for _, at := range files {
		err = errors.Join(err, x.root.Remove(at))
	}
	return err
}

func within(at, dir string) bool { return dir == "" || at == dir || strings.HasPrefix(at, dir+"/") }
