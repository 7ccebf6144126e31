package payload

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"

	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/templates"
)

// ConfigFile is where an image carries Config documents of its own.
const ConfigFile = "config.yml"

// Overlay is what is laid over the unpacked files of one cluster image on one
// host: rendered templates and files changed by Config documents.
type Overlay map[string]File

// Overlay applies the image's own and then the cluster's Config documents to
// its files, renders every *.tmpl below etc, scripts, manifests and charts with
// env, and returns the files that came to be. Files of the image that stay as
// they are are not in it. A Config that names what a template becomes, and not
// the template, is applied to what it became. Files that a secret is rendered
// into are readable by root alone.
func (i *Image) Overlay(configs []installer.Config, env map[string]string) (Overlay, error) {
	own, err := i.ownConfigs()
	if err != nil {
		return nil, err
	}
	var errs []error
	changed := Overlay{}
	current := maps.Clone(i.Files)
	others := i.otherSecrets(env)
	configure := func(c installer.Config) {
		name := configuredFile(c)
		old, exists := current[name]
		data, err := apply(c, old.Content)
		if err != nil {
			errs = append(errs, fmt.Errorf("cluster image %s: Config %q on %s: %w", i.Name, c.Name, name, err))
			return
		}
		if !exists {
			old.Mode = 0o644
		}
		f := File{Mode: old.Mode, Content: data}
		current[name], changed[name] = f, f
	}
	var late []installer.Config
	for _, c := range slices.Concat(own, configs) {
		_, exists := current[configuredFile(c)]
		_, template := current[configuredFile(c)+".tmpl"]
		switch {
		case c.Match != "" && !SameImage(c.Match, i.Name):
		case !exists && template && isTemplate(configuredFile(c)+".tmpl"):
			late = append(late, c)
		case exists || c.Match != "": // else it is meant for another image
			configure(c)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(current)) {
		if !isTemplate(name) {
			continue
		}
		out, err := templates.Render(name, current[name].Content, env)
		if err != nil {
			errs = append(errs, fmt.Errorf("cluster image %s: %w", i.Name, err))
			continue
		}
		rendered := strings.TrimSuffix(name, ".tmpl")
		f := File{Mode: modeFor(current[name], name, out, others), Content: out}
		current[rendered], changed[rendered] = f, f
	}
	if len(errs) == 0 {
		for _, c := range late {
			configure(c)
		}
	}
	return changed, errors.Join(errs...)
}

// otherSecrets is the environment with other values of its secrets; nil if it has none.
func (i *Image) otherSecrets(env map[string]string) map[string]string {
	secret := i.Secret
	if secret == nil {
		secret = installer.SecretEnv
	}
	var others map[string]string
	for k, v := range env {
		if v != "" && secret(k, v) {
			if others == nil {
				others = maps.Clone(env)
			}
			others[k] = v + "0"
		}
	}
	return others
}

// modeFor narrows the mode of a file that a secret was rendered into, however
// it is written there: with another secret the template becomes something else.
func modeFor(template File, name string, rendered []byte, others map[string]string) fs.FileMode {
	if others == nil {
		return template.Mode
	}
	if out, err := templates.Render(name, template.Content, others); err == nil && bytes.Equal(out, rendered) {
		return template.Mode
	}
	return template.Mode &^ 0o077
}

func isTemplate(name string) bool {
	if !strings.HasSuffix(name, ".tmpl") {
		return false
	}
	top, _, _ := strings.Cut(name, "/")
	return slices.Contains([]string{"etc", "scripts", "manifests", "charts"}, top)
}

func (i *Image) ownConfigs() ([]installer.Config, error) {
	f, ok := i.Files[ConfigFile]
	if !ok {
		return nil, nil
	}
	c, err := installer.ParseClusterfile(ConfigFile, f.Content)
	if err != nil {
		return nil, fmt.Errorf("cluster image %s: %w", i.Name, err)
	}
	return c.Configs, nil
}
