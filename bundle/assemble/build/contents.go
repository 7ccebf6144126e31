package build

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/containers/storage/pkg/fileutils"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// contents digests what a build reads of a context: names, modes, links and bytes, but neither owners nor times, which no layer
// keeps. Files are hashed on all cores; digests of files whose inode, size and times did not change are taken from a cache.
type contents struct {
	root    *os.Root
	dir     string
	ignore  *fileutils.PatternMatcher
	known   map[string]knownFile // by path; read only while hashing
	entries map[string]string    // path -> everything but the bytes
	inodes  map[[2]uint64]string // first path of a file with several names
	files   []string             // regular files to be hashed

	mu   sync.Mutex
	sums map[string]knownFile
}

// digestContents gives the digest of the named paths of dir. cache is a file that need not exist; it is renewed, and losing it
// costs time only. Empty means none.
func digestContents(ctx context.Context, dir string, paths, ignore []string, cache string) (string, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return "", fmt.Errorf("read context: %w", err)
	}
	defer func() { _ = root.Close() }()
	matcher, err := fileutils.NewPatternMatcher(ignore)
	if err != nil {
		return "", fmt.Errorf("read ignore file of %s: %w", dir, err)
	}
	c := &contents{
		root: root, dir: dir, ignore: matcher, known: readKnown(cache), sums: map[string]knownFile{},
		entries: map[string]string{}, inodes: map[[2]uint64]string{},
	}
	for _, p := range paths {
		if err := c.add(ctx, p); err != nil {
			return "", err
		}
	}
	if err := c.hash(ctx); err != nil {
		return "", err
	}
	writeKnown(cache, c.sums)
	all := sha256.New()
	for _, name := range slices.Sorted(maps.Keys(c.entries)) {
		field(all, name, c.entries[name], c.sums[name].Sum)
	}
	return hex.EncodeToString(all.Sum(nil)), nil
}

// field writes texts to a hash so that no two lists of texts write the same.
func field(h hash.Hash, texts ...string) {
	for _, t := range texts {
		fmt.Fprintf(h, "%d:%s", len(t), t)
	}
}

// add notes everything below one path of the context. Of a pattern it takes all that its first parts match: at times more than
// needed, never less. What is not there is noted, too: the build says what is wrong.
func (c *contents) add(ctx context.Context, source string) error {
	clean := strings.TrimPrefix(path.Clean("/"+source), "/")
	parts := strings.Split(clean, "/")
	i := slices.IndexFunc(parts, func(p string) bool { return strings.ContainsAny(p, `*?[\`) })
	if i < 0 {
		return c.tree(ctx, cmp.Or(clean, "."))
	}
	dir := cmp.Or(strings.Join(parts[:i], "/"), ".")
	children, err := fs.ReadDir(c.root.FS(), dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("read context %s: %w", c.dir, err)
	}
	for _, child := range children {
		if ok, err := path.Match(parts[i], child.Name()); ok || err != nil {
			if err := c.tree(ctx, path.Join(dir, child.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}

// tree notes a path and everything below it.
func (c *contents) tree(ctx context.Context, clean string) error {
	err := fs.WalkDir(c.root.FS(), clean, func(name string, d fs.DirEntry, err error) error {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if errors.Is(err, fs.ErrNotExist) {
			c.entries[name] = "absent"
			return nil
		}
		if err != nil {
			return err
		}
		return c.entry(name, d, name == clean)
	})
	if err != nil {
		return fmt.Errorf("read context %s: %w", c.dir, err)
	}
	return nil
}

func (c *contents) entry(name string, d fs.DirEntry, top bool) error {
	if _, ok := c.entries[name]; ok {
		return nil
	}
	if name != "." {
		ignored, err := c.ignore.IsMatch(name)
		if err != nil {
			return err
		}
		if ignored {
			if d.IsDir() && !c.ignore.Exclusions() {
				return fs.SkipDir
			}
			return nil
		}
	}
	info, err := d.Info()
	if err != nil {
		return err
	}
	if top && info.Mode()&fs.ModeSymlink != 0 {
		// A source that is a link is followed.
		if target, err := c.root.Stat(name); err == nil && target.Mode().IsRegular() {
			info = target
		}
	}
	text := info.Mode().String()
	switch {
	case info.Mode()&fs.ModeSymlink != 0:
		target, err := c.root.Readlink(name)
		if err != nil {
			return err
		}
		text += " -> " + target
	case info.Mode().IsRegular():
		c.files = append(c.files, name)
		if st, ok := info.Sys().(*syscall.Stat_t); ok && st.Nlink > 1 {
			// A layer holds a file of several names once.
			inode := [2]uint64{uint64(st.Dev), st.Ino}
			if first, ok := c.inodes[inode]; ok {
				text += " = " + first
			} else {
				c.inodes[inode] = name
			}
		}
	}
	c.entries[name] = text + c.attributes(name)
	return nil
}

// attributes are the extended attributes that layers keep.
func (c *contents) attributes(name string) string {
	file := filepath.Join(c.dir, filepath.FromSlash(name))
	list := make([]byte, 4096)
	n, err := unix.Llistxattr(file, list)
	if err != nil || n == 0 {
		return ""
	}
	var text strings.Builder
	for _, key := range slices.Sorted(strings.SplitSeq(strings.TrimRight(string(list[:n]), "\x00"), "\x00")) {
		if key != "security.capability" && !strings.HasPrefix(key, "user.") {
			continue
		}
		value := make([]byte, 64<<10)
		if n, err := unix.Lgetxattr(file, key, value); err == nil {
			fmt.Fprintf(&text, " %s=%x", key, value[:n])
		}
	}
	return text.String()
}

// hash reads the files, the known ones excepted.
func (c *contents) hash(ctx context.Context) error {
	began := time.Now()
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(runtime.GOMAXPROCS(0))
	for _, name := range c.files {
		g.Go(func() error {
			if err := ctx.Err(); err != nil {
				return err
			}
			sum, err := c.file(name, began)
			if err != nil {
				return fmt.Errorf("read context %s: %w", c.dir, err)
			}
			c.mu.Lock()
			defer c.mu.Unlock()
			c.sums[name] = sum
			return nil
		})
	}
	return g.Wait()
}

func (c *contents) file(name string, began time.Time) (knownFile, error) {
	f, err := c.root.Open(name)
	if err != nil {
		return knownFile{}, err
	}
	defer func() { _ = f.Close() }()
	now, err := identity(f)
	if err != nil {
		return knownFile{}, err
	}
	if known, ok := c.known[name]; ok && known.Sum != "" && known.same(now) {
		return known, nil
	}
	h := sha256.New()
	if _, err := io.CopyBuffer(struct{ io.Writer }{h}, struct{ io.Reader }{f}, make([]byte, 1<<20)); err != nil {
		return knownFile{}, err
	}
	after, err := identity(f)
	if err != nil {
		return knownFile{}, err
	}
	if !after.same(now) || time.Unix(0, max(now.Ctime, now.Mtime)).Add(racy).After(began) {
		now = knownFile{} // never the same as any
	}
	now.Sum = hex.EncodeToString(h.Sum(nil))
	return now, nil
}
