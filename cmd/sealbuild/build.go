package main

import (
	"cmp"
	"errors"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"github.com/sealbuild/sealbuild/bundle/assemble"
	"github.com/sealbuild/sealbuild/bundle/assemble/build"
	"github.com/sealbuild/sealbuild/bundle/assemble/scan"
	"github.com/sealbuild/sealbuild/bundle/assemble/store"
	"github.com/sealbuild/sealbuild/bundle/assemble/write"
	"github.com/sealbuild/sealbuild/ground/count"
)

const buildHelp = `Build a cluster image from the Kubefile in CONTEXT, gather every container
image it needs, keep it in the local store, and write a self-extracting bundle.

The bundle is an executable: carried to a site without a network,
./sealinstall --masters IPS --nodes IPS makes the cluster. --with puts further
cluster images of the store under the one built; the rootfs image (Kubernetes
itself) comes first wherever it is named.

An image is not built again while nothing it is made of has changed: Kubefile,
the files it copies, base images, flags, SOURCE_DATE_EPOCH. As with docker, RUN
counts as unchanged whatever it would fetch today; --no-cache runs it again.

Exit status: 0 done, 1 failed, 2 wrong usage.`

const buildExample = `  # a rootfs image alone, kept in the store
  sealbuild -t kubernetes:v1.36.3 -o none ./kubernetes
  # an application on top of it, all in one file
  sealbuild -t calico:latest --with kubernetes:v1.36.3 --with helm:v3.19.0 -o site.run .`

// buildOptions are the flags of the root command.
type buildOptions struct {
	name, file, output, platform string
	with, buildArgs, labels, env []string
	target                       string
	contexts, secrets, ssh       []string
	noCache, ignoreScanErrors    bool
	bundle                       bundleFlags
}

func (a *app) buildCommand() *cobra.Command {
	var o buildOptions
	c := &cobra.Command{
		Use:     "sealbuild -t NAME:TAG [flags] CONTEXT",
		Short:   "Build a cluster image and the one file that installs it without a network",
		Long:    buildHelp,
		Example: buildExample,
		Args: func(c *cobra.Command, given []string) error {
			if len(given) == 0 && c.Flags().NFlag() == 0 {
				return nil // help
			}
			if len(given) > 0 {
				if err := meant(c, given[0], len(given) == 1); err != nil {
					return err
				}
			}
			return args(1, 1, "one CONTEXT directory")(c, given)
		},
		RunE: func(c *cobra.Command, given []string) error {
			if len(given) == 0 {
				return c.Help()
			}
			return a.build(c, o, given[0])
		},
	}
	f := c.Flags()
	f.StringVarP(&o.name, "tag", "t", "", "name of the image: NAME:TAG (required)")
	f.StringVarP(&o.output, "output", "o", "./sealinstall", "bundle to write; none writes none")
	f.StringArrayVar(&o.with, "with", nil, "cluster image of the store to put under this one (repeatable)")
	o.imageFlags(c)
	f.BoolVar(&o.noCache, "no-cache", false, "run every instruction again; with a bundle, keep nothing else: the image store stays as it is")
	f.BoolVar(&o.ignoreScanErrors, "ignore-scan-errors", false, "go on when a chart or manifest cannot be searched for images")
	f.StringArrayVar(&o.secrets, "secret", nil, "id=ID[,src=FILE|,env=NAME] that RUN --mount=type=secret may read; no image keeps it (repeatable)")
	f.StringArrayVar(&o.ssh, "ssh", nil, "default, or ID=SOCKET or ID=KEYFILE, for RUN --mount=type=ssh (repeatable)")
	o.bundle.register(c)
	a.registryFlags(c)
	return c
}

