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

// configFile is the file of an image that holds its own Config documents.
const configFile = "config.yml"

// Overlay is what is laid over the unpacked files of one cluster image on one host, by path: rendered templates, and files
// that Config documents changed.
type Overlay map[string]File

// Overlay applies the image's own Config documents and then the cluster's to its files, and renders every *.tmpl below etc,
// scripts, manifests and charts with env. It returns the files that are made or changed by that. A Config document whose
// file is made from a template is applied to the rendered file. Files that hold a secret after rendering are readable by
// root alone. It reports all errors, not only the first.
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

// otherSecrets is the environment with other values for its secrets; nil if it has none.
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

// modeFor takes the file of a template from all but root if its rendered text depends on a secret: with other secrets it
// would be another text.
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
	f, ok := i.Files[configFile]
	if !ok {
		return nil, nil
	}
	c, err := installer.ParseClusterfile(configFile, f.Content)
	if err != nil {
		return nil, fmt.Errorf("cluster image %s: %w", i.Name, err)
	}
	return c.Configs, nil
}
