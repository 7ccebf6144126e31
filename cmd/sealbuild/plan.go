package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"unicode/utf8"

	"github.com/dustin/go-humanize"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/sealbuild/sealbuild/bundle/assemble"
	"github.com/sealbuild/sealbuild/bundle/assemble/oldpackage"
	"github.com/sealbuild/sealbuild/bundle/assemble/pull"
	"github.com/sealbuild/sealbuild/bundle/assemble/scan"
	"github.com/sealbuild/sealbuild/bundle/assemble/search"
	"github.com/sealbuild/sealbuild/bundle/assemble/store"
	"github.com/sealbuild/sealbuild/ground/count"
	"github.com/sealbuild/sealbuild/kubefile"
)

func (a *app) planCommand() *cobra.Command {
	var format string
	var online bool
	var o buildOptions
	c := &cobra.Command{
		Use:   "plan CONTEXT",
		Short: "Show what a build would do; nothing is built or pulled",
		Long: `Show the parsed Kubefile and every image found in CONTEXT, with the file and line
it was found at; a build also searches the image, where files may lie elsewhere.
A suspected reference only looks like an image: a build takes it when it exists.
No registry is asked. With --online they are, for the manifests: how much there
is to download, and which images cannot be had.
An offline package of the older kind, packed or not, needs no Kubefile: the one
that is made of it is shown.
Exit status 1 when something would stop a build: what may hide images from the
search, what keeps an older package from being installed, and, with --online, an
image that cannot be had.`,
		Example: "  sealbuild plan ./app\n  sealbuild plan ./app --online\n  sealbuild plan ./app -o json",
		Args:    args(1, 1, "one CONTEXT directory"),
		RunE: func(c *cobra.Command, given []string) error {
			if err := checkOutput(format); err != nil {
				return err
			}
			p, err := a.plan(c, o, given[0], online)
			if err != nil {
				return err
			}
			if format == "json" {
				err = a.printJSON(p)
			} else {
				err = a.printPlan(p, columnsOf(a.out))
			}
			if err == nil && len(p.Errors) > 0 {
				err = fmt.Errorf("plan %s: %s would stop a build", given[0], count.Of(len(p.Errors), "problem"))
			}
			return err
		},
	}
	outputFlag(c, &format)
	c.Flags().BoolVar(&online, "online", false, "ask the registries how large the images are, and whether they can be had")
	o.imageFlags(c)
	a.registryFlags(c)
	return c
}

// planned is a plan as it is printed.
type planned struct {
	*scan.Plan
	Images []plannedImage `json:"images"`
	Size   *int64         `json:"size,omitempty"` // bytes to download, what several images share counted once; with --online
}

type plannedImage struct {
	scan.Found
	Size   *int64 `json:"size,omitempty"` // bytes to download; with --online, of what can be had and no archive holds
	failed bool
}

// plan evaluates the Kubefile as a build with the same flags does.
func (a *app) plan(c *cobra.Command, o buildOptions, context string, online bool) (*planned, error) {
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
	var looks []search.Look
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
		looks = append(looks, search.Look{Dir: r.Context, Found: one.Result, Platform: platform})
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
	shown := &planned{Plan: p, Images: make([]plannedImage, len(p.Images))}
	for i, f := range p.Images {
		shown.Images[i].Found = f
	}
	if online {
		if err := a.measure(c.Context(), shown, looks, scratch); err != nil {
			return nil, fmt.Errorf("plan: %w", err)
		}
	}
	return shown, nil
}

