package sbom

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/sealbuild/sealbuild/ground/durable"
)

// When says whether the packages inside images are searched for.
type When string

const (
	// WhenThere searches if sealsbom is there, and says so if it is not. So does an empty When.
	WhenThere When = "auto"
	// Always fails without sealsbom, and where an image cannot be searched.
	Always When = "always"
	// Never does not search.
	Never When = "never"
)

const (
	program   = "sealsbom"
	format    = 1        // of what sealsbom says
	maxAnswer = 64 << 20 // bytes of what it says of one image

	endDelay = 10 * time.Second // for what a sealsbom that was stopped has started
)

// MissingError says that sealsbom was not found, and where it was looked for.
type MissingError struct{ Tried []string }

func (e *MissingError) Error() string {
	return fmt.Sprintf("there is no %s (make %s builds it; --sbom-packages=never does without); looked at %s", program, program, strings.Join(e.Tried, " and "))
}

// Find finds sealsbom as installers are found: beside the running program, and in the libexec directory of an installed package.
func Find() (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("find %s: %w", program, err)
	}
	if real, err := filepath.EvalSymlinks(self); err == nil {
		self = real
	}
	dir := filepath.Dir(self)
	missing := &MissingError{}
	for _, path := range []string{filepath.Join(dir, program), filepath.Join(filepath.Dir(dir), "libexec", "sealbuild", program)} {
		if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
			return path, nil
		}
		missing.Tried = append(missing.Tried, path)
	}
	return "", missing
}

// Images is where the images lie that are searched.
type Images interface {
	// Layout makes an OCI layout in a new directory that holds one image, and no bytes of its own. remove ends it.
	Layout(image v1.Descriptor) (dir string, remove func() error, err error)
}

// Searcher has sealsbom search images, one at a time: the memory that takes is that of one. What was found is kept by the digest of
// the image's manifest and by what has searched.
type Searcher struct {
	path   string
	by     string // what sealsbom calls itself
	cache  string // a directory, which may be removed at any time
	images Images
}

// NewSearcher asks the sealsbom at path what it is.
func NewSearcher(ctx context.Context, path, cache string, images Images) (*Searcher, error) {
	s := &Searcher{path: path, cache: cache, images: images}
	by, err := s.run(ctx, "", "--version")
	if err != nil {
		return nil, err
	}
	if s.by = strings.TrimSpace(string(by)); !strings.HasPrefix(s.by, fmt.Sprintf("%s %d,", program, format)) {
		return nil, fmt.Errorf("%s calls itself %.80q, where %s %d is wanted: build both from one source", path, s.by, program, format)
	}
	return s, nil
}

// kept is a file of the cache.
type kept struct {
	By    string        `json:"by"`
	Image digest.Digest `json:"image"`
	Found *Found        `json:"found"`
}

// Search lists the packages in the image of one platform.
func (s *Searcher) Search(ctx context.Context, image v1.Descriptor) (*Found, error) {
	file := filepath.Join(s.cache, "packages-"+short([]byte(s.by+" "+image.Digest.String()))+".json")
	var before kept
	if raw, err := os.ReadFile(file); err == nil && json.Unmarshal(raw, &before) == nil &&
		before.By == s.by && before.Image == image.Digest && before.Found != nil {
		return before.Found, nil
	}
	found, err := s.search(ctx, image)
	if err != nil {
		return nil, fmt.Errorf("search %s for packages: %w", image.Digest, err)
	}
	if raw, err := json.Marshal(kept{s.by, image.Digest, found}); err == nil && os.MkdirAll(s.cache, 0o755) == nil {
		_ = durable.WriteCache(file, raw, 0o644) // it costs time only
	}
	return found, nil
}

func (s *Searcher) search(ctx context.Context, image v1.Descriptor) (found *Found, err error) {
	dir, remove, err := s.images.Layout(image)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, remove()) }()
	// What it unpacks lies beside the layout, and goes with it, also after it was killed.
	scratch := filepath.Join(dir, "tmp")
	if err := os.Mkdir(scratch, 0o700); err != nil {
		return nil, err
	}
	said, err := s.run(ctx, scratch, dir)
	if err != nil {
		return nil, err
	}
	found = &Found{}
	if err := json.Unmarshal(said, found); err != nil {
		return nil, fmt.Errorf("read what %s says: %w", program, err)
	}
	if found.Format != format {
		return nil, fmt.Errorf("%s says it in format %d, where %d is wanted", program, found.Format, format)
	}
	return found, nil
}

// run returns what sealsbom writes. Of what it complains of, the end is told.
func (s *Searcher) run(ctx context.Context, scratch string, args ...string) ([]byte, error) {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	cmd := exec.CommandContext(ctx, s.path, args...)
	cmd.WaitDelay = endDelay
	if scratch != "" {
		cmd.Env = append(os.Environ(), "TMPDIR="+scratch)
	}
	complaint := &tail{}
	cmd.Stderr = complaint
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", program, err)
	}
	said, err := io.ReadAll(io.LimitReader(out, maxAnswer+1))
	if len(said) > maxAnswer {
		stop()
		_ = out.Close() // whatever writes there ends
		err = fmt.Errorf("%s says more than %d bytes", program, maxAnswer)
	}
	if ended := cmd.Wait(); err == nil && ended != nil {
		err = fmt.Errorf("%s: %w: %s", program, ended, bytes.TrimSpace(complaint.last))
	}
	return said, err
}

// tail keeps the end of what is written.
type tail struct{ last []byte }

func (t *tail) Write(p []byte) (int, error) {
	t.last = append(t.last, p...)
	t.last = t.last[max(0, len(t.last)-2000):]
	return len(p), nil
}