func (a *app) build(c *cobra.Command, o buildOptions, context string) error {
	if err := onlyFiles(o.output, o.file); err != nil {
		return err
	}
	if o.name == "" {
		if _, err := os.Stat(context); errors.Is(err, os.ErrNotExist) {
			return usagef("%q is neither a command nor a directory (see sealbuild --help)", context)
		}
		return usagef("the image needs a name: -t NAME:TAG (see sealbuild --help)")
	}
	if _, err := store.Name(o.name); err != nil {
		return &usageError{err}
	}
	r, err := o.request(context)
	if err != nil {
		return err
	}
	if o.output == "none" && o.bundle.report != "" {
		return usagef("--report is about a bundle, and -o none writes none")
	}
	if o.output != "none" {
		a.output = o.output
		if err := write.CheckOutput(o.output); err != nil {
			return err
		}
	}
	// Files of other owners than this user's can only be made in a user namespace; root needs none. The program starts once more
	// there, so nothing is read before that could be read only once: a passphrase on a pipe, or typed.
	if err := build.EnterUserNamespace(); err != nil {
		return err
	}
	if r.Secrets, err = readSecrets(o.secrets); err != nil {
		return err
	}
	if r.SSH, err = sshSources(o.ssh); err != nil {
		return err
	}
	request, err := o.bundle.request(c.Context())
	if err != nil {
		return err
	}
	kept, err := a.openStore()
	if err != nil {
		return err
	}
	defer func() { _ = kept.Close() }()
	s := kept
	if o.output != "none" {
		kept.Defer()
	}
	if o.noCache && o.output != "none" {
		temporary, err := kept.Temporary(filepath.Dir(o.output))
		if err != nil {
			return err
		}
		defer func() { _ = temporary.Close() }()
		s = temporary
	}
	b, err := a.builder(s)
	if err != nil {
		return err
	}
	// What comes last is checked first: a build takes minutes.
	version, err := b.CheckWith(o.with, r.Platforms)
	if err != nil {
		return err
	}
	r.Kube = cmp.Or(version, r.Kube)
	if o.output != "none" {
		if err := write.CheckStubs(request.Stub, r.Platforms); err != nil {
			return err
		}
	}
	if err := keepTemporaryFiles(s); err != nil {
		return err
	}
	rec, err := b.Build(c.Context(), r)
	if err != nil {
		return err
	}
	a.progress.say("stored %s (%s, %s) with %s (%s)", rec.Name, rec.ClusterType,
		humanize.IBytes(uint64(rec.Size)), count.Of(len(rec.Images), "container image"), humanize.IBytes(uint64(rec.NeededUnique)))
	if o.output == "none" {
		return nil
	}
	request.Images, request.Output = append(o.with, rec.Name), o.output
	return a.write(c, b, request, o.bundle)
}

// imageFlags say what image comes of a Kubefile; a plan knows them, too.
func (o *buildOptions) imageFlags(c *cobra.Command) {
	f := c.Flags()
	f.StringVarP(&o.file, "file", "f", "", "Kubefile (default: Kubefile, Sealfile or Dockerfile of CONTEXT)")
	f.StringArrayVar(&o.buildArgs, "build-arg", nil, "KEY=VALUE for an ARG; KEY alone takes it from the environment (repeatable)")
	f.StringArrayVar(&o.labels, "label", nil, "KEY=VALUE to set as a label (repeatable)")
	f.StringArrayVar(&o.env, "env", nil, "KEY=VALUE to set as a default of the image's environment (repeatable)")
	f.StringVar(&o.target, "target", "", "stage of the Kubefile to build, by its name or number (default: the last)")
	f.StringArrayVar(&o.contexts, "build-context", nil, "NAME=DIR, NAME=docker-image://IMAGE or NAME=oci-layout://DIR that FROM and --from mean by NAME (repeatable)")
	f.StringVar(&o.platform, "platform", "", "OS/ARCH of the image and of what it needs; a comma list makes one image of several (default linux and this machine's)")
}

