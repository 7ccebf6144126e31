package compat

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/Masterminds/semver/v3"

	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/agent"
	"github.com/sealbuild/sealbuild/installer/compat/apis"
	"github.com/sealbuild/sealbuild/installer/fleet"
	"github.com/sealbuild/sealbuild/installer/payload"
	"github.com/sealbuild/sealbuild/installer/preflight"
)

// apiVersions finds what uses versions of Kubernetes' API that the new version does not serve: what is stored in the cluster, who
// asks for them, and files of the new bundle.
func (c Compat) apiVersions(ctx context.Context, to *semver.Version) ([]preflight.Problem, error) {
	table, upTo := apis.Removed()
	minor := int(to.Minor())
	out := fileProblems(c.Payload.Images, table.In(minor), to)
	if minor > upTo {
		out = append(out, apiProblem("", true, "have the bundle made by a newer sealbuild", "which versions of the API v%s does not serve is known here up to v1.%d", to, upTo))
	}
	stored, err := c.askStored(ctx, minor)
	if err != nil {
		return out, err
	}
	out = append(out, storedProblems(stored, to)...)
	requests := make([][]preflight.Problem, len(c.Targets))
	err = c.Each(ctx, c.ControlPlanes(), func(ctx context.Context, t *fleet.Target) error {
		found, err := askAPI(ctx, t, c.Timeout, "requested", minor)
		requests[slices.Index(c.Targets, t)] = requestProblems(t.IP.String(), found.Requests, to)
		return err
	})
	return slices.Concat(append([][]preflight.Problem{out}, requests...)...), err
}

// askStored asks one control plane after the other what is stored.
func (c Compat) askStored(ctx context.Context, minor int) (found apis.Found, err error) {
	var errs []error
	for _, t := range c.ControlPlanes() {
		if found, err = askAPI(ctx, t, c.Timeout, "stored", minor); err == nil {
			return found, nil
		}
		errs = append(errs, t.Failed(err))
		if ctx.Err() != nil {
			break
		}
	}
	return found, errors.Join(errs...)
}

// askAPI has the stub on a master ask the API server beside it. What is stored stays there: only names and versions come back.
func askAPI(ctx context.Context, t *fleet.Target, patience time.Duration, what string, minor int) (apis.Found, error) {
	server := "https://" + net.JoinHostPort(t.IP.String(), strconv.Itoa(installer.APIServerPort))
	argv := []string{t.Stub, "apis", what, "--server", server, "--minor", strconv.Itoa(minor)}
	res, err := t.Agent.Exec(ctx, agent.ExecRequest{Argv: argv, TimeoutSeconds: int(patience / time.Second)}, nil)
	if err != nil {
		return apis.Found{}, err
	}
	if res.Code != 0 {
		tail := installer.Tail(string(res.Stderr), 5)
		return apis.Found{}, &installer.CommandError{Host: t.IP.String(), Command: strings.Join(argv, " "), Code: res.Code, Tail: tail}
	}
	text, err := res.Whole()
	if err != nil {
		return apis.Found{}, err
	}
	var found apis.Found
	if err := json.Unmarshal(text, &found); err != nil {
		return found, fmt.Errorf("decode what %s tells: %w", strings.Join(argv[1:3], " "), err)
	}
	return found, nil
}

func apiProblem(host string, warning bool, remedy, format string, args ...any) preflight.Problem {
	return preflight.Problem{Host: host, Check: "api-versions", Message: fmt.Sprintf(format, args...), Remedy: remedy, Warning: warning}
}

func storedProblems(f apis.Found, to *semver.Version) []preflight.Problem {
	var out []preflight.Problem
	for _, u := range f.Applied {
		out = append(out, apiProblem("", false, "give the files of these objects a version that is served, and apply them; --ignore-check api-versions goes on without",
			"v%s does not serve %s, and kubectl apply was given it for %s: the same file will be refused", to, u.Kind, named(u)))
	}
	for _, u := range f.Releases {
		out = append(out, apiProblem("", false, "upgrade the release with a chart that has versions of now, before Kubernetes; or have the plugin mapkubeapis of Helm rewrite it",
			"v%s does not serve %s, which is in the release of Helm %s: Helm will not be able to change it", to, u.Kind, named(u)))
	}
	for _, u := range f.Written {
		out = append(out, apiProblem("", true, "bring what writes them to a version of now, if it still runs",
			"v%s does not serve %s, by which %s has written %s", to, u.Kind, u.By, named(u)))
	}
	for _, what := range f.Unread {
		out = append(out, apiProblem("", true, preflight.MendIt, "not looked at: %s", what))
	}
	return out
}

func requestProblems(host string, requests []apis.Request, to *semver.Version) []preflight.Problem {
	var out []preflight.Problem
	for _, r := range requests {
		out = append(out, apiProblem(host, true, "find out who asks: the audit log of the masters has it with the annotation k8s.io/removed-release",
			"somebody has asked for %s of %s since the API server started, which v%s does not serve", r.Resource, r.Version, to))
	}
	return out
}

// named lists objects, not too many of them.
func named(u apis.Uses) string {
	text := installer.NameSome(u.Names)
	if u.All > len(u.Names) {
		text += fmt.Sprintf(" (%d in all)", u.All)
	}
	return text
}

// fileProblems looks at the manifests and charts of cluster images.
func fileProblems(images []*payload.Image, gone apis.Table, to *semver.Version) []preflight.Problem {
	var out []preflight.Problem
	for _, i := range images {
		look := func(name string, content []byte) {
			for _, u := range apis.Scan(string(content)) {
				k, is := gone.Gone(u)
				switch at := fmt.Sprintf("image %s: %s:%d", i.Name, name, u.Line); {
				case !is:
				case u.Perhaps:
					out = append(out, apiProblem("", true, "see that the values do not ask for it", "%s may make %s, which v%s does not serve", at, k, to))
				default:
					out = append(out, apiProblem("", false, "build the image with a version of its application that fits; --ignore-check api-versions goes on where the file is not used",
						"%s has %s, which v%s does not serve", at, k, to))
				}
			}
		}
		for _, name := range slices.Sorted(maps.Keys(i.Files)) {
			switch content := i.Files[name].Content; path.Ext(name) {
			case ".yaml", ".yml", ".json", ".tpl", ".tmpl":
				look(name, content)
			case ".tgz":
				for inner, text := range chartFiles(content) {
					look(name+"!"+inner, text)
				}
			}
		}
	}
	return out
}

// maxChart bounds what a packed chart may hold, in bytes.
const maxChart = 32 << 20

// chartFiles gives the templates and manifests of a packed chart, by their names, as far as it can be read.
func chartFiles(packed []byte) func(yield func(string, []byte) bool) {
	return func(yield func(string, []byte) bool) {
		r, err := gzip.NewReader(bytes.NewReader(packed))
		if err != nil {
			return
		}
		for t := tar.NewReader(io.LimitReader(r, maxChart)); ; {
			h, err := t.Next()
			if err != nil {
				return
			}
			if h.Typeflag != tar.TypeReg || !slices.Contains([]string{".yaml", ".yml", ".tpl"}, path.Ext(h.Name)) {
				continue
			}
			text, err := io.ReadAll(t)
			if err != nil || !yield(h.Name, text) {
				return
			}
		}
	}
}