// measure asks the registries. What it reads is kept nowhere: a plan makes nothing.
func (a *app) measure(ctx context.Context, p *planned, looks []search.Look, scratch string) (err error) {
	s, err := store.Open(filepath.Join(scratch, "store"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	b, err := a.builder(s)
	if err != nil {
		return err
	}
	m, err := b.Measure(ctx, looks)
	if err != nil {
		return err
	}
	p.Size = &m.Total
	for i, f := range p.Images {
		if size, ok := m.Sizes[f.Ref]; ok {
			p.Images[i].Size = &size
		}
		p.Images[i].failed = slices.ContainsFunc(slices.Concat(m.Absent, m.Failed), func(o pull.Failure) bool { return o.Ref == f.Ref })
	}
	tell := func(f pull.Failure) (scan.Place, string) {
		at := scan.Place{File: f.Places[0].File, Line: f.Places[0].Line}
		f.Places = nil
		return at, f.String()
	}
	for _, f := range m.Absent {
		at, text := tell(f)
		p.Warnings = append(p.Warnings, scan.Warning{Place: at, Message: "suspected, and not to be had: " + text})
	}
	// The context may bring images in a registry/ of its own, of which no registry is asked.
	_, none := os.Stat(filepath.Join(looks[0].Dir, filepath.FromSlash(search.RegistryTree)))
	for _, f := range m.Failed {
		at, text := tell(f)
		if none != nil {
			p.Errors = append(p.Errors, scan.Error{Place: at, Message: text})
		} else {
			p.Warnings = append(p.Warnings, scan.Warning{Place: at, Message: "not to be had, unless it is in registry/: " + text})
		}
	}
	return nil
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

// printPlan prints a plan for a person, on a terminal of so many columns; 0 is no terminal.
func (a *app) printPlan(p *planned, columns int) error {
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
	fmt.Fprintln(w, "\nLINE\tINSTRUCTION")
	for _, in := range p.Instructions {
		fmt.Fprintf(w, "%d\t%s\n", in.Line, strings.Join(slices.Concat([]string{in.Name}, in.Flags, in.Args), " "))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	fmt.Fprintf(a.out, "\n%s%s\n", p.table(columns), p.sum())
	for _, m := range p.Warnings {
		fmt.Fprintf(a.out, "warning: %s: %s\n", where(m.Place), m.Message)
	}
	for _, m := range p.Errors {
		fmt.Fprintf(a.out, "error: %s: %s\n", where(m.Place), m.Message)
	}
	return nil
}

// table lists the images. Where a line would be wider than the terminal, the place that asks for an image and the reason have lines
// of their own, below it.
func (p *planned) table(columns int) string {
	rows := [][]string{{"IMAGE", "CERTAINTY", "SIZE", "ASKED FOR BY", "BECAUSE"}}
	for _, f := range p.Images {
		size := "here" // in an archive
		switch {
		case f.Size != nil:
			size = humanize.IBytes(uint64(*f.Size))
		case f.failed:
			size = "cannot be had"
		}
		at := where(f.Place)
		if n := len(f.Also); n > 0 {
			at += fmt.Sprintf(" +%d", n)
		}
		rows = append(rows, []string{f.Ref, string(f.Certainty), size, at, f.Reason})
	}
	for _, r := range p.Archives {
		name := r.Ref
		if name == "" {
			name = "(as it says itself)"
		}
		rows = append(rows, []string{name, "archive", "here", where(r.Place), r.Path})
	}
	if len(rows) == 1 {
		return ""
	}
	for i := range rows {
		if p.Size == nil { // nobody was asked
			rows[i] = slices.Delete(rows[i], 2, 3)
		}
	}
	lines := aligned(rows)
	if columns > 0 && slices.ContainsFunc(lines, func(line string) bool { return utf8.RuneCountInString(line) > columns }) {
		var heads [][]string
		for _, r := range rows {
			heads = append(heads, r[:len(r)-2])
		}
		lines = aligned(heads)
		for i, r := range rows[1:] {
			lines[i+1] += "\n  " + r[len(r)-2] + "\n  " + r[len(r)-1]
		}
	}
	return strings.Join(lines, "\n") + "\n\n"
}

// aligned are the lines of a table.
func aligned(rows [][]string) []string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	for _, r := range rows {
		fmt.Fprintln(w, strings.Join(r, "\t"))
	}
	_ = w.Flush() // a Builder takes everything
	return strings.Split(strings.TrimSuffix(b.String(), "\n"), "\n")
}

// sum says how many images there are and, when registries were asked, how much there is to download.
func (p *planned) sum() string {
	certain := 0
	for _, f := range p.Images {
		if f.Certainty == scan.Certain {
			certain++
		}
	}
	text := fmt.Sprintf("images: %d, %d of them certain; archives: %d", len(p.Images), certain, len(p.Archives))
	if p.Size != nil {
		text += fmt.Sprintf("; %s to download, what images share counted once", humanize.IBytes(uint64(*p.Size)))
	}
	return text
}

// columnsOf is how wide a terminal is, and 0 for what is none.
func columnsOf(w io.Writer) int {
	f, ok := w.(*os.File)
	if !ok {
		return 0
	}
	columns, _, err := term.GetSize(int(f.Fd()))
	if err != nil {
		return 0
	}
	return columns
}

func where(p scan.Place) string {
	if p.Line == 0 {
		return p.File
	}
	return fmt.Sprintf("%s:%d", p.File, p.Line)
}
