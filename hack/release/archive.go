package main

import (
	"archive/tar"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/goreleaser/nfpm/v2"
	"github.com/goreleaser/nfpm/v2/deb"
	"github.com/goreleaser/nfpm/v2/files"
	"github.com/goreleaser/nfpm/v2/rpm"
)

// archive writes the prefix as a tar with one directory at its top: tar -C /usr/local --strip-components=1 -xf installs it.
func (r release) archive(dir, arch string) error {
	all, err := entries(dir)
	if err != nil {
		return err
	}
	top := "sealbuild-" + r.version + "-linux-" + arch
	return create(filepath.Join(r.out, top+".tar.gz"), func(w io.Writer) error {
		z, err := gzip.NewWriterLevel(w, gzip.BestCompression)
		if err != nil {
			return err
		}
		t := tar.NewWriter(z)
		for _, e := range all {
			h := &tar.Header{Name: path.Join(top, e.path), Mode: int64(e.mode), ModTime: r.made, Uname: "root", Gname: "root", Format: tar.FormatPAX}
			if e.target != "" {
				h.Typeflag, h.Linkname, h.Mode = tar.TypeSymlink, e.target, 0o777
				if err := t.WriteHeader(h); err != nil {
					return err
				}
				continue
			}
			h.Typeflag, h.Size = tar.TypeReg, e.size
			if err := errors.Join(t.WriteHeader(h), copyFile(t, e.file)); err != nil {
				return fmt.Errorf("%s: %w", e.path, err)
			}
		}
		return errors.Join(t.Close(), z.Close())
	})
}

func copyFile(w io.Writer, name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = io.Copy(w, f)
	return err
}

// create writes a file of the release.
func create(name string, write func(io.Writer) error) (err error) {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	if err := errors.Join(write(f), f.Chmod(0o644), f.Close()); err != nil {
		return fmt.Errorf("write %s: %w", filepath.Base(name), err)
	}
	return nil
}

// packages writes the prefix below /usr as .deb and .rpm.
func (r release) packages(dir, arch string) error {
	all, err := entries(dir)
	if err != nil {
		return err
	}
	for _, p := range []struct {
		packager nfpm.Packager
		place    func(string) string // of a path
	}{{deb.Default, debian}, {rpm.DefaultRPM, func(p string) string { return p }}} {
		info := r.info(arch)
		for _, e := range all {
			c := &files.Content{
				Source: e.file, Destination: "/usr/" + p.place(e.path), Type: files.TypeFile,
				FileInfo: &files.ContentFileInfo{Mode: e.mode, MTime: r.made, Size: e.size},
			}
			if e.target != "" {
				c.Source, c.Type = e.target, files.TypeSymlink
			}
			info.Contents = append(info.Contents, c)
		}
		name := p.packager.ConventionalFileName(info)
		if err := create(filepath.Join(r.out, name), func(w io.Writer) error { return p.packager.Package(info, w) }); err != nil {
			return err
		}
	}
	return nil
}

// debian is where Debian has what lies elsewhere with others.
func debian(path string) string {
	if path == docs+"/LICENSE" {
		return docs + "/copyright"
	}
	return strings.Replace(path, "share/zsh/site-functions/", "share/zsh/vendor-completions/", 1)
}

func (r release) info(arch string) *nfpm.Info {
	return nfpm.WithDefaults(&nfpm.Info{
		Name: "sealbuild", Arch: arch, Platform: "linux", Version: r.version, VersionSchema: "semver", Release: "1",
		Section: "admin", Priority: "optional", Maintainer: "The sealbuild authors <sealbuild@sealbuild.io>", License: "Apache-2.0",
		Description: "one file makes a Kubernetes cluster where there is no network\nsealbuild turns Kubefiles into one self-extracting file, which installs a\nhighly available Kubernetes cluster over ssh and serves its images itself.",
		MTime:       r.made, DisableGlobbing: true,
		Overridables: nfpm.Overridables{
			RPM: nfpm.RPM{BuildHost: "localhost", Group: "Applications/System", Summary: "one file makes a Kubernetes cluster where there is no network"},
		},
	})
}
