// Package sealos is what differs for cluster images that were made for sealos. They bring a registry program of their own,
// which speaks plain HTTP and knows an image only by the name in its tree. They bring an image-cri-shim that asks it for
// names without the domain of their registry. And they bring check scripts that change files for the scripts that follow.
package sealos

import (
	"cmp"
	"errors"
	"regexp"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/agent"
	"github.com/sealbuild/sealbuild/installer/payload"
	"github.com/sealbuild/sealbuild/registry/catalog"
	"go.yaml.in/yaml/v3"
)

// registryConfigFile describes the registry in the format of the distribution registry.
const registryConfigFile = "etc/registry_config.yml"

// PlainRegistry tells whether the registry that the images bring for a host speaks plain HTTP: its configuration has no
// http.tls. Before templates are rendered, the template is searched for that.
func PlainRegistry(s payload.Share) bool {
	text, ok := s.SystemFile(registryConfigFile)
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

// LacksFiles tells whether a check script failed because it looks for a file of the rootfs that is too large to be sent
// before the preflight has passed. Such a script runs again once the whole rootfs is on the host.
func LacksFiles(err error) bool {
	script, ok := errors.AsType[*agent.ScriptError](err)
	if !ok {
		return false
	}
	tail := strings.Join(script.Tail, "\n")
	return script.Code == 126 || script.Code == 127 || strings.Contains(tail, "No such file or directory") || strings.Contains(tail, "command not found")
}

// ShortNames adds every repository once more without the domain of its registry: pause beside registry.k8s.io/pause. If two
// images have the same name and tag then, the one whose full name comes first counts, and warn tells of the other.
func ShortNames(c catalog.Catalog, warn func(format string, args ...any)) catalog.Catalog {
	short := map[string]catalog.Repository{}
	for _, full := range c.Repositories {
		_, name, ok := strings.Cut(full.Name, "/")
		if !ok {
			continue
		}
		s, there := short[name]
		if !there {
			s = catalog.Repository{Name: name, Tags: map[string]digest.Digest{}}
		}
		for tag, d := range full.Tags {
			if other, has := s.Tags[tag]; !has {
				s.Tags[tag] = d
			} else if other != d {
				warn("%s:%s and another image are both %s:%s to the registry of the cluster image, which knows no domains; the other is served", full.Name, tag, name, tag)
			}
		}
		s.Manifests, s.Layers = union(s.Manifests, full.Manifests), union(s.Layers, full.Layers)
		short[name] = s
	}
	out := catalog.Catalog{Repositories: slices.Clone(c.Repositories)}
	for _, s := range short {
		if !slices.ContainsFunc(c.Repositories, func(full catalog.Repository) bool { return full.Name == s.Name }) {
			out.Repositories = append(out.Repositories, s)
		}
	}
	slices.SortFunc(out.Repositories, func(a, b catalog.Repository) int { return cmp.Compare(a.Name, b.Name) })
	return out
}

// union is a with those blobs of b that are not in it.
func union(a, b []catalog.Blob) []catalog.Blob {
	out := slices.Clone(a)
	for _, blob := range b {
		if !slices.Contains(out, blob) {
			out = append(out, blob)
		}
	}
	return out
}

// FixedPassword tells whether the images have their registry's password written into their files, and no template or script
// that asks for it. Another password would then lock their own clients out.
func FixedPassword(images []*payload.Image, password string) bool {
	if password == "" {
		return false
	}
	written := false
	for _, i := range images {
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

// HeldPrefix is what the container runtime of a host puts before the names of images that it has pulled; it is empty where
// the runtime keeps the names that it was asked for.
//
// In images made for sealos kubelet asks an image-cri-shim. That asks the registry whether it has an image, and gives the
// runtime the name in the registry, which is the name that the runtime keeps. If kubelet asks for another name while the
// registry is down, the shim remembers for half an hour that there is no image of that name: a pod whose container ended
// does not come back, though its image lies on the host. The images that a host cannot do without, care and the control
// plane, are therefore named as the runtime keeps them: the shim passes such a name on unchanged, whatever it remembers.
func HeldPrefix(s payload.Share) string {
	env := s.RootfsEnv()
	plain := func(socket string) string { return strings.TrimPrefix(strings.TrimPrefix(socket, "unix://"), "/var") }
	shim := env["SEALOS_SYS_IMAGE_ENDPOINT"]
	if shim == "" || plain(shim) == plain(env["SEALOS_SYS_CRI_ENDPOINT"]) || !PlainRegistry(s) {
		return ""
	}
	return s.Access.Domain + ":" + s.Access.Port + "/"
}
