package members

import (
	"context"
	"fmt"
	"path"
	"strings"

	"github.com/sealbuild/sealbuild/installer/agent"
	"github.com/sealbuild/sealbuild/installer/fleet"
	"github.com/sealbuild/sealbuild/installer/journal"
	"github.com/sealbuild/sealbuild/installer/preflight"
	"github.com/sealbuild/sealbuild/installer/site"
)

// claim sets the mark that etcd's data directory on a master is the cluster's. It is an error if the directory holds
// anything.
func (e Members) claim(ctx context.Context, t *fleet.Target, dir string) error {
	found, err := t.Agent.Dirs(ctx, upTo("/", dir)...)
	if err != nil {
		return fmt.Errorf("look at %s: %w", dir, err)
	}
	if message, remedy := preflight.OccupiedDir(dir, found[dir]); message != "" {
		return fmt.Errorf("%s; nothing in it was touched (%s, and run the same command again)", message, remedy)
	}
	if t.Facts.Dirs == nil {
		t.Facts.Dirs = map[string]agent.Dir{}
	}
	t.Facts.Dirs[dir] = found[dir]
	made := ""
	for _, p := range upTo("/", dir) {
		if !found[p].Exists {
			made = p
		}
	}
	return t.Journal.Set(ctx, journal.EtcdData, site.DataDir{Path: dir, Made: made}.String())
}

// ClearData removes the etcd data of this cluster from a host whose member is out of etcd. Other files in the directory
// stay, and so does the directory if it was there before.
func (e Members) ClearData(ctx context.Context, t *fleet.Target, step string) error {
	d, ours := site.EtcdData(t)
	if !ours {
		return nil
	}
	if err := t.Agent.Remove(ctx, []string{path.Join(d.Path, "member")}); err != nil {
		return fmt.Errorf("remove etcd's data: %w", err)
	}
	found, err := t.Agent.Dirs(ctx, d.Path)
	if err != nil {
		return fmt.Errorf("look at %s: %w", d.Path, err)
	}
	left := found[d.Path]
	if held := left.Holds(); len(held) > 0 {
		e.Report.Warnf("%s: %s keeps %s, which is not etcd's", t.IP, d.Path, strings.Join(held, ", "))
	}
	if d.Made != "" && left.Exists && left.Empty() && !left.Link && !left.Mount {
		if _, err := e.Exec(ctx, t, step, append([]string{"rmdir", "--ignore-fail-on-non-empty"}, upTo(d.Made, d.Path)...)...); err != nil {
			return err
		}
	}
	return t.Journal.Drop(ctx, journal.EtcdData)
}

// upTo lists a directory and those above it, up to top; if top is /, the last one is just below it.
func upTo(top, dir string) []string {
	out := []string{dir}
	for dir != top && path.Dir(dir) != "/" {
		dir = path.Dir(dir)
		out = append(out, dir)
	}
	return out
}
