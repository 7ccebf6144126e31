package support

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Directories of this machine's state whose newest files are kept, and how many.
var kept = []struct {
	dir  string
	most int
}{{"logs", 10}, {"reports", 10}}

// here collects what this machine knows: its record of the cluster, the logs and reports of its runs, and what status tells.
func (b *bundle) here(ctx context.Context, p *part) {
	files := []string{"Clusterfile", "Clusterfile.last", "disks.json"}
	for _, k := range kept {
		found, err := newestFiles(b.State.Path(k.dir), k.most)
		if err != nil {
			p.lacks(k.dir, err)
		}
		for _, name := range found {
			files = append(files, k.dir+"/"+name)
		}
	}
	for _, name := range files {
		err := b.copyHere(p, name)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			p.lacks(strings.ReplaceAll(name, "/", "-"), err)
		}
	}
	if b.Status == nil {
		return
	}
	s, err := b.Status(ctx)
	if err == nil {
		p.mu.Lock()
		if !p.taken {
			b.status = &s
		}
		p.mu.Unlock()
		err = p.json("sealinstall/status.json", s)
	}
	if err != nil {
		p.lacks("status", err)
	}
}

// learnHere has the keys of this machine told to the redactor.
func (b *bundle) learnHere() {
	_ = filepath.WalkDir(b.State.Path("pki"), func(name string, d fs.DirEntry, err error) error { // one that cannot be read gets nowhere either
		if err == nil && filepath.Ext(name) == ".key" {
			if text, err := os.ReadFile(name); err == nil {
				b.Redact.Learn(string(text))
			}
		}
		return nil
	})
}

// newestFiles are the names of the last files of a directory, which are in the order of time.
func newestFiles(dir string, most int) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if e.Type().IsRegular() {
			names = append(names, e.Name())
		}
	}
	slices.Sort(names)
	return names[max(0, len(names)-most):], nil
}

// copyHere keeps the last bytes of a file of this machine's state.
func (b *bundle) copyHere(p *part, name string) error {
	f, err := os.Open(b.State.Path(filepath.FromSlash(name)))
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	return p.text("sealinstall/"+name, mostOfAFile, nil, func(w io.Writer) error {
		if over := info.Size() - mostOfAFile + 1<<10; over > 0 {
			if err := skip(f, over); err != nil {
				return err
			}
			if _, err := fmt.Fprintf(w, "[%d bytes before this are left out]\n", over); err != nil {
				return err
			}
		}
		_, err := io.Copy(w, io.LimitReader(f, info.Size())) // a run may be writing it
		return err
	})
}

// skip goes on to the first line that begins behind n bytes.
func skip(f *os.File, n int64) error {
	if _, err := f.Seek(n, io.SeekStart); err != nil {
		return err
	}
	for one := make([]byte, 1); one[0] != '\n'; {
		if _, err := f.Read(one); err != nil {
			return err
		}
	}
	return nil
}
