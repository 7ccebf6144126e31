// Package build turns a Kubefile and its context into an OCI image, with buildah as a library and without a daemon.
//
// It promises three things. The same inputs give the same image: every time stamp inside the image is Request.Epoch. Layers stay
// uncompressed, because the bundle writer compresses them once, on all cores. And nothing stays behind outside Request.Scratch,
// which is the caller's to remove.
package build

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"time"

	"github.com/containers/buildah"
	"github.com/containers/buildah/define"
	"github.com/containers/buildah/imagebuildah"
	"github.com/containers/image/v5/types"
	"github.com/containers/storage"
	"github.com/containers/storage/pkg/archive"
	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/sealbuild/sealbuild/ground/ocigraph"
	"github.com/sealbuild/sealbuild/kubefile"
)

// Request says what to build. Paths may be relative to the working directory.
type Request struct {
	Context  string            // the build context, a directory
	Kubefile string            // the file of instructions
	File     *kubefile.File    // the same, parsed: errors then name the instruction; may be nil
	Edits    []Edit            // made to a copy of Kubefile before it is run
	Exclude  []string          // context paths left out, in .dockerignore syntax
	Args     map[string]string // --build-arg
	Labels   []string          // key=value, as --label
	Env      []string          // key=value, as --env
	Platform v1.Platform       // of the image
	Epoch    time.Time         // every time stamp in the image
	Target   string            // number of the stage that is the image; empty: the last
	Contexts []NamedContext    // --build-context
	Secrets  []Secret          // --secret
	SSH      []string          // --ssh: ID or ID=PATH,PATH
	Scratch  string            // an existing directory for everything temporary
	Preload  []Preload         // images that FROM may name
	MayPull  bool              // others are pulled from their registry
	System   *types.SystemContext
	Log      io.Writer // steps and the output of RUN; nil discards it
}

// Preload is an image that is given a name for FROM and --from.
type Preload struct {
	Name     string        // as FROM writes it
	Layout   string        // directory of an OCI layout that holds it alone
	Digest   digest.Digest // of its manifest or index
	Platform v1.Platform   // of an index; mostly that of the request
	Below    bool          // the image is built upon it, and does not only take files of it
}

// Edit replaces lines of a Kubefile, 1-based and both included, by one line.
type Edit struct {
	First, Last int
	Text        string
}

// Result is a built image lying in an OCI layout inside Request.Scratch.
type Result struct {
	Layout     string        // directory of the layout
	Descriptor v1.Descriptor // of the image's manifest
}