// request is what the flags ask for.
func (o *buildOptions) request(context string) (assemble.BuildRequest, error) {
	r := assemble.BuildRequest{
		Name: o.name, Context: context, Kubefile: o.file, Labels: o.labels, Env: o.env, NoCache: o.noCache,
		Exclude: append(outputInside(context, o.output), outputInside(context, o.bundle.report)...), IgnoreScanErrors: o.ignoreScanErrors,
		Target: o.target, Contexts: map[string]assemble.NamedContext{},
	}
	for _, text := range o.contexts {
		name, named, err := assemble.ParseContext(text)
		if err != nil {
			return r, usagef("--build-context %v", err)
		}
		if named.Dir != "" {
			named.Exclude = append(outputInside(named.Dir, o.output), outputInside(named.Dir, o.bundle.report)...)
		}
		r.Contexts[name] = named
	}
	for _, text := range o.secrets {
		if _, err := parseSecret(text); err != nil {
			return r, err
		}
	}
	var err error
	if r.Args, err = pairs("--build-arg", o.buildArgs); err != nil {
		return r, err
	}
	for flag, values := range map[string][]string{"--label": o.labels, "--env": o.env} {
		for _, v := range values {
			if k, _, ok := strings.Cut(v, "="); !ok || k == "" {
				return r, usagef("%s %q: expected KEY=VALUE", flag, v)
			}
		}
	}
	for _, l := range o.labels {
		if v, ok := strings.CutPrefix(l, "version="); ok {
			r.Kube = scan.KubeVersion(v)
		}
	}
	if r.Platforms, err = store.ParsePlatforms(o.platform); err != nil {
		return r, &usageError{err}
	}
	return r, nil
}

// outputInside names the bundle to be written, its parts and what is temporary beside it, in .dockerignore syntax, when it lies in
// the context: COPY . . would otherwise put the last one into the next.
func outputInside(context, output string) []string {
	dir, err := filepath.Abs(context)
	if err != nil || output == "" || output == "none" {
		return nil
	}
	file, err := filepath.Abs(output)
	if err != nil {
		return nil
	}
	rel, err := filepath.Rel(dir, file)
	if err != nil || !filepath.IsLocal(rel) {
		return nil
	}
	base := filepath.ToSlash(rel)
	beside := path.Dir(base)
	all := []string{base, base + ".[0-9][0-9][0-9]", path.Join(beside, ".sealbuild-store-*")}
	for _, state := range write.States {
		all = append(all, path.Join(beside, "."+path.Base(base)+state+"*"))
	}
	return all
}

// write makes a bundle and says where it is.
func (a *app) write(c *cobra.Command, b *assemble.Builder, r assemble.BundleRequest, flags bundleFlags) error {
	w, err := b.Bundle(c.Context(), r)
	if err != nil {
		return err
	}
	a.progress.say("wrote %s: %s, %s in %s", strings.Join(w.Parts, ", "), humanize.IBytes(uint64(w.Summary.Size)), count.Of(len(w.Images), "image"), count.Of(w.Summary.Blobs, "blob"))
	if w.Left > 0 {
		a.progress.say("left out %s, %s, that the site is said to have", count.Of(w.Left, "blob"), humanize.IBytes(uint64(w.Saved)))
	}
	if flags.report == "" {
		return nil
	}
	return flags.writeReport(r.Output)
}

// keepTemporaryFiles points the libraries' temporary files to the store's
// session, so that a killed run leaves none, unless the operator chose a place.
func keepTemporaryFiles(s *store.Store) error {
	if os.Getenv("TMPDIR") != "" { //docs:env sealbuild TMPDIR: directory of temporary files in place of one in the image store
		return nil
	}
	dir, err := s.TempDir("tmp")
	if err != nil {
		return err
	}
	return os.Setenv("TMPDIR", dir)
}

// pairs reads KEY=VALUE flags; KEY alone is taken from the environment, and left out when it is not set there.
func pairs(flag string, values []string) (map[string]string, error) {
	m := map[string]string{}
	for _, v := range values {
		key, value, ok := strings.Cut(v, "=")
		if key == "" {
			return nil, usagef("%s %q: expected KEY=VALUE", flag, v)
		}
		if !ok {
			if value, ok = os.LookupEnv(key); !ok {
				continue
			}
		}
		m[key] = value
	}
	return m, nil
}
