package installer

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// ConfigFile is where an image carries Config documents of its own.
const ConfigFile = "config.yml"

// Overlay is what is laid over the unpacked files of one cluster image on one
// host: rendered templates and files changed by Config documents.
type Overlay map[string]File

// Overlay applies the image's own and then the cluster's Config documents to
// files, renders every *.tmpl below etc, scripts, manifests and charts with
// env, and returns the files that came to be. Files of the image that stay as
// they are are not in it.
func (i *Image) Overlay(files map[string]File, configs []Config, env map[string]string) (Overlay, error) {
	var errs []error
	changed := Overlay{}
	own, err := i.ownConfigs(files)
	if err != nil {
		errs = append(errs, err)
	}
	current := maps.Clone(files)
	for _, c := range slices.Concat(own, configs) {
		if c.Match != "" && c.Match != i.Name {
			continue
		}
		name := strings.TrimPrefix(path.Clean("/"+c.Path), "/")
		old, exists := current[name]
		if c.Match == "" && !exists {
			continue // meant for another image
		}
		data, err := c.apply(old.Content)
		if err != nil {
			errs = append(errs, fmt.Errorf("cluster image %s: Config %q on %s: %w", i.Name, c.Name, name, err))
			continue
		}
		if !exists {
			old.Mode = 0o644
		}
		f := File{Mode: old.Mode, Content: data}
		current[name], changed[name] = f, f
	}
	for _, name := range slices.Sorted(maps.Keys(current)) {
		if !isTemplate(name) {
			continue
		}
		out, err := RenderTemplate(name, current[name].Content, env)
		if err != nil {
			errs = append(errs, fmt.Errorf("cluster image %s: %w", i.Name, err))
			continue
		}
		changed[strings.TrimSuffix(name, ".tmpl")] = File{Mode: modeFor(current[name].Mode, out, env), Content: out}
	}
	return changed, errors.Join(errs...)
}

// modeFor narrows the mode of a file that a secret was rendered into.
func modeFor(mode fsMode, content []byte, env map[string]string) fsMode {
	for k, v := range env {
		if SecretEnv(k) && len(v) >= 4 && (bytes.Contains(content, []byte(v)) || bytes.Contains(content, basicAuth(env))) {
			return mode &^ 0o077
		}
	}
	return mode
}

func isTemplate(name string) bool {
	if !strings.HasSuffix(name, ".tmpl") {
		return false
	}
	top, _, _ := strings.Cut(name, "/")
	return slices.Contains([]string{"etc", "scripts", "manifests", "charts"}, top)
}

func (i *Image) ownConfigs(files map[string]File) ([]Config, error) {
	f, ok := files[ConfigFile]
	if !ok {
		return nil, nil
	}
	c, err := ParseClusterfile(ConfigFile, f.Content)
	if err != nil {
		return nil, fmt.Errorf("cluster image %s: %w", i.Name, err)
	}
	return c.Configs, nil
}

func (c Config) apply(old []byte) ([]byte, error) {
	data := []byte(c.Data)
	switch c.Strategy {
	case "insert":
		return join(data, old), nil
	case "append":
		return join(old, data), nil
	case "merge":
		var base, over map[string]any
		if err := yaml.Unmarshal(old, &base); err != nil {
			return nil, fmt.Errorf("strategy merge needs a YAML or JSON file: %w", err)
		}
		if err := yaml.Unmarshal(data, &over); err != nil {
			return nil, fmt.Errorf("spec.data: %w", err)
		}
		return yaml.Marshal(mergeMaps(base, over))
	}
	return data, nil
}

func join(a, b []byte) []byte {
	if len(a) > 0 && !bytes.HasSuffix(a, []byte("\n")) {
		a = append(bytes.Clone(a), '\n')
	}
	return append(bytes.Clone(a), b...)
}

// mergeMaps lays over over base: maps deeply, everything else replaced.
func mergeMaps(base, over map[string]any) map[string]any {
	out := maps.Clone(base)
	if out == nil {
		out = map[string]any{}
	}
	for k, v := range over {
		if om, ok := v.(map[string]any); ok {
			if bm, ok := out[k].(map[string]any); ok {
				out[k] = mergeMaps(bm, om)
				continue
			}
		}
		out[k] = v
	}
	return out
}
