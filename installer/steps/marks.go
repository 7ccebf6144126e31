package steps

import (
	"context"
	"strings"

	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/agent"
)

// record is the mark of work that is under way.
type record struct {
	file  agent.File
	given bool
}

// byHost gives the mark to the host, which sets it when it sees the work end; else it is set when the work returns.
func (w *record) byHost() agent.File {
	w.given = true
	return w.file
}

// underMark does the work that a mark of a host stands for, unless that was done with the same inputs. A mark of other
// inputs is taken back first: work that fails half way leaves none, so that what was asked for before is done again, too.
// What a mark says of a part of the work (see [guestProgress]) stays for the same inputs. did tells that the work was begun.
func (r *Run) underMark(ctx context.Context, t *Target, mark, in string, work func(w *record) error) (did bool, err error) {
	have := t.marks[mark]
	if have == in {
		return false, nil
	}
	if !strings.HasPrefix(have, in+"/") {
		if err := r.dropMarks(ctx, t, mark); err != nil {
			return false, err
		}
	}
	w := &record{file: r.markFile(mark, in)}
	if err := work(w); err != nil {
		return true, err
	}
	if !w.given {
		return true, r.setMark(ctx, t, mark, in)
	}
	t.mark(mark, in)
	return true, nil
}

// marksUpon are the marks of a host that speak of what was done with the files of a directory of images. They go when
// that directory is changed. replaced tells that all its files are, those that scripts and commands made among them.
func (r *Run) marksUpon(t *Target, dir string, replaced bool) []string {
	var out []string
	if dir == r.rootfsDir() {
		out = []string{markImages, markRendered, markChecked, markRegistry, markInit}
	}
	for _, i := range r.share(t).Here() {
		if i.Dir != dir || !replaced {
			continue
		}
		// Of an application the commands that ran last count, whose mark tells of what; one that was cut off begins anew.
		if i.Type != installer.TypeApplication || strings.Contains(t.marks[guestMark(i)], "/") {
			out = append(out, guestMark(i))
		}
	}
	return out
}
