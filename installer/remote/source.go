package remote

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/opencontainers/go-digest"

	"github.com/sealbuild/sealbuild/installer/agent"
	"github.com/sealbuild/sealbuild/registry/catalog"
	"github.com/sealbuild/sealbuild/registry/disk"
)

// Source is a file or directory of this machine as it is to be on hosts. It is read twice: for its digests, and when it is sent.
type Source struct {
	Entries []agent.CopyEntry
	Bytes   int64 // of all files
	blobs   catalog.Catalog
	files   map[digest.Digest]sourceFile
}

type sourceFile struct {
	name string
	info fs.FileInfo
}

// repository is the name under which files cross the wire: a sync knows blobs of repositories.
const repository = "files"

// ReadSource reads a file, or a directory with all it holds. A link that name itself is is followed, others are copied as links.
func ReadSource(ctx context.Context, name string) (*Source, error) {
	name, err := filepath.EvalSymlinks(name)
	if err != nil {
		return nil, err
	}
	s := &Source{files: map[digest.Digest]sourceFile{}}
	var regular []int
	var names []string
	var infos []fs.FileInfo
	err = filepath.WalkDir(name, func(file string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		below, err := filepath.Rel(name, file)
		if err != nil {
			return err
		}
		e := agent.CopyEntry{Path: filepath.ToSlash(below), Mode: info.Mode() & (fs.ModeType | fs.ModePerm), Time: info.ModTime().UnixNano()}
		switch {
		case info.IsDir():
		case info.Mode().IsRegular():
			e.Size = info.Size()
			s.Bytes += e.Size
			regular, names, infos = append(regular, len(s.Entries)), append(names, file), append(infos, info)
		case info.Mode()&fs.ModeSymlink != 0:
			e.Time = 0
			if e.Link, err = os.Readlink(file); err != nil {
				return err
			}
		default:
			return fmt.Errorf("%s is neither a file, a directory nor a link: it cannot be copied", file)
		}
		s.Entries = append(s.Entries, e)
		return nil
	})
	if err != nil {
		return nil, err
	}
	err = disk.OnAllCores(ctx, len(regular), func(i int) error {
		e := &s.Entries[regular[i]]
		if e.Size == 0 {
			return nil
		}
		var err error
		e.Digest, err = hashed(ctx, names[i], e.Size)
		return err
	})
	if err != nil {
		return nil, err
	}
	all := catalog.Repository{Name: repository}
	for i, at := range regular {
		e := s.Entries[at]
		if _, known := s.files[e.Digest]; known || e.Size == 0 {
			continue
		}
		s.files[e.Digest] = sourceFile{names[i], infos[i]}
		all.Layers = append(all.Layers, catalog.Blob{Digest: e.Digest, Size: e.Size})
	}
	s.blobs.Repositories = []catalog.Repository{all}
	return s, nil
}

var errChanged = errors.New("it is being changed while it is read: copy it again when it is at rest")

func hashed(ctx context.Context, name string, size int64) (digest.Digest, error) {
	f, err := os.Open(name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := digest.SHA256.Digester()
	n, err := io.Copy(h.Hash(), disk.Watched(ctx, f, nil))
	if err == nil && n != size {
		err = fmt.Errorf("%s: %w", name, errChanged)
	}
	return h.Digest(), err
}

// Stat tells the size of a file by its digest.
func (s *Source) Stat(d digest.Digest) (int64, bool) {
	f, ok := s.files[d]
	if !ok {
		return 0, false
	}
	return f.info.Size(), true
}

// OpenBlob reads a file.
func (s *Source) OpenBlob(d digest.Digest) (io.ReadCloser, error) { return s.open(d) }

// BlobAt reads a file at any offset.
func (s *Source) BlobAt(d digest.Digest) (catalog.BlobReader, error) {
	f, err := s.open(d)
	if err != nil {
		return nil, err
	}
	return blobFile{f, s.files[d].info.Size()}, nil
}

// open opens a file that is as it was when its digest was taken.
func (s *Source) open(d digest.Digest) (*os.File, error) {
	known, ok := s.files[d]
	if !ok {
		return nil, fs.ErrNotExist
	}
	f, err := os.Open(known.name)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && (!os.SameFile(info, known.info) || info.Size() != known.info.Size() || !info.ModTime().Equal(known.info.ModTime())) {
		err = fmt.Errorf("%s: %w", known.name, errChanged)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

type blobFile struct {
	*os.File
	size int64
}

func (b blobFile) Size() int64 { return b.size }
