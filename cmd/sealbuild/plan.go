package main

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"text/tabwriter"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/spf13/cobra"

	"github.com/sealbuild/sealbuild/bundle/assemble"
	"github.com/sealbuild/sealbuild/bundle/assemble/oldpackage"
	"github.com/sealbuild/sealbuild/bundle/assemble/scan"
	"github.com/sealbuild/sealbuild/bundle/assemble/store"
	"github.com/sealbuild/sealbuild/kubefile"
)

func (a *app) planCommand() *cobra.Command {
	var format string
	var o buildOptions
	c := &cobra.Command{
		Use:   "plan CONTEXT",
		Short: "Show what a build would do; nothing is built or pulled",
		Long: `Show the parsed Kubefile and every image found in CONTEXT, with the file and line
it was found at; a build also searches the image, where files may lie elsewhere.
A suspected reference only looks like an image: a build takes it when it exists.
An offline package of the older kind, packed or not, needs no Kubefile: the one
that is made of it is shown.
Exit status 1 when something would stop a build: what may hide images from the
search, or what keeps an older package from being installed.`,
		Example: "  sealbuild plan ./app\n  sealbuild plan ./app -o json",
		Args:    args(1, 1, "one CONTEXT directory"),
		RunE: func(c *cobra.Command, given []string) error {
			if err := checkOutput(format); err != nil {
				return err
			}
			p, err := a.plan(c, o, given[0])
			if err != nil {
				return err
			}
			if format == "json" {
				err = a.printJSON(p)
			} else {
				err = a.printPlan(p)
			}
			if err == nil && len(p.Errors) > 0 {
				err = fmt.Errorf("plan %s: %d problems would stop a build", given[0], len(p.Errors))
			}
			return err
		},
	}
	outputFlag(c, &format)
	o.imageFlags(c)
	return c
}

// plan evaluates the Kubefile as a build with the same flags does.
func (a *app) plan(c *cobra.Command, o buildOptions, context string) (*scan.Plan, error) {
	r, err := o.request(context)
	if err != nil {
		return nil, err
	}
	scratch, err := os.MkdirTemp("", "sealbuild-plan-")
	if err != nil {
		return nil, fmt.Errorf("plan: %w", err)
	}
	defer func() { _ = os.RemoveAll(scratch) }()
	made, problems, err := assemble.OldPackage(c.Context(), &r, scratch, nil)
	if err != nil {
		return nil, fmt.Errorf("plan: %w", err)
	}
	if made != nil {
		a.progress.Note(context + " is an offline package of the older kind: this is what is made of it")
		for _, n := range made.Notes {
			a.progress.Note(n)
		}
	}
	// The Kubefile is shown as it is for the first platform; the images are those of all, as it may copy others for each.
	var p *scan.Plan
	var found []*scan.Result
	for _, platform := range r.Platforms {
		options := append(assemble.Options(r, platform), kubefile.WithBase(a.storedBase(platform, r.Contexts)))
		if err := assemble.Check(r, options...); err != nil {
			return nil, fmt.Errorf("plan: %w", err)
		}
		one, err := scan.MakePlan(c.Context(), r.Context, r.Kubefile, scan.Options{Env: r.Env, Kube: r.Kube}, options...)
		if err != nil {
			return nil, fmt.Errorf("plan: %w", err)
		}
		if p == nil {
			p = one
		}
		found = append(found, one.Result)
	}
	p.Result = scan.Union(found...)
	if made != nil {
		p.Kubefile = oldpackage.Name
	}
	for _, problem := range problems {
		p.Errors = append(p.Errors, scan.Error{Place: scan.Place{File: context}, Message: problem})
	}
	for _, kv := range r.Labels {
		k, v, _ := strings.Cut(kv, "=")
		p.Labels[k] = v
	}
	for _, kv := range r.Env {
		k, v, _ := strings.Cut(kv, "=")
		p.Env[k] = v
	}
	if p.Type, err = kubefile.TypeOf(p.Labels); err != nil {
		return nil, fmt.Errorf("plan: %w", err)
	}
	return p, nil
}

// storedBase looks images up that FROM names, in the store if there is one.
func (a *app) storedBase(platform v1.Platform, contexts map[string]assemble.NamedContext) func(string) (kubefile.Config, bool) {
	return func(name string) (kubefile.Config, bool) {
		if image := contexts[name].Image; image != "" {
			name = image
		}
		root := a.root
		if root == "" {
			root, _ = store.DefaultRoot()
		}
		if _, err := os.Stat(root); root == "" || err != nil {
			return kubefile.Config{}, false // a plan makes nothing
		}
		s, err := store.Open(root)
		if err != nil {
			return kubefile.Config{}, false
		}
		defer func() { _ = s.Close() }()
		return (&assemble.Builder{Store: s}).Stored(name, platform)
	}
}

func (a *app) printPlan(p *scan.Plan) error {
	w := tabwriter.NewWriter(a.out, 0, 0, 2, ' ', 0)
	if p.Kubefile != "" {
		fmt.Fprintf(w, "Kubefile\t%s\n", p.Kubefile)
	}
	fmt.Fprintf(w, "type\t%s\n", p.Type)
	for _, part := range []struct {
		name   string
		values map[string]string
	}{{"label", p.Labels}, {"env", p.Env}} {
		for _, k := range slices.Sorted(maps.Keys(part.values)) {
			fmt.Fprintf(w, "%s\t%s=%s\n", part.name, k, part.values[k])
		}
	}
	for _, line := range p.Entrypoint {
		fmt.Fprintf(w, "entrypoint\t%s\n", line)
	}
	for _, line := range p.Cmd {
		fmt.Fprintf(w, "cmd\t%s\n", line)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	fmt.Fprintln(a.out, "\nINSTRUCTIONS")
	for _, in := range p.Instructions {
		fmt.Fprintf(w, "%d\t%s\n", in.Line, strings.Join(slices.Concat([]string{in.Name}, in.Flags, in.Args), " "))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	fmt.Fprintf(a.out, "\n%d IMAGES\n", len(p.Images))
	for _, f := range p.Images {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", f.Certainty, f.Ref, where(f.Place), f.Reason)
	}
	for _, r := range p.Archives {
		fmt.Fprintf(w, "archive\t%s\t%s\t%s\n", r.Ref, where(r.Place), r.Path)
	}
	for _, m := range p.Warnings {
		fmt.Fprintf(w, "warning\t%s\t%s\n", where(m.Place), m.Message)
	}
	for _, m := range p.Errors {
		fmt.Fprintf(w, "error\t%s\t%s\n", where(m.Place), m.Message)
	}
	return w.Flush()
}

func where(p scan.Place) string {
	if p.Line == 0 {
		return p.File
	}
	return fmt.Sprintf("%s:%d", p.File, p.Line)
}
