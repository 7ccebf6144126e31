package scan

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"
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
		s.add(file, finding{text: entry, line: n + 1, certainty: Certain, reason: "image list"})
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

// archives reads images/skopeo/tar.txt (lines TRANSPORT:PATH@REPO:TAG) and takes the images/*.tar of the older offline packages.
func (s *scanner) archives(sources) error {
	listed := map[string]bool{}
	if text, ok := s.read(tarList); ok {
		for n, line := range bytes.Split(text, []byte{'\n'}) {
			entry := listEntry(string(line), n == 0)
			if entry == "" {
				continue
			}
			a, err := s.archiveEntry(entry)
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
	for _, pattern := range []string{"images/*.tar", "images/*.tar.gz", "images/*.tgz"} {
		paths, err := fs.Glob(s.fsys, pattern)
		if err != nil {
			return fmt.Errorf("look for image archives: %w", err)
		}
		for _, p := range paths {
			if err := s.ctx.Err(); err != nil {
				return err
			}
			if listed[p] {
				continue
			}
			transport, err := s.transportOf(p)
			if err != nil {
				s.warn(p, 0, "not taken as an image archive: "+err.Error())
				continue
			}
			s.archived = append(s.archived, Archive{Path: p, Transport: transport, Place: Place{File: p}})
		}
	}
	return nil
}

// archiveEntry reads one line of tar.txt. The path is relative to the list's directory or to the context, in that order.
func (s *scanner) archiveEntry(entry string) (Archive, error) {
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
		if info, err := fs.Stat(s.fsys, p); err == nil && info.Mode().IsRegular() {
			return Archive{Path: p, Transport: transport, Ref: ref}, nil
		}
	}
	return Archive{}, fmt.Errorf("archive %s is neither in images/skopeo nor in the context", file)
}

// maxHeaders bounds how many entries of an archive are looked at.
const maxHeaders = 10000

// transportOf tells what kind of image archive a tar is.
func (s *scanner) transportOf(p string) (string, error) {
	f, err := s.fsys.Open(p)
	if err != nil {
		return "", err
	}
	defer f.Close()
	r := io.Reader(f)
	if !strings.HasSuffix(p, ".tar") {
		z, err := gzip.NewReader(f)
		if err != nil {
			return "", fmt.Errorf("read gzip: %w", err)
		}
		r = z
	}
	entries, oci := tar.NewReader(r), false
	for range maxHeaders {
		h, err := entries.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return "", fmt.Errorf("read tar: %w", err)
		}
		switch path.Clean(h.Name) {
		case "manifest.json": // newer docker save writes both; this one names the images
			return "docker-archive", nil
		case "oci-layout":
			oci = true
		}
	}
	if oci {
		return "oci-archive", nil
	}
	return "", errors.New("it holds neither manifest.json nor oci-layout")
}