// Build runs the Kubefile. The error names the failing instruction, with its line, where the request has the parsed file.
func Build(ctx context.Context, r Request) (res Result, err error) {
	if r.Log == nil {
		r.Log = io.Discard
	}
	contextDir, err := filepath.Abs(r.Context)
	if err != nil {
		return Result{}, fmt.Errorf("find context %s: %w", r.Context, err)
	}
	sys, err := systemContext(r)
	if err != nil {
		return Result{}, err
	}
	file, err := prepareKubefile(r)
	if err != nil {
		return Result{}, err
	}
	excludes, err := Ignored(contextDir, r.Kubefile, r.Exclude)
	if err != nil {
		return Result{}, err
	}
	scratch, annotations, err := openBases(ctx, r, sys)
	if err != nil {
		return Result{}, err
	}
	defer func() { err = errors.Join(err, closeScratch(scratch)) }()
	registerAdopting()
	log := &steps{Writer: r.Log}
	secrets, closeSecrets, err := secretFiles(r.Secrets)
	if err != nil {
		return Result{}, err
	}
	defer func() { err = errors.Join(err, closeSecrets()) }()
	changed, err := modeContexts(ctx, r, excludes)
	if err != nil {
		return Result{}, err
	}
	contexts, err := namedContexts(append(changed, r.Contexts...))
	if err != nil {
		return Result{}, err
	}
	layout := filepath.Join(r.Scratch, "oci")
	epoch := r.Epoch.UTC()
	o := define.BuildOptions{
		ContextDirectory:    contextDir,
		PullPolicy:          define.PullIfMissing,
		Isolation:           define.IsolationChroot,
		Compression:         archive.Uncompressed,
		Args:                r.Args,
		Output:              adoptingName + ":" + layout + ":built",
		Out:                 log,
		Err:                 log,
		ReportWriter:        io.Discard,
		OutputFormat:        buildah.OCIv1ImageManifest,
		SystemContext:       sys,
		SignaturePolicyPath: sys.SignaturePolicyPath,
		ConfigureNetwork:    define.NetworkDisabled,
		NetworkInterface:    noNetwork{},
		CommonBuildOpts: &define.CommonBuildOptions{
			IdentityLabel: types.OptionalBoolFalse, HTTPProxy: true, Ulimit: ulimits(), Secrets: secrets, SSHSources: sshSources(r.SSH),
		},
		Target:                  r.Target,
		AdditionalBuildContexts: contexts,
		Labels:                  r.Labels,
		Annotations:             annotations,
		Envs:                    r.Env,
		RemoveIntermediateCtrs:  true,
		ForceRmIntermediateCtrs: true,
		Timestamp:               &epoch,
		Excludes:                excludes,
		SkipUnusedStages:        types.OptionalBoolTrue,
		CreatedAnnotation:       types.OptionalBoolFalse,
		MaxPullPushRetries:      3,
		PullPushRetryDelay:      2 * time.Second,
		Platforms:               []struct{ OS, Arch, Variant string }{{r.Platform.OS, r.Platform.Architecture, r.Platform.Variant}},
		NamespaceOptions: []define.NamespaceOption{
			{Name: "network", Host: true},
		},
	}
	if r.MayPull {
		o.PullPolicy = define.PullIfMissing
	}
	if r.File != nil && bare(r.File) {
		// Of a stage that is a FROM alone buildah makes no image; with something to change, be it nothing, it does.
		o.UnsetAnnotations = []string{"io.sealbuild.none"}
	}
	if _, _, err := imagebuildah.BuildDockerfiles(ctx, scratch, o, file); err != nil {
		if ctx.Err() != nil {
			return Result{}, ctx.Err()
		}
		return Result{}, log.locate(r, err)
	}
	desc, err := ocigraph.LayoutImage(layout)
	if err != nil {
		return Result{}, fmt.Errorf("read the built image: %w", err)
	}
	return Result{Layout: layout, Descriptor: desc}, nil
}

// bare tells whether the image is to be its base as it is.
func bare(f *kubefile.File) bool {
	last := f.Stages[f.Target()]
	return last.Last == last.First+1
}

// namedContexts tells buildah of further build contexts.
func namedContexts(all []NamedContext) (map[string]*define.AdditionalBuildContext, error) {
	contexts := map[string]*define.AdditionalBuildContext{}
	for _, c := range all {
		if c.Image != "" {
			contexts[c.Name] = &define.AdditionalBuildContext{IsImage: true, Value: c.Image}
			continue
		}
		dir, err := filepath.Abs(c.Dir)
		if err != nil {
			return nil, fmt.Errorf("find build context %s: %w", c.Name, err)
		}
		contexts[c.Name] = &define.AdditionalBuildContext{Value: dir}
	}
	return contexts, nil
}

// openScratch opens a containers/storage tree that lives for one build, by the first driver that works here; vfs works everywhere.
func openScratch(dir string, drivers ...string) (storage.Store, error) {
	var failures []error
	for _, driver := range drivers {
		s, err := storage.GetStore(storage.StoreOptions{
			RunRoot:         filepath.Join(dir, driver, "run"),
			GraphRoot:       filepath.Join(dir, driver, "graph"),
			GraphDriverName: driver,
		})
		if err == nil {
			return s, nil
		}
		failures = append(failures, fmt.Errorf("driver %s: %w", driver, err))
	}
	return nil, fmt.Errorf("open build storage in %s: %w", dir, errors.Join(failures...))
}

// closeScratch unmounts what the build mounted; the files go with the caller's scratch directory.
func closeScratch(s storage.Store) error {
	if _, err := s.Shutdown(true); err != nil {
		return fmt.Errorf("close build storage: %w", err)
	}
	return nil
}
