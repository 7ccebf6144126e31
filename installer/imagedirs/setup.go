package imagedirs

import (
	"context"
	"path"

	"github.com/sealbuild/sealbuild/installer/agent"
	"github.com/sealbuild/sealbuild/installer/fleet"
	"github.com/sealbuild/sealbuild/installer/journal"
	"github.com/sealbuild/sealbuild/installer/payload"
)

// SetUp is the scripts by which the images of a host set up its container runtime and kubelet, in their order.
type SetUp struct {
	Inputs  string // what they depend on, for the mark [journal.Init]
	scripts []rootfsScript
}

type rootfsScript struct {
	line string
	env  map[string]string
}

// SetUp finds the scripts init-cri, init and auth of a share of a host.
func (d Dirs) SetUp(t *fleet.Target, share payload.Share) SetUp {
	var out SetUp
	var inputs []any
	for _, key := range []string{"init-cri", "init", "auth"} {
		if i, line := share.Script(key); line != "" {
			out.scripts = append(out.scripts, rootfsScript{line, share.Env(i)})
			inputs = append(inputs, key, line, share.Env(i), t.Overlays[i])
		}
	}
	out.Inputs = journal.Inputs(append(inputs, share.Digests())...)
	return out
}

// RunSetUp runs the scripts on a host, in its rootfs, and counts those that have succeeded. The host sets the mark with the last
// one; mark is only asked for then. A nil mark sets none.
func (d Dirs) RunSetUp(ctx context.Context, t *fleet.Target, step string, s SetUp, mark func() agent.File) (ran int, err error) {
	for n, script := range s.scripts {
		var marks []agent.File
		if n == len(s.scripts)-1 && mark != nil {
			marks = append(marks, mark())
		}
		if err := d.RunScript(ctx, t, step, path.Join(d.RootfsDir(), "scripts"), script.line, script.env, marks...); err != nil {
			return ran, err
		}
		ran++
	}
	return ran, nil
}
