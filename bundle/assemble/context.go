package assemble

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/sealbuild/sealbuild/bundle/assemble/build"
	"github.com/sealbuild/sealbuild/bundle/assemble/resolve"
	"github.com/sealbuild/sealbuild/bundle/assemble/search"
	"github.com/sealbuild/sealbuild/bundle/assemble/store"
	"github.com/sealbuild/sealbuild/kubefile"
)

// buildContext is a context directory with its Kubefile, read and checked.
type buildContext struct {
	dir  string // as given
	path string // of the Kubefile
	rel  string // the same, for messages and records
	text []byte
	file *kubefile.File
}

// openContext finds and parses the Kubefile. name may be empty, a path, or a path relative to the context.
func openContext(dir, name string, opts ...kubefile.Option) (*buildContext, error) {
	fi, err := os.Stat(dir)
	if err != nil {
		return nil, fmt.Errorf("open context: %w", err)
	}
	if !fi.IsDir() {
		return nil, fmt.Errorf("open context: %s is not a directory", dir)
	}
	c := &buildContext{dir: dir}
	switch {
	case name == "":
		if c.rel, err = kubefile.Find(os.DirFS(dir)); err != nil {
			return nil, fmt.Errorf("find the Kubefile of %s: %w (name another with -f)", dir, err)
		}
		c.path = filepath.Join(dir, c.rel)
	default:
		c.path, c.rel = name, name
		if _, err := os.Stat(c.path); errors.Is(err, fs.ErrNotExist) && !filepath.IsAbs(name) {
			c.path = filepath.Join(dir, name)
		}
	}
	if c.text, err = os.ReadFile(c.path); err != nil {
		return nil, fmt.Errorf("read Kubefile: %w", err)
	}
	if c.file, err = kubefile.Parse(bytes.NewReader(c.text), c.path, opts...); err != nil {
		return nil, err
	}
	if _, err := c.file.Type(); err != nil {
		return nil, err
	}
	return c, nil
}

// edits are the changes to the Kubefile that the builder is given, and what of the context it does not see.
func (c *buildContext) edits() (edits []build.Edit, exclude []string) {
	edits, exclude = c.registryEdits()
	lines := c.file.Rewritten()
	for i, e := range edits {
		if text, ok := lines[e.First]; ok && e.Text != "" {
			edits[i].Text = withFlags(e.Text, text)
		}
		for n := e.First; n <= e.Last; n++ {
			delete(lines, n)
		}
	}
	for _, n := range slices.Sorted(maps.Keys(lines)) {
		edits = append(edits, build.Edit{First: n, Last: n, Text: lines[n]})
	}
	return edits, exclude
}

// withFlags gives an instruction the keyword and the flags of another.
func withFlags(instruction, of string) string {
	flags := func(text string) (n int, words []string) {
		words = strings.Fields(text)
		for n = 1; n < len(words) && strings.HasPrefix(words[n], "--"); n++ {
			continue
		}
		return n, words
	}
	have, old := flags(instruction)
	want, now := flags(of)
	return strings.Join(append(now[:want:want], old[have:]...), " ")
}

// registryEdits deals with registry/, which other builders generate into the context before they build. Here images go into the
// bundle, so an instruction that copies a registry/ which does not exist is dropped, and a registry/ that holds a registry's files
// is left out of the image: contextImages takes what it holds.
func (c *buildContext) registryEdits() (edits []build.Edit, exclude []string) {
	dir := filepath.Join(c.dir, "registry")
	if fi, err := os.Stat(dir); err == nil {
		if !fi.IsDir() {
			return nil, nil // a file, whatever it is
		}
		if _, err := os.Stat(filepath.Join(dir, "docker", "registry", "v2")); err != nil {
			return nil, nil // the user's own files
		}
		exclude = []string{"registry"}
	}
	for _, in := range c.file.Instructions {
		if (in.Name != "COPY" && in.Name != "ADD") || len(in.Args) < 2 || len(in.Heredocs) > 0 ||
			slices.ContainsFunc(in.Flags, func(f string) bool { return strings.HasPrefix(f, "--from=") }) {
			continue
		}
		sources, target := in.Args[:len(in.Args)-1], in.Args[len(in.Args)-1]
		kept := slices.DeleteFunc(slices.Clone(sources), c.isRegistry)
		if len(kept) == len(sources) {
			continue
		}
		e := build.Edit{First: in.Line, Last: in.EndLine}
		if len(kept) > 0 {
			e.Text = copyLine(in, append(kept, target))
		}
		edits = append(edits, e)
	}
	return edits, exclude
}

// isRegistry tells whether a COPY source is the generated registry directory, and nothing else.
func (c *buildContext) isRegistry(source string) bool {
	p := strings.TrimPrefix(path.Clean("/"+source), "/")
	if p == "registry" || strings.HasPrefix(p, "registry/") {
		return true
	}
	matches, err := filepath.Glob(filepath.Join(c.dir, filepath.FromSlash(p)))
	return err == nil && len(matches) == 1 && matches[0] == filepath.Join(c.dir, "registry")
}

// copyLine writes an instruction again, with other arguments.
func copyLine(in kubefile.Instruction, args []string) string {
	words := append([]string{in.Name}, in.Flags...)
	if !in.JSON {
		return strings.Join(append(words, args...), " ")
	}
	array, err := json.Marshal(args)
	if err != nil { // strings always encode
		return in.Original
	}
	return strings.Join(append(words, string(array)), " ")
}

// contextImages takes the images of a registry/ in the context, as sealos makes it, for every platform whose Kubefile copies it:
// they are in no layer (see registryEdits). What is left of the looks is to be gathered from elsewhere.
func (b *Builder) contextImages(ctx context.Context, parts []building, looks []search.Look) ([]resolve.Claim, []search.Look, error) {
	var tags map[string]digest.Digest
	var claims []resolve.Claim
	rest := slices.Clone(looks)
	for i, part := range parts {
		if !part.src.copiesRegistry() {
			continue
		}
		if tags == nil {
			b.report().Phase("take the images of registry/", 0)
			var err error
			if tags, err = search.RegistryDir(ctx, b.Store, part.src.dir); err != nil {
				return nil, nil, fmt.Errorf("take the images of registry/ in %s: %w", part.src.dir, err)
			}
		}
		pinned, left, err := search.Own(b.report(), b.Store, looks[i].Found, tags)
		if err != nil {
			return nil, nil, err
		}
		rest[i].Found = left
		for _, p := range pinned {
			claims = append(claims, resolve.Claim{Pinned: p, Of: []string{store.Platform(part.platform)}})
		}
	}
	return claims, rest, nil
}

// copiesRegistry tells whether the context has a registry's files below registry/, and the Kubefile copies them.
func (c *buildContext) copiesRegistry() bool {
	if fi, err := os.Stat(filepath.Join(c.dir, filepath.FromSlash(search.RegistryTree))); err != nil || !fi.IsDir() {
		return false
	}
	for _, stage := range c.file.Final() {
		for _, copied := range stage.Copies {
			if slices.ContainsFunc(copied.Sources, func(s string) bool {
				s = strings.TrimPrefix(path.Clean("/"+s), "/")
				whole, err := path.Match(s, "registry")
				return s == "" || err == nil && whole || strings.HasPrefix(s, "registry/")
			}) {
				return true
			}
		}
	}
	return false
}
