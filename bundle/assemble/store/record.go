package store

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"

	"github.com/sealbuild/sealbuild/ground/durable"
)

// maxRecord bounds a record before it is read.
const maxRecord = 64 << 20

// ErrUnknownImage is the cause when no stored image has a name.
var ErrUnknownImage = errors.New("no such image in the local store")

// Record is what the store knows of one cluster image. Its Images are the
// lock: which reference of the context was resolved to which digest.
type Record struct {
	Name         string            `json:"name"` // as given, with its tag
	Manifest     v1.Descriptor     `json:"manifest"`
	Platform     string            `json:"platform"`              // linux/amd64
	ClusterType  string            `json:"clusterType,omitempty"` // rootfs, patch, application
	Version      string            `json:"version,omitempty"`     // Kubernetes version of a rootfs
	Labels       map[string]string `json:"labels,omitempty"`
	Created      string            `json:"created"`              // RFC 3339, when it was built
	Inputs       []Input           `json:"inputs"`               // what it was built from
	Images       []Pinned          `json:"images"`               // container images it needs, sorted by Ref
	Size         int64             `json:"size"`                 // bytes of the cluster image's own blobs
	NeededUnique int64             `json:"imagesSize"`           // bytes of all blobs of Images, each counted once
	Unresolved   []Found           `json:"unresolved,omitempty"` // suspected references that did not exist
	Charts       *Charts           `json:"charts,omitempty"`     // nil: nothing is known of them
	Registry     bool              `json:"registry,omitempty"`   // a layer holds container images in registry/
}

// Charts is for which Kubernetes the charts of an image were rendered when it was searched.
type Charts struct {
	KubeVersion string `json:"kubeVersion,omitempty"` // v1.36.0
	Depends     bool   `json:"depends,omitempty"`     // another version may make them need other images
}

// And joins what is known of two images: of two versions none is left, so that any one is another. Nil knows nothing of charts, and
// the zero value knows that there are none.
func (c *Charts) And(o *Charts) *Charts {
	switch {
	case c == nil || o == nil:
		return nil
	case *c == Charts{}:
		return o
	case *o == Charts{}:
		return c
	}
	both := &Charts{KubeVersion: c.KubeVersion, Depends: c.Depends || o.Depends}
	if c.KubeVersion != o.KubeVersion {
		both.KubeVersion = ""
	}
	return both
}

// Input is one thing a build read.
type Input struct {
	Kind  string `json:"kind"` // kubefile, base, buildArg
	Name  string `json:"name"`
	Value string `json:"value,omitempty"` // digest or text
}

// Found is a place at which a reference was found.
type Found struct {
	Ref       string `json:"ref"`
	File      string `json:"file,omitempty"` // relative to the context
	Line      int    `json:"line,omitempty"` // 1-based
	Certainty string `json:"certainty,omitempty"`
}

// Pinned is one container image, resolved.
type Pinned struct {
	Found
	Digest       digest.Digest `json:"digest"`
	MediaType    string        `json:"mediaType"`
	ManifestSize int64         `json:"manifestSize"`
	Platforms    []string      `json:"platforms"`
	Size         int64         `json:"size"`           // bytes of every blob it reaches
	Also         []Found       `json:"also,omitempty"` // other places that ask for it
}

// Mentions are all places that ask for an image.
func (p Pinned) Mentions() []Found { return append([]Found{p.Found}, p.Also...) }

// Save records an image, replacing one of the same key. Every blob it names must be in the store already.
func (s *Store) Save(r Record) error {
	name, err := Name(r.Name)
	if err != nil {
		return err
	}
	r.Name = name
	key, err := Key(name)
	if err != nil {
		return err
	}
	if s.durable() {
		if err := s.Sync(); err != nil {
			return fmt.Errorf("record image %s: %w", name, err)
		}
	}
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return fmt.Errorf("record image %s: %w", name, err)
	}
	if err := durable.Write(filepath.Join(s.root, "images", recordFile(key)), append(data, '\n'), 0o644); err != nil {
		return fmt.Errorf("record image %s: %w", name, err)
	}
	return s.writeIndex()
}

