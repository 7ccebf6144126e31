package facts

import (
	"context"
	"time"

	"github.com/sealbuild/sealbuild/installer/agent/files"
)

// at is a machine of files alone: no program of it says anything.
func at(root string) machine {
	m := files.At(root)
	return machine{
		m, func(context.Context, time.Duration, string, ...string) ([]byte, bool) { return nil, false },
		func(name string) bool { return m.Exists("/sys/class/net/" + name) },
	}
}
