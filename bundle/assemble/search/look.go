package search

import (
	"context"
	"fmt"
	"strings"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/sealbuild/sealbuild/bundle/assemble/report"
	"github.com/sealbuild/sealbuild/bundle/assemble/scan"
	"github.com/sealbuild/sealbuild/ground/count"
	"github.com/sealbuild/sealbuild/kubefile"
)

// Look is what was found in a directory for one platform.
type Look struct {
	Dir      string
	Found    *scan.Result
	Platform v1.Platform
}

// Part is a build context as it is for one platform: what the Kubefile copies and sets may depend on it.
type Part struct {
	Platform v1.Platform
	File     *kubefile.File
	Env      []string // that the build sets beside the Kubefile, as KEY=VALUE
	Kube     string   // the Kubernetes version of the site, where something says it that is not in the Kubefile
}

// Context looks for images in a build context, for every platform, to tell early what the built image will need. A problem that may
// hide images is an *Error, unless ignore says to report it and go on.
func Context(ctx context.Context, tell report.Reporter, dir string, parts []Part, ignore bool) ([]Look, error) {
	tell.Phase("scan "+dir, 0)
	var looks []Look
	var results []*scan.Result
	for _, part := range parts {
		r, err := scan.Dir(ctx, dir, part.File, scan.Options{Env: part.Env, Kube: part.Kube})
		if err != nil {
			return nil, fmt.Errorf("look for images in %s: %w", dir, err)
		}
		looks = append(looks, Look{Dir: dir, Found: r, Platform: part.Platform})
		results = append(results, r)
	}
	all := scan.Union(results...)
	for _, w := range all.Warnings {
		tell.Note(At(w.Place) + w.Message)
	}
	return looks, Judge(tell, dir, all.Errors, ignore)
}

// Judge fails when something may have hidden images, or tells what is ignored.
func Judge(tell report.Reporter, where string, problems []scan.Error, ignore bool) error {
	if len(problems) > 0 && !ignore {
		return &Error{Dir: where, Errors: problems}
	}
	for _, e := range problems {
		tell.Note("ignored: " + e.Error())
	}
	return nil
}

// Error is what may have hidden images from the scan: the build stops,
// because a bundle that lacks an image fails where there is no network.
type Error struct {
	Dir    string
	Errors []scan.Error
}

func (e *Error) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "looking for images in %s found %s that may hide images (fix them, or go on with --ignore-scan-errors):", e.Dir, count.Of(len(e.Errors), "problem"))
	for _, one := range e.Errors {
		b.WriteString("\n  " + one.Error())
	}
	return b.String()
}

// At is where a place is, in front of a message: file:line and a colon.
func At(p scan.Place) string {
	switch {
	case p.File == "":
		return ""
	case p.Line == 0:
		return p.File + ": "
	}
	return fmt.Sprintf("%s:%d: ", p.File, p.Line)
}
