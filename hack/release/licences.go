package main

import (
	"bytes"
	"context"
	"debug/buildinfo"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// licences gathers the licences of the modules that the programs were linked of, as they ask for: from the module cache.
func (r release) licences(ctx context.Context, to string) error {
	want := map[string]bool{}
	for program := range released() {
		for _, arch := range architectures {
			info, err := buildinfo.ReadFile(r.program(program, arch))
			if err != nil {
				return err
			}
			for _, m := range others(info) {
				want[m.Path+"@"+m.Version] = true
			}
		}
	}
	var list string
	for _, module := range slices.Sorted(maps.Values(released())) {
		c := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{with .Replace}}{{.Path}}@{{.Version}}\t{{.Dir}}{{else}}{{.Path}}@{{.Version}}\t{{.Dir}}{{end}}", "all")
		c.Dir = filepath.Join(r.source, module)
		more, err := output(c)
		if err != nil {
			return err
		}
		list += more
	}
	root, err := output(exec.CommandContext(ctx, "go", "env", "GOROOT"))
	if err != nil {
		return err
	}
	dirs := map[string]string{"the Go programming language": strings.TrimSpace(root)}
	for line := range strings.Lines(list) {
		module, dir, _ := strings.Cut(strings.TrimSpace(line), "\t")
		if want[module] && dir != "" {
			dirs[module] = dir
		}
	}
	var b strings.Builder
	b.WriteString("sealbuild, sealinstall and sealsbom hold code of these modules, under these licences.\n")
	var missing []error
	for m := range want {
		if dirs[m] == "" {
			missing = append(missing, fmt.Errorf("module %s, which a program holds, is not in the module cache: go mod download in %s, and in cmd/%s there", m, r.source, helper))
		}
	}
	if err := errors.Join(missing...); err != nil {
		return err
	}
	for _, m := range slices.Sorted(maps.Keys(dirs)) {
		text, err := licenceOf(dirs[m])
		if err != nil {
			return err
		}
		if text == "" {
			return fmt.Errorf("module %s has no licence in %s", m, dirs[m])
		}
		fmt.Fprintf(&b, "\n%s\n%s\n\n%s", strings.Repeat("=", 80), m, text)
	}
	return put(filepath.Join(to, docs, "THIRD-PARTY"), []byte(b.String()), 0o644)
}

// licenceOf reads the files at the top of a module that are licences or notices by their names.
func licenceOf(dir string) (string, error) {
	found, err := os.ReadDir(dir)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	for _, f := range found {
		name := strings.ToUpper(f.Name())
		is := func(begin string) bool { return strings.HasPrefix(name, begin) }
		if f.IsDir() || strings.HasSuffix(name, ".GO") || !is("LICENSE") && !is("UNLICENSE") && !is("LICENCE") && !is("COPYING") && !is("NOTICE") && !is("PATENTS") {
			continue
		}
		data, err := os.ReadFile(filepath.Join(dir, f.Name()))
		if err != nil {
			return "", err
		}
		fmt.Fprintf(&b, "%s:\n\n%s\n", f.Name(), bytes.TrimSpace(data))
	}
	return b.String(), nil
}
