// Package compat finds what stands in the way of another version of Kubernetes, before anything is changed: in the cluster, on its
// hosts, in their settings and in what is stored. It changes nothing on hosts and nothing in the cluster.
package compat

import (
	"context"
	"fmt"
	"sync"

	"github.com/Masterminds/semver/v3"

	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/payload"
	"github.com/sealbuild/sealbuild/installer/preflight"
	"github.com/sealbuild/sealbuild/installer/site"
)

// Compat judges a cluster for another version. Its hosts were looked at, and the payload is that of the new version.
type Compat struct {
	*site.Site
	Sizes payload.Sizes // of the new bundle
}

// part is something that is looked at.
type part struct {
	check string // under which it is told that it could not be looked at
	what  string
	look  func(context.Context) ([]preflight.Problem, error)
}

// Look finds what stands in the way of version to, as v1.36.3, for a cluster whose record says version from. What cannot be looked
// at is a problem, too. Problems are in the order of what they are about, and of the hosts. The only errors are a version that is
// none, and the end of ctx.
func (c Compat) Look(ctx context.Context, from, to string) ([]preflight.Problem, error) {
	target, err := semver.NewVersion(to)
	if err != nil {
		return nil, fmt.Errorf("the version that the bundle brings, %q: %w", to, err)
	}
	nodes, problems := c.see(ctx)
	if nodes == nil {
		return problems, context.Cause(ctx)
	}
	members, err := c.askEtcd(ctx)
	if err != nil {
		problems = append(problems, unasked("etcd", "etcd", err))
	}
	parts := []part{
		{"version", "the versions that run", func(ctx context.Context) ([]preflight.Problem, error) { return c.versions(ctx, nodes, from, target) }},
		{"etcd", "etcd", func(context.Context) ([]preflight.Problem, error) {
			return etcdProblems(members, c.Cluster.Masters()), nil
		}},
		{"disk", "the room on disks", func(ctx context.Context) ([]preflight.Problem, error) { return c.disks(ctx, members) }},
		{"drain", "what a drain meets", func(ctx context.Context) ([]preflight.Problem, error) { return c.drains(ctx, nodes) }},
		{"flags", "arguments and settings", func(ctx context.Context) ([]preflight.Problem, error) { return c.flags(ctx, from, to) }},
		{"corefile", "CoreDNS' configuration", c.corefile},
		{"api-versions", "versions of the API", func(ctx context.Context) ([]preflight.Problem, error) { return c.apiVersions(ctx, target) }},
	}
	found := make([][]preflight.Problem, len(parts))
	var all sync.WaitGroup
	for i, p := range parts {
		all.Go(func() {
			part, err := p.look(ctx)
			if err != nil {
				part = append(part, unasked(p.check, p.what, err))
			}
			found[i] = part
		})
	}
	all.Wait()
	for _, part := range found {
		problems = append(problems, part...)
	}
	return problems, context.Cause(ctx)
}

// unasked is the problem that something could not be looked at.
func unasked(check, what string, err error) preflight.Problem {
	return preflight.Problem{Check: check, Message: what + " could not be looked at: " + installer.Tell(err), Remedy: preflight.MendIt}
}
