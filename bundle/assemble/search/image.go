package search

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/sealbuild/sealbuild/bundle/assemble/report"
	"github.com/sealbuild/sealbuild/bundle/assemble/scan"
	"github.com/sealbuild/sealbuild/bundle/assemble/store"
	"github.com/sealbuild/sealbuild/kubefile"
	"golang.org/x/sys/unix"
)

// Image is an image of the store, of one platform, that is to be searched.
type Image struct {
	Name     string
	Manifest v1.Descriptor
	Platform v1.Platform
	From     int    // the first layer that counts
	Ignore   []byte // .sealignore, where the image has none of its own
	Preview  *Look  // what was found in the context, and need not be found again
	Kube     string // the Kubernetes version of the site; empty: the one that the image names
	Was      string // an earlier one: what charts need for that need not be found again
}

// Inside is what the layers of an image hold that makes a cluster pull images.
type Inside struct {
	Own      []store.Pinned // those that lie in its registry/, and are in the store now
	Registry bool           // it brings a registry/
	Look     Look           // what is to be had from elsewhere
	Charts   *store.Charts  // for which Kubernetes its charts were rendered
	Errors   []scan.Error   // what may hide images
}

// Layers searches an image of the store. Files are extracted to dir, where archives of images are read from later.
func Layers(ctx context.Context, tell report.Reporter, st *store.Store, image Image, dir string) (Inside, error) {
	known, err := found(ctx, tell, st, image, dir)
	if err != nil {
		return Inside{}, err
	}
	if image.Was != "" {
		before := image
		before.Kube, before.Was = image.Was, ""
		was, err := found(ctx, tell, st, before, dir)
		if err != nil {
			return Inside{}, err
		}
		image.Preview = &Look{Found: was.Found}
	}
	result := beyond(known.Found, image.Preview)
	own, rest, err := Own(tell, st, result, known.Tags)
	if err != nil {
		return Inside{}, err
	}
	var charts store.Charts
	if c := result.Charts; c != nil {
		charts = store.Charts{KubeVersion: c.KubeVersion, Depends: c.Depends}
	}
	return Inside{
		Own: own, Registry: len(known.Tags) > 0, Errors: result.Errors, Charts: &charts,
		Look: Look{Dir: dir, Found: rest, Platform: image.Platform},
	}, nil
}

// known is what was found in layers, as it is kept.
type known struct {
	Found *scan.Result             // charts, manifests and lists
	Tags  map[string]digest.Digest // of registry/: repository:tag, repository@digest
}

// found reads an image's layers, or takes what this very program found in them before.
func found(ctx context.Context, tell report.Reporter, st *store.Store, image Image, dir string) (known, error) {
	memo := st.Memo("inside", fmt.Sprint(program(st), image.Manifest.Digest, image.From, image.Preview != nil, digest.FromBytes(image.Ignore), image.Kube))
	k, ok := foundBefore(st, memo)
	if !ok {
		var err error
		if k, err = read(ctx, tell, st, image, dir); err != nil {
			return known{}, err
		}
		if len(k.Found.Archives) == 0 { // archives are read out of the extracted files
			memo.Write(k)
		}
	}
	for i := range k.Found.Images {
		f := &k.Found.Images[i]
		f.File = image.Name + ":" + f.File
		for j := range f.Also {
			f.Also[j].File = image.Name + ":" + f.Also[j].File
		}
	}
	return k, nil
}

// program is the digest of the running program: another one may find something else in the same layers. It is remembered by what
// tells the file from any other; a program that cannot be read remembers nothing that another run would take.
func program(st *store.Store) string {
	var s unix.Stat_t
	if err := unix.Stat("/proc/self/exe", &s); err != nil {
		return rand.Text()
	}
	memo := st.Memo("program", fmt.Sprint(s.Dev, s.Ino, s.Size, s.Mtim, s.Ctim))
	var known string
	if memo.Read(&known) {
		return known
	}
	f, err := os.Open("/proc/self/exe")
	if err != nil {
		return rand.Text()
	}
	defer func() { _ = f.Close() }()
	d, err := digest.FromReader(f)
	if err != nil {
		return rand.Text()
	}
	memo.Write(d.String())
	return d.String()
}

// foundBefore reads what was remembered, if every image of it is still there.
func foundBefore(st *store.Store, memo store.Memo) (known, bool) {
	var k known
	if !memo.Read(&k) || k.Found == nil {
		return known{}, false
	}
	for _, d := range k.Tags {
		if _, err := st.Walk(v1.Descriptor{Digest: d}); err != nil {
			return known{}, false
		}
	}
	return k, true
}

// read extracts an image's layers and looks for images in the files.
func read(ctx context.Context, tell report.Reporter, st *store.Store, image Image, dir string) (known, error) {
	config, err := st.Config(image.Manifest, image.Platform)
	if err != nil {
		return known{}, err
	}
	tell.Phase("look into "+image.Name, 0)
	tags, err := extract(ctx, st, image.Manifest, image.From, dir)
	if err != nil {
		return known{}, err
	}
	if ignore := filepath.Join(dir, scan.IgnoreFile); image.Ignore != nil {
		if _, err := os.Lstat(ignore); errors.Is(err, fs.ErrNotExist) {
			if err := os.WriteFile(ignore, image.Ignore, 0o644); err != nil {
				return known{}, err
			}
		}
	}
	result, err := scan.Dir(ctx, dir, kubefile.Of(image.Name, Config(config)), scan.Options{
		Kube: image.Kube, Whole: image.Preview != nil && image.From == 0, // all of it is of this build
	})
	if err != nil {
		return known{}, fmt.Errorf("look for images in %s: %w", image.Name, err)
	}
	result.Warnings = nil // about the work of others, or told of the context
	return known{Found: result, Tags: tags}, nil
}

// beyond is what was found in an image and not in its context. Archives stay: one in the same place may be another.
func beyond(found *scan.Result, preview *Look) *scan.Result {
	if preview == nil {
		return found
	}
	shown := preview.Found
	rest := *found
	rest.Images = slices.DeleteFunc(slices.Clone(found.Images), func(f scan.Found) bool {
		return slices.ContainsFunc(shown.Images, func(s scan.Found) bool {
			return s.Ref == f.Ref && (s.Certainty == scan.Certain || f.Certainty == scan.Suspected)
		})
	})
	rest.Errors = slices.DeleteFunc(slices.Clone(found.Errors), func(e scan.Error) bool {
		return slices.ContainsFunc(shown.Errors, func(s scan.Error) bool {
			return s.Message == e.Message && (e.Line == 0 || s.Line == e.Line && path.Base(s.File) == path.Base(e.File))
		})
	})
	return &rest
}

// Config is an image's config as a Kubefile sees it.
func Config(image v1.Image) kubefile.Config {
	c := kubefile.Config{Labels: image.Config.Labels, Env: map[string]string{}}
	for _, kv := range image.Config.Env {
		k, v, _ := strings.Cut(kv, "=")
		c.Env[k] = v
	}
	c.Cmd, c.Entrypoint = shellLines(image.Config.Cmd), shellLines(image.Config.Entrypoint)
	return c
}

// shellLines drops the shell that builders put before the shell form.
func shellLines(command []string) []string {
	if len(command) == 3 && command[0] == "/bin/sh" && command[1] == "-c" {
		return command[2:]
	}
	return command
}