// Load finds a stored image by any writing of its name.
func (s *Store) Load(name string) (Record, error) {
	key, err := Key(name)
	if err != nil {
		return Record{}, err
	}
	r, err := readRecord(filepath.Join(s.root, "images", recordFile(key)))
	if errors.Is(err, fs.ErrNotExist) && s.base != nil {
		return s.base.Load(name)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return Record{}, fmt.Errorf("image %s: %w", name, ErrUnknownImage)
	}
	return r, err
}

// List returns every stored image, sorted by name.
func (s *Store) List() ([]Record, error) {
	all, err := s.own()
	if err != nil || s.base == nil {
		return all, err
	}
	below, err := s.base.List()
	for _, r := range below {
		if !slices.ContainsFunc(all, func(o Record) bool { return o.Name == r.Name }) {
			all = append(all, r)
		}
	}
	slices.SortFunc(all, func(a, b Record) int { return cmp.Compare(a.Name, b.Name) })
	return all, err
}

// own lists the images that lie in this store itself.
func (s *Store) own() ([]Record, error) {
	entries, err := os.ReadDir(filepath.Join(s.root, "images"))
	if err != nil {
		return nil, fmt.Errorf("list images: %w", err)
	}
	var all []Record
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), ".json") {
			continue
		}
		r, err := readRecord(filepath.Join(s.root, "images", e.Name()))
		if errors.Is(err, fs.ErrNotExist) {
			continue // removed since the directory was listed
		}
		if err != nil {
			return nil, err
		}
		all = append(all, r)
	}
	slices.SortFunc(all, func(a, b Record) int { return cmp.Compare(a.Name, b.Name) })
	return all, nil
}

// Tag gives a stored image one more name.
func (s *Store) Tag(name, newName string) (Record, error) {
	r, err := s.Load(name)
	if err != nil {
		return Record{}, err
	}
	if r.Name, err = Name(newName); err != nil {
		return Record{}, err
	}
	return r, s.Save(r)
}

func readRecord(path string) (Record, error) {
	fi, err := os.Stat(path)
	if err != nil {
		return Record{}, err
	}
	if fi.Size() > maxRecord {
		return Record{}, fmt.Errorf("read image record %s: more than %d bytes", path, maxRecord)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return Record{}, err
	}
	var r Record
	if err := json.Unmarshal(data, &r); err != nil {
		return Record{}, fmt.Errorf("read image record %s: it is damaged: remove it, and build or pull the image again (%w)", path, err)
	}
	if err := checkDigest(r.Manifest.Digest); err != nil {
		return Record{}, fmt.Errorf("read image record %s: %w", path, err)
	}
	return r, nil
}

// writeIndex renews index.json from the records, so that the store reads as an
// OCI layout. Records are the truth; a lost index is made anew.
func (s *Store) writeIndex() error {
	guard, err := os.OpenFile(filepath.Join(s.root, "images", ".guard"), os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return fmt.Errorf("write index: %w", err)
	}
	defer func() { _ = guard.Close() }()
	if err := flock(guard, unix.LOCK_EX); err != nil {
		return fmt.Errorf("write index: %w", err)
	}
	all, err := s.own()
	if err != nil {
		return err
	}
	index := v1.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: v1.MediaTypeImageIndex, Manifests: []v1.Descriptor{}}
	for _, r := range all {
		d := r.Manifest
		d.Annotations = map[string]string{v1.AnnotationRefName: r.Name}
		index.Manifests = append(index.Manifests, d)
	}
	data, err := json.Marshal(index)
	if err != nil {
		return fmt.Errorf("write index: %w", err)
	}
	if err := durable.Write(filepath.Join(s.root, "index.json"), data, 0o644); err != nil {
		return fmt.Errorf("write index: %w", err)
	}
	return nil
}
