package main

import (
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// closure finds, in the tree of extracted packages at root, the files that
// match the patterns and every shared library and interpreter those need, and
// returns their paths relative to root, sorted. A pattern without a wildcard
// must exist. Reading ELF headers instead of running ldd makes it work for a
// foreign architecture too.
func closure(root string, patterns []string) ([]string, error) {
	c := collector{root: root, found: map[string]bool{}}
	dirs, err := libraryDirs(root)
	if err != nil {
		return nil, err
	}
	c.libraryDirs = dirs
	for _, pattern := range patterns {
		matches, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil {
			return nil, fmt.Errorf("pattern %s: %w", pattern, err)
		}
		if len(matches) == 0 && !strings.ContainsAny(pattern, "*?[") {
			return nil, fmt.Errorf("packages do not contain %s: %w", pattern, fs.ErrNotExist)
		}
		for _, match := range matches {
			rel, err := filepath.Rel(root, match)
			if err != nil {
				return nil, err
			}
			if err := c.add(filepath.ToSlash(rel)); err != nil {
				return nil, err
			}
		}
	}
	var paths []string
	for p := range c.found {
		paths = append(paths, p)
	}
	slices.Sort(paths)
	return paths, nil
}

type collector struct {
	root        string
	libraryDirs []string
	found       map[string]bool
}

func libraryDirs(root string) ([]string, error) {
	var dirs []string
	for _, pattern := range []string{"lib/*-linux-gnu*", "usr/lib/*-linux-gnu*", "lib", "usr/lib"} {
		matches, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil {
			return nil, err
		}
		for _, m := range matches {
			rel, err := filepath.Rel(root, m)
			if err != nil {
				return nil, err
			}
			dirs = append(dirs, filepath.ToSlash(rel))
		}
	}
	return dirs, nil
}

// add takes one path, what it links to, and what that needs.
func (c *collector) add(rel string) error {
	if c.found[rel] {
		return nil
	}
	full := filepath.Join(c.root, rel)
	info, err := os.Lstat(full)
	if err != nil {
		return err
	}
	if info.IsDir() {
		return nil
	}
	c.found[rel] = true
	if info.Mode()&fs.ModeSymlink != 0 {
		target, err := os.Readlink(full)
		if err != nil {
			return err
		}
		if !path.IsAbs(target) {
			target = path.Join(path.Dir(rel), target)
		}
		return c.add(strings.TrimPrefix(path.Clean(target), "/"))
	}
	return c.addNeeded(rel)
}

func (c *collector) addNeeded(rel string) error {
	binary, err := elf.Open(filepath.Join(c.root, rel))
	var notELF *elf.FormatError
	if errors.As(err, &notELF) || errors.Is(err, io.EOF) {
		return nil // data
	}
	if err != nil {
		return err
	}
	defer binary.Close()
	needed, err := binary.ImportedLibraries()
	if err != nil {
		return fmt.Errorf("read what %s needs: %w", rel, err)
	}
	for _, section := range binary.Progs {
		if section.Type != elf.PT_INTERP {
			continue
		}
		name := make([]byte, section.Filesz)
		if _, err := section.ReadAt(name, 0); err != nil {
			return fmt.Errorf("read interpreter of %s: %w", rel, err)
		}
		if err := c.add(strings.Trim(string(name), "/\x00")); err != nil {
			return fmt.Errorf("interpreter of %s: %w", rel, err)
		}
	}
	for _, library := range needed {
		if err := c.addLibrary(library); err != nil {
			return fmt.Errorf("%s needs: %w", rel, err)
		}
	}
	return nil
}

func (c *collector) addLibrary(name string) error {
	for _, dir := range c.libraryDirs {
		rel := path.Join(dir, name)
		if _, err := os.Lstat(filepath.Join(c.root, rel)); err == nil {
			return c.add(rel)
		}
	}
	return fmt.Errorf("library %s: %w", name, fs.ErrNotExist)
}
