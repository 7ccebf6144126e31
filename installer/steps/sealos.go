package steps

import (
	"cmp"
	"context"
	"errors"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	"go.yaml.in/yaml/v3"

	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/agent"
	"github.com/sealbuild/sealbuild/installer/journal"
	"github.com/sealbuild/sealbuild/registry"
)

// What images made for sealos need beyond those made for us is here: they bring
// a registry program of their own, which speaks plain HTTP and knows a name
// only as it stands in its tree, and an image-cri-shim that asks it for names
// without their registry's domain.

// registryConfigFile describes the registry in the format of the distribution registry.
const registryConfigFile = "etc/registry_config.yml"

// plainRegistry tells that the registry that the images bring on a host speaks
// plain HTTP: its configuration has no http.tls. Before templates are rendered,
// the template is asked.
func (r *Run) plainRegistry(t *Target) bool {
	text, ok := r.share(t).SystemFile(registryConfigFile)
	if !ok {
		return false
	}
	var config struct {
		HTTP map[string]yaml.Node `yaml:"http"`
	}
	if err := yaml.Unmarshal(text, &config); err == nil {
		_, tls := config.HTTP["tls"]
		return !tls
	}
	return !tlsLine.Match(text)
}

// tlsLine finds http.tls in a template that is no YAML yet.
var tlsLine = regexp.MustCompile(`(?m)^\s+tls:\s*$`)

// checkAgain runs the check script of an image made for sealos once more, now in
// the rootfs: some of these change files there for the scripts that follow. On a
// host that works already it may find the cluster's own ports taken, and stop
// before it comes to that: what it changed when it came to its end, which is on
// record, is then done again without it.
func (r *Run) checkAgain(ctx context.Context, t *Target) error {
	img, line := r.share(t).Script("check")
	in := journal.Inputs(line, r.share(t).Rendered(r.rootfsDir()), r.share(t).Digests())
	if line == "" || !r.plainRegistry(t) {
		return nil
	}
	_, err := t.Journal.Under(ctx, journal.Checked, in, func(*journal.Work) error {
		err := r.runScript(ctx, t, "bootstrap", path.Join(r.rootfsDir(), "scripts"), line, r.share(t).Env(img))
		var script *agent.ScriptError
		switch {
		case err == nil:
			return r.noteFindings(ctx, t)
		case errors.As(err, &script) && t.worked:
			return r.repeatFindings(ctx, t, err)
		}
		return err
	})
	return err
}

// lacksFiles tells that a check script failed because it looks for something of
// the rootfs that is too large to be sent before the preflight is passed. It is
// run again where everything is, by checkAgain.
func lacksFiles(err error) bool {
	var script *agent.ScriptError
	if !errors.As(err, &script) {
		return false
	}
	tail := strings.Join(script.Tail, "\n")
	return script.Code == 126 || script.Code == 127 || strings.Contains(tail, "No such file or directory") || strings.Contains(tail, "command not found")
}

// withShortNames adds every repository without its registry's domain as well:
// pause beside registry.k8s.io/pause. Of two images that then have one name and
// tag the first by its full name counts, and the other is told.
func (r *Run) withShortNames(c registry.Catalog) registry.Catalog {
	short := map[string]registry.Repository{}
	for _, full := range c.Repositories {
		_, name, ok := strings.Cut(full.Name, "/")
		if !ok {
			continue
		}
		s, there := short[name]
		if !there {
			s = registry.Repository{Name: name, Tags: map[string]digest.Digest{}}
		}
		for tag, d := range full.Tags {
			if other, has := s.Tags[tag]; !has {
				s.Tags[tag] = d
			} else if other != d {
				r.Report.Warnf("%s:%s and another image are both %s:%s to the registry of the cluster image, which knows no domains; the other is served", full.Name, tag, name, tag)
			}
		}
		s.Manifests, s.Layers = union(s.Manifests, full.Manifests), union(s.Layers, full.Layers)
		short[name] = s
	}
	out := registry.Catalog{Repositories: slices.Clone(c.Repositories)}
	for _, s := range short {
		if !slices.ContainsFunc(c.Repositories, func(full registry.Repository) bool { return full.Name == s.Name }) {
			out.Repositories = append(out.Repositories, s)
		}
	}
	slices.SortFunc(out.Repositories, func(a, b registry.Repository) int { return cmp.Compare(a.Name, b.Name) })
	return out
}

// union adds blobs that are not there yet, in order.
func union(a, b []registry.Blob) []registry.Blob {
	out := slices.Clone(a)
	for _, blob := range b {
		if !slices.Contains(out, blob) {
			out = append(out, blob)
		}
	}
	return out
}

// fixedPassword tells that the images have their registry's password written
// into their files, so that another one would lock their own clients out: no
// template and no script of theirs asks for it.
func (r *Run) fixedPassword(password string) bool {
	if password == "" {
		return false
	}
	written := false
	for _, i := range r.payload.Images {
		if i.Type == installer.TypeApplication {
			continue
		}
		for name, f := range i.Files {
			text := string(f.Content)
			if strings.Contains(text, "registryPassword") && (strings.HasSuffix(name, ".tmpl") || strings.HasPrefix(name, "scripts/")) {
				return false
			}
			written = written || strings.HasPrefix(name, "etc/") && strings.Contains(text, password)
		}
	}
	return written
}
