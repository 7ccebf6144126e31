package main

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/klauspost/compress/gzip"
	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// writeTar writes the layer's files as a tar archive whose bytes depend on
// nothing but names and contents: sorted, parents first, owned by root, and
// dated to the epoch.
func writeTar(w io.Writer, files []file, input, arch string) error {
	entries, err := withParents(files)
	if err != nil {
		return err
	}
	archive := tar.NewWriter(w)
	for _, f := range entries {
		if err := writeEntry(archive, f, input, arch); err != nil {
			return fmt.Errorf("entry %s: %w", f.path, err)
		}
	}
	return archive.Close()
}

// withParents sorts the files and adds the directories that lead to them.
func withParents(files []file) ([]file, error) {
	byPath := map[string]file{}
	for _, f := range files {
		f.path = strings.Trim(path.Clean(f.path), "/")
		if _, twice := byPath[f.path]; twice {
			return nil, fmt.Errorf("%s is named twice", f.path)
		}
		byPath[f.path] = f
	}
	for _, f := range files {
		for dir := path.Dir(strings.Trim(f.path, "/")); dir != "."; dir = path.Dir(dir) {
			if _, known := byPath[dir]; !known {
				byPath[dir] = directory(dir, 0o755)
			}
		}
	}
	var sorted []file
	for _, f := range byPath {
		sorted = append(sorted, f)
	}
	slices.SortFunc(sorted, func(a, b file) int { return strings.Compare(a.path, b.path) })
	return sorted, nil
}

func writeEntry(archive *tar.Writer, f file, input, arch string) error {
	header := &tar.Header{Name: f.path, Mode: int64(f.mode), Format: tar.FormatPAX}
	switch {
	case f.dir:
		header.Typeflag, header.Name = tar.TypeDir, f.path+"/"
		return archive.WriteHeader(header)
	case f.link != "":
		header.Typeflag, header.Linkname = tar.TypeSymlink, f.link
		return archive.WriteHeader(header)
	case f.content != "":
		header.Typeflag, header.Size = tar.TypeReg, int64(len(f.content))
		if err := archive.WriteHeader(header); err != nil {
			return err
		}
		_, err := io.WriteString(archive, f.content)
		return err
	}
	source, err := os.Open(filepath.Join(input, strings.ReplaceAll(f.from, "{arch}", arch)))
	if err != nil {
		return err
	}
	defer source.Close()
	info, err := source.Stat()
	if err != nil {
		return err
	}
	header.Typeflag, header.Size = tar.TypeReg, info.Size()
	if err := archive.WriteHeader(header); err != nil {
		return err
	}
	_, err = io.Copy(archive, source)
	return err
}

// packages turns a closure over the extracted Debian packages into files.
func packages(input string, patterns []string) ([]file, error) {
	root := filepath.Join(input, "debian")
	paths, err := closure(root, patterns)
	if err != nil {
		return nil, err
	}
	var files []file
	for _, p := range paths {
		full := filepath.Join(root, p)
		info, err := os.Lstat(full)
		if err != nil {
			return nil, err
		}
		if info.Mode()&fs.ModeSymlink != 0 {
			target, err := os.Readlink(full)
			if err != nil {
				return nil, err
			}
			files = append(files, symlink(p, target))
			continue
		}
		files = append(files, file{path: p, from: path.Join("debian", p), mode: info.Mode().Perm()})
	}
	return files, nil
}

// everyApplet is busybox under every name of the list that it printed itself.
func everyApplet(input string, without []string) ([]file, error) {
	list, err := os.ReadFile(filepath.Join(input, "applets.txt"))
	if err != nil {
		return nil, err
	}
	files := []file{program("bin/busybox", "debian/bin/busybox")}
	for _, name := range strings.Fields(string(list)) {
		if name != "busybox" && !slices.Contains(without, name) {
			files = append(files, symlink(path.Join("bin", name), "busybox"))
		}
	}
	return files, nil
}

// buildLayer writes one compressed layer into the layout and returns its
// descriptor and the digest of the uncompressed archive.
func (l *layout) buildLayer(spec layer, arch string) (built builtLayer, err error) {
	files := slices.Clone(spec.files)
	if len(spec.closure) > 0 {
		extra, err := packages(l.input, spec.closure)
		if err != nil {
			return builtLayer{}, err
		}
		files = append(files, extra...)
	}
	if spec.busybox {
		extra, err := everyApplet(l.input, spec.without)
		if err != nil {
			return builtLayer{}, err
		}
		files = append(files, extra...)
	}
	blob, err := l.create()
	if err != nil {
		return builtLayer{}, err
	}
	defer func() { err = errors.Join(err, blob.discard()) }()
	// The default header carries no name and no time, so it is constant.
	compressed := gzip.NewWriter(blob)
	plain := digest.Canonical.Digester()
	if err := writeTar(io.MultiWriter(compressed, plain.Hash()), files, l.input, arch); err != nil {
		return builtLayer{}, err
	}
	if err := compressed.Close(); err != nil {
		return builtLayer{}, err
	}
	descriptor, err := blob.commit(v1.MediaTypeImageLayerGzip)
	if err != nil {
		return builtLayer{}, err
	}
	return builtLayer{descriptor: descriptor, diffID: plain.Digest(), comment: spec.comment}, nil
}

type builtLayer struct {
	descriptor v1.Descriptor
	diffID     digest.Digest
	comment    string
}
