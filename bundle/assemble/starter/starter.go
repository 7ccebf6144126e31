// Package starter writes the first Kubefile of a directory: what its charts and manifests need, and nothing else.
package starter

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"helm.sh/helm/v4/pkg/chart/v2/loader"
)

// Kubefile gives the text of a Kubefile for the directory dir. chart names a Helm chart in it, a directory or a .tgz: it alone is
// installed. Empty means what lies in charts/, manifests/ and images/. Errors name the path and a remedy.
func Kubefile(dir, chart string) (string, error) {
	k := &draft{dir: dir}
	var err error
	if chart != "" {
		err = k.one(chart)
	} else {
		err = errors.Join(k.charts(), k.manifests(), k.images())
	}
	if err != nil {
		return "", err
	}
	return k.text(), nil
}

// draft is what a Kubefile is going to say.
type draft struct {
	dir  string
	copy []string // the operands of COPY
	run  []string // the lines of CMD
	helm bool
}

// one installs a single chart.
func (k *draft) one(chart string) error {
	given, err := filepath.Abs(chart)
	if err != nil {
		return err
	}
	context, err := filepath.Abs(k.dir)
	if err != nil {
		return err
	}
	from, err := filepath.Rel(context, given)
	if err != nil || !filepath.IsLocal(from) {
		return fmt.Errorf("chart %s lies outside of the directory that is built, %s: copy it to %s", chart, k.dir, filepath.Join(k.dir, "charts", filepath.Base(given)))
	}
	from = filepath.ToSlash(from)
	name, _, err := k.read(from)
	if err != nil {
		return err
	}
	to := "charts/" + path.Base(from)
	if from == "." {
		to = "charts/" + name
		k.copy = append(k.copy, "--exclude=Kubefile . "+to)
	} else {
		k.copy = append(k.copy, from+" "+to)
	}
	values, in := path.Join(path.Dir(from), name+".values.yaml"), ""
	if k.has(values) {
		in = "charts/" + name + ".values.yaml"
		k.copy = append(k.copy, values+" "+in)
	}
	return k.install(name, to, in)
}

// charts installs those that lie in charts/, in the order of their names.
func (k *draft) charts() error {
	found, err := os.ReadDir(filepath.Join(k.dir, "charts"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, f := range found {
		at := "charts/" + f.Name()
		if !k.has(at+"/Chart.yaml") && !strings.HasSuffix(at, ".tgz") {
			continue
		}
		name, library, err := k.read(at)
		if err != nil {
			return err
		}
		if library {
			continue // other charts hold what they need of it
		}
		values := "charts/" + name + ".values.yaml"
		if !k.has(values) {
			values = ""
		}
		if err := k.install(name, at, values); err != nil {
			return err
		}
	}
	k.copy = append(k.copy, "charts charts")
	return nil
}

// plain is a path that stands for itself in COPY and in a line of shell.
var plain = regexp.MustCompile(`^[A-Za-z0-9._/-]+$`)

// read gives the name of a chart, and whether it is a library, which cannot be installed.
func (k *draft) read(at string) (name string, library bool, err error) {
	if !plain.MatchString(at) {
		return "", false, fmt.Errorf("chart %s: its path holds more than letters, digits, dots, slashes, _ and -: rename it", filepath.Join(k.dir, at))
	}
	c, err := loader.Load(filepath.Join(k.dir, filepath.FromSlash(at)))
	if err != nil {
		return "", false, fmt.Errorf("chart %s: %w (a chart is a directory with Chart.yaml, or a .tgz that helm package wrote)", filepath.Join(k.dir, at), err)
	}
	return c.Name(), c.Metadata.Type == "library", nil
}

// release is what helm takes as the name of a release and Kubernetes as that of a namespace.
var release = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]{0,51}[a-z0-9])?$`)

func (k *draft) install(name, at, values string) error {
	of := strings.NewReplacer("_", "-", ".", "-").Replace(strings.ToLower(name))
	if !release.MatchString(of) {
		return fmt.Errorf("chart %s: its name %q names no release: write the Kubefile by hand, as in docs/builder.md", filepath.Join(k.dir, at), name)
	}
	line := fmt.Sprintf("helm upgrade --install %s %s --namespace %s --create-namespace", of, at, of)
	if values != "" {
		line += " --values " + values
	}
	k.run, k.helm = append(k.run, line), true
	return nil
}

func (k *draft) manifests() error {
	root := filepath.Join(k.dir, "manifests")
	flags, any := "", false
	err := filepath.WalkDir(root, func(file string, d fs.DirEntry, err error) error {
		switch name := strings.TrimSuffix(file, ".tmpl"); {
		case err != nil || d.IsDir():
			return err
		case filepath.Dir(file) == root && slices.Contains([]string{"kustomization.yaml", "kustomization.yml", "Kustomization"}, d.Name()):
			flags, any = " -k manifests", true
			return filepath.SkipAll
		case slices.Contains([]string{".yaml", ".yml", ".json"}, filepath.Ext(name)):
			any = true
			if filepath.Dir(file) != root {
				flags = " --recursive -f manifests"
			}
		}
		return nil
	})
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if flags == "" {
		flags = " -f manifests"
	}
	k.copy = append(k.copy, "manifests manifests")
	if any { // kubectl fails where there is nothing to apply
		k.run = append(k.run, "kubectl apply"+flags)
	}
	return err
}

func (k *draft) images() error {
	if k.has("images") {
		k.copy = append(k.copy, "images images")
	}
	return nil
}

func (k *draft) has(at string) bool {
	_, err := os.Stat(filepath.Join(k.dir, filepath.FromSlash(at)))
	return err == nil
}

func (k *draft) text() string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line("# A cluster image: what is copied is what the site gets, and its images are gathered. See docs/builder.md.")
	if k.helm {
		line("# The site's helm comes from an image of its own: build with --with kubernetes:… --with helm:…")
	}
	line("FROM scratch")
	if len(k.copy) == 0 {
		line("\n# COPY charts charts\n# COPY manifests manifests\n# COPY images images")
	} else {
		line("")
	}
	for _, c := range k.copy {
		line("COPY %s", c)
	}
	if len(k.run) == 0 {
		line("\n# Run once, on the first control plane, in this order:\n# CMD [\"kubectl apply -f manifests\"]")
		return b.String()
	}
	line("\n# Run once, on the first control plane, in this order; once more when the image or its settings are others.")
	var quoted []string
	for _, r := range k.run {
		quoted = append(quoted, fmt.Sprintf("%q", r))
	}
	line("CMD [%s]", strings.Join(quoted, ", "))
	return b.String()
}
