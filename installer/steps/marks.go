package steps

import (
	"strings"

	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/fleet"
	"github.com/sealbuild/sealbuild/installer/journal"
)

// marksUpon are the marks of a host that speak of what was done with the files of a directory of images. They go when
// that directory is changed. replaced tells that all its files are, those that scripts and commands made among them.
func (r *Run) marksUpon(t *fleet.Target, dir string, replaced bool) []string {
	var out []string
	if dir == r.rootfsDir() {
		out = []string{journal.Images, journal.Rendered, journal.Checked, journal.Registry, journal.Init}
	}
	for _, i := range r.share(t).Here() {
		if i.Dir != dir || !replaced {
			continue
		}
		// Of an application the commands that ran last count, whose mark tells of what; one that was cut off begins anew.
		if i.Type != installer.TypeApplication || strings.Contains(t.Journal.Of(guestMark(i)), "/") {
			out = append(out, guestMark(i))
		}
	}
	return out
}
