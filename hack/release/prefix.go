package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// docs and recipes are where documents and cluster images lie below a prefix such as /usr.
const (
	docs    = "share/doc/sealbuild"
	recipes = "share/sealbuild"
)

// documents copies what a user reads, and the recipes of our cluster images, as git has them.
func (r release) documents(ctx context.Context, to string) error {
	for _, part := range []struct {
		below string
		paths []string
	}{
		{docs, []string{"README.md", "CHANGELOG.md", "CONTRIBUTING.md", "LICENSE", "docs", "bundle/FORMAT.md", "registry/storesync/WIRE.md"}},
		{recipes, []string{"cluster-images", ":(exclude)*.go", ":(exclude)*.gitignore", ":(exclude)*.shellcheckrc"}},
	} {
		list, err := r.git(ctx, append([]string{"ls-files", "--stage", "--"}, part.paths...)...)
		if err != nil {
			return err
		}
		for line := range strings.Lines(list) {
			about, path, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "\t")
			mode := os.FileMode(0o644)
			if strings.HasPrefix(about, "100755") {
				mode = 0o755
			}
			data, err := os.ReadFile(filepath.Join(r.source, path))
			if err == nil {
				err = put(filepath.Join(to, part.below, path), data, mode)
			}
			if err != nil {
				return fmt.Errorf("document %s: %w", path, err)
			}
		}
	}
	return nil
}

func (r release) git(ctx context.Context, args ...string) (string, error) {
	return output(exec.CommandContext(ctx, "git", append([]string{"-C", r.source}, args...)...))
}

// output runs a program and gives what it prints; an error says what it complained of.
func output(c *exec.Cmd) (string, error) {
	var complaint bytes.Buffer
	c.Stderr = &complaint
	out, err := c.Output()
	if err != nil {
		return "", fmt.Errorf("%s: %w: %s", strings.Join(c.Args, " "), err, bytes.TrimSpace(complaint.Bytes()))
	}
	return string(out), nil
}

// prefix lays out what goes below /usr, or /usr/local, for one architecture. sealbuild finds its installers there.
func (r release) prefix(dir, common, arch string) error {
	if err := os.CopyFS(dir, os.DirFS(common)); err != nil {
		return err
	}
	libexec := filepath.Join(dir, "libexec", "sealbuild")
	bin := filepath.Join(dir, "bin")
	errs := []error{os.MkdirAll(libexec, 0o755), os.MkdirAll(bin, 0o755), os.Link(r.program("sealbuild", arch), filepath.Join(bin, "sealbuild"))}
	for _, of := range architectures {
		errs = append(errs, os.Link(r.program("sealinstall", of), filepath.Join(libexec, "sealinstall-linux-"+of)))
	}
	errs = append(errs, os.Link(r.program(helper, arch), filepath.Join(libexec, helper)))
	errs = append(errs, os.Symlink("../libexec/sealbuild/sealinstall-linux-"+arch, filepath.Join(bin, "sealinstall")))
	// Documents name the recipes as they do in a checkout.
	errs = append(errs, os.Symlink("../../sealbuild/cluster-images", filepath.Join(dir, docs, "cluster-images")))
	return errors.Join(errs...)
}

// entry is a file or link of a prefix.
type entry struct {
	path   string // below the prefix, with slashes
	file   string // where it lies now
	target string // of a link
	mode   os.FileMode
	size   int64
}

// entries lists files and links by path. What may be run is for all, and nobody but its owner may write.
func entries(dir string) (all []entry, err error) {
	err = filepath.WalkDir(dir, func(file string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		e := entry{file: file, path: filepath.ToSlash(strings.TrimPrefix(file, dir+string(filepath.Separator))), mode: 0o644}
		info, err := d.Info()
		if err != nil {
			return err
		}
		if info.Mode()&0o100 != 0 {
			e.mode = 0o755
		}
		e.size = info.Size()
		if d.Type() == fs.ModeSymlink {
			e.target, err = os.Readlink(file)
		}
		all = append(all, e)
		return err
	})
	return all, err
}
