package main

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// checkout fills a directory as a checkout, with a program that is small.
func checkout(dir string) error {
	sums, sumsErr := os.ReadFile("go.sum")
	source, sourceErr := os.ReadFile("testdata/program/main.go")
	errs := []error{sumsErr, sourceErr}
	module := "module example.com/x\n\ngo 1.26.0\n\nrequire github.com/spf13/pflag v1.0.9\n\nrequire example.com/own v0.0.0\n\n"
	for name, text := range map[string]string{
		"README.md": "see docs/builder.md\n", "CONTRIBUTING.md": "how\n", "LICENSE": "Apache\n", "docs/builder.md": "build\n", "docs/schemas/a.json": "{}\n",
		"CHANGELOG.md":     "# Changelog\n\n## Unreleased\n\n- not yet\n\n## 1.2.0 (2026-11-30)\n\n- it works\n\n### More\n\n- much\n\n## 1.1.0\n\n- old\n",
		"bundle/FORMAT.md": "format\n", "registry/storesync/WIRE.md": "wire\n",
		"cluster-images/helm/Kubefile": "FROM scratch\n", "cluster-images/helm/fetch.sh": "#!/bin/sh\n", "cluster-images/x_test.go": "package x\n",
		"go.mod": module + "replace example.com/own => ./own\n", "go.sum": string(sums), "cmd/program/main.go": string(source),
		"own/go.mod": "module example.com/own\n\ngo 1.26.0\n", "own/own.go": "package own\n\nconst Exit = 2\n",
		"cmd/sealsbom/go.mod": module + "replace example.com/own => ../../own\n", "cmd/sealsbom/go.sum": string(sums), "cmd/sealsbom/main.go": string(source),
	} {
		errs = append(errs, put(filepath.Join(dir, name), []byte(text), 0o644))
	}
	errs = append(errs, os.Chmod(filepath.Join(dir, "cluster-images/helm/fetch.sh"), 0o755))
	for _, args := range [][]string{{"init", "-q"}, {"add", "."}} {
		_, err := output(inDir(dir, "git", args...))
		errs = append(errs, err)
	}
	return errors.Join(append(errs, put(filepath.Join(dir, "cluster-images/helm/helm.tar.gz"), []byte("fetched, and not of the recipe"), 0o644))...)
}

func inDir(dir, name string, args ...string) *exec.Cmd {
	c := exec.Command(name, args...)
	c.Dir = dir
	c.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=-mod=mod", "GOOS=linux")
	return c
}

// makeRelease makes a release, below dir, of a checkout that lies there, too.
func makeRelease(ctx context.Context, dir, key string) (release, error) {
	r := release{
		source: filepath.Join(dir, "checkout"), out: filepath.Join(dir, "out"), version: "1.2.0", described: "v1.2.0",
		commit: strings.Repeat("a", 40), made: time.Unix(1_800_000_000, 0).UTC(), key: key,
	}
	errs := []error{checkout(r.source), os.Mkdir(r.out, 0o755)}
	for _, arch := range architectures {
		for program, module := range released() {
			of := "./cmd/program"
			if program == helper {
				of = "."
			}
			c := inDir(filepath.Join(r.source, module), "go", "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w -buildid= -X main.version=v1.2.0", "-o", r.program(program, arch), of)
			c.Env = append(c.Env, "GOARCH="+arch)
			_, err := output(c)
			errs = append(errs, err)
		}
	}
	return r, errors.Join(append(errs, r.make(ctx))...)
}

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "release-test-")
	if err != nil {
		panic(err)
	}
	shared, sharedErr = makeRelease(context.Background(), dir, "")
	status := m.Run()
	_ = os.RemoveAll(dir)
	os.Exit(status)
}

// shared is a release without a signature, which no test changes.
var (
	shared    release
	sharedErr error
)

func unsigned(t *testing.T) release {
	t.Helper()
	if sharedErr != nil {
		t.Fatal(sharedErr)
	}
	return shared
}

func run(t *testing.T, dir, name string, args ...string) string {
	t.Helper()
	out, err := output(inDir(dir, name, args...))
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := put(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}
