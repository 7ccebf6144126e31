package scan

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"

	"github.com/containers/image/v5/pkg/compression"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// lists reads images/shim/*: one reference a line.
func (s *scanner) lists(src sources) error {
	for _, dir := range src.lists {
		err := s.walk(dir, func(file string) error {
			text, ok := s.read(file)
			if ok {
				s.list(file, text)
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// ofList is why an image of a list was taken.
const ofList = "image list"

// list takes one list. A line that is no reference is an error: the list says that an image is needed and which one cannot be told.
func (s *scanner) list(file string, text []byte) {
	for n, line := range bytes.Split(text, []byte{'\n'}) {
		entry := listEntry(string(line), n == 0)
		if entry == "" {
			continue
		}
		if resolved := neutralize(entry, s.env); resolved != entry {
			entry = strings.TrimSpace(resolved)
		}
		if name, ok := strings.CutSuffix(entry, ":"); ok {
			s.warn(file, n+1, "the tag of "+name+" is empty: latest is taken if there is one")
			s.add(file, finding{text: name, line: n + 1, certainty: Suspected, reason: "image list, without a tag"})
			continue
		}
		if _, err := Normalize(entry); err != nil {
			s.fail(file, n+1, err.Error())
			continue
		}
		s.add(file, finding{text: entry, line: n + 1, certainty: Certain, reason: ofList})
	}
}

// listEntry strips a line of a list: padding, a comment, a byte order mark.
func listEntry(line string, first bool) string {
	if first {
		line = strings.TrimPrefix(line, "\ufeff")
	}
	line = strings.TrimSpace(line)
	if strings.HasPrefix(line, "#") {
		return ""
	}
	for _, mark := range []string{" #", "\t#"} {
		line, _, _ = strings.Cut(line, mark)
	}
	return trimRef(line)
}

const tarList = "images/skopeo/tar.txt"

// archives reads images/skopeo/tar.txt (lines TRANSPORT:PATH@REPO:TAG) and takes the other archives of images/, as those of the
// older offline packages.
func (s *scanner) archives(sources) error {
	listed := map[string]bool{}
	if text, ok := s.read(tarList); ok {
		for n, line := range bytes.Split(text, []byte{'\n'}) {
			entry := listEntry(string(line), n == 0)
			if entry == "" {
				continue
			}
			a, err := archiveEntry(s.fsys, entry)
			if err != nil {
				s.fail(tarList, n+1, err.Error())
				continue
			}
			a.Place = Place{File: tarList, Line: n + 1}
			listed[a.Path] = true
			if !s.ignore.match(a.Ref, a.Ref) {
				s.archived = append(s.archived, a)
			}
		}
	}
	return s.walk("images", func(file string) error {
		if !listed[file] && file != tarList && !strings.HasPrefix(file, "images/shim/") && !s.ignore.file(file) {
			s.archive(file)
		}
		return nil
	})
}

// archiveEntry reads one line of tar.txt. The path is relative to the list's directory or to the context, in that order.
func archiveEntry(fsys fs.FS, entry string) (Archive, error) {
	const want = "expected docker-archive:PATH@REPOSITORY:TAG or oci-archive:PATH@REPOSITORY:TAG"
	transport, rest, ok := strings.Cut(entry, ":")
	if !ok || (transport != "docker-archive" && transport != "oci-archive") {
		return Archive{}, errors.New(want)
	}
	file, name, ok := strings.Cut(rest, "@")
	if !ok || file == "" {
		return Archive{}, errors.New(want)
	}
	ref, err := Normalize(name)
	if err != nil {
		return Archive{}, err
	}
	file = strings.TrimPrefix(path.Clean("/"+strings.TrimPrefix(file, "./")), "/")
	for _, p := range []string{path.Join(path.Dir(tarList), file), file} {
		if info, err := fs.Stat(fsys, p); err == nil && info.Mode().IsRegular() {
			return Archive{Path: p, Transport: transport, Ref: ref}, nil
		}
	}
	return Archive{}, fmt.Errorf("archive %s is neither in images/skopeo nor in the context", file)
}

// What is told of archives and directories that are not searched.
const (
	notPacked       = "Helm reads packed charts as .tgz only, and this is not searched for images: pack it by helm package, or put its path into " + IgnoreFile
	packedManifests = "an archive is not searched for images: unpack it, or put its path into " + IgnoreFile
	tooDeep         = "directories nested too deep, or links in a circle: what follows is not searched for images"
)

// maxHeaders bounds how many entries of an archive are looked at.
const maxHeaders = 10000

// isArchive tells by its name whether a file holds others.
func isArchive(file string) bool {
	name := strings.ToLower(path.Base(file))
	switch path.Ext(name) {
	case ".tar", ".tgz", ".txz", ".tzst", ".tbz", ".tbz2", ".gz", ".xz", ".zst", ".bz2", ".lz4", ".zip", ".7z":
		return true
	}
	return strings.Contains(name, ".tar.")
}

// archive takes an image archive, wherever in images/ it lies and however it is compressed. What may be one and cannot be taken is
// an error.
func (s *scanner) archive(p string) {
	if dir := unpacked(s.fsys, p); dir != "" {
		s.fail(dir, 0, "an image that lies there as single files is not read: put it into an archive, tar -cf images/NAME.tar -C "+dir+" .")
		return
	}
	if s.beginsAsChart(p) {
		return
	}
	transport, unnamed, err := archiveKind(s.ctx, s.fsys, p)
	if err != nil {
		if isArchive(p) {
			s.fail(p, 0, "not taken as an image archive: "+err.Error()+" (save it as docker save or skopeo copy do; where it holds no image, put its path into "+IgnoreFile+")")
		}
		return
	}
	for _, image := range unnamed {
		s.fail(p, 0, fmt.Sprintf("the image %s in it has no name: save it by its name, or give it one in %s, as %s:%s@REPOSITORY:TAG", image.id, tarList, transport, p))
		if image.last {
			return // none has
		}
	}
	s.archived = append(s.archived, Archive{Path: p, Transport: transport, Place: Place{File: printable(p)}})
}

// unpacked gives the directory of an archive that was unpacked, which a file lies in; empty: it lies in none.
func unpacked(fsys fs.FS, file string) string {
	for dir := path.Dir(file); dir != "."; dir = path.Dir(dir) {
		if _, err := fs.Stat(fsys, path.Join(dir, "oci-layout")); err == nil {
			return dir
		}
		if text, err := fs.ReadFile(fsys, path.Join(dir, "manifest.json")); err == nil && bytes.Contains(bytes.ToLower(text), []byte(`"layers"`)) {
			return dir
		}
	}
	return ""
}

// unnamed is an image that its archive does not name; last: the archive names none.
type unnamed struct {
	id   string
	last bool
}

// archiveKind tells what kind of image archive a file is, and which of its images have no name.
func archiveKind(ctx context.Context, fsys fs.FS, p string) (transport string, nameless []unnamed, err error) {
	f, err := fsys.Open(p)
	if err != nil {
		return "", nil, err
	}
	defer f.Close()
	plain, compressed, err := compression.AutoDecompress(f)
	if err != nil {
		return "", nil, err
	}
	defer plain.Close()
	r := io.Reader(plain)
	if whole, ok := f.(io.Seeker); ok && !compressed {
		if _, err := whole.Seek(0, io.SeekStart); err == nil {
			r = f // entries are skipped, not read
		}
	}
	entries := tar.NewReader(r)
	var index []byte
	for range maxHeaders {
		if err := ctx.Err(); err != nil {
			return "", nil, err
		}
		h, err := entries.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return "", nil, fmt.Errorf("read tar: %w", err)
		}
		switch path.Clean(h.Name) {
		case "manifest.json": // newer docker save writes both; this one names the images
			raw, err := io.ReadAll(io.LimitReader(entries, maxManifest))
			if err != nil {
				return "", nil, fmt.Errorf("read tar: %w", err)
			}
			nameless, err := namelessOfDocker(raw)
			return "docker-archive", nameless, err
		case "index.json":
			if index, err = io.ReadAll(io.LimitReader(entries, maxManifest)); err != nil {
				return "", nil, fmt.Errorf("read tar: %w", err)
			}
		}
	}
	if index == nil {
		return "", nil, errors.New("it holds neither manifest.json nor index.json")
	}
	nameless, err = namelessOfLayout(index)
	return "oci-archive", nameless, err
}

// namelessOfDocker reads the manifest.json of docker save.
func namelessOfDocker(raw []byte) ([]unnamed, error) {
	var images []struct {
		Config   string
		RepoTags []string
	}
	if err := json.Unmarshal(raw, &images); err != nil {
		return nil, fmt.Errorf("its manifest.json: %w", err)
	}
	var ids []string
	for _, image := range images {
		if len(image.RepoTags) == 0 {
			ids = append(ids, strings.TrimSuffix(path.Base(image.Config), ".json"))
		}
	}
	return namelessOf(ids, len(images)), nil
}

// namelessOfLayout reads the index.json of an OCI layout. A tag alone is no name.
func namelessOfLayout(raw []byte) ([]unnamed, error) {
	var index v1.Index
	if err := json.Unmarshal(raw, &index); err != nil {
		return nil, fmt.Errorf("its index.json: %w", err)
	}
	var ids []string
	for _, image := range index.Manifests {
		name := image.Annotations[v1.AnnotationRefName]
		if _, err := Normalize(name); image.Annotations["io.containerd.image.name"] == "" && (err != nil || isNoName(name)) {
			ids = append(ids, string(image.Digest))
		}
	}
	return namelessOf(ids, len(index.Manifests)), nil
}

func namelessOf(ids []string, images int) []unnamed {
	var out []unnamed
	for i, id := range ids {
		out = append(out, unnamed{id: id, last: i == images-1})
	}
	return out
}
