package agent_test

import (
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/sealbuild/sealbuild/installer/agent"
	"github.com/sealbuild/sealbuild/installer/agent/agenttest"
)

// slowDisk gives one chunk of zeros at once, and takes its time for the next, as a disk does.
type slowDisk struct {
	n       int
	reading atomic.Bool
}

func (d *slowDisk) Read(p []byte) (int, error) {
	d.reading.Store(true)
	defer d.reading.Store(false)
	if d.n >= 256<<10 {
		time.Sleep(200 * time.Millisecond)
	}
	clear(p)
	d.n += len(p)
	return len(p), nil
}

func TestLayerThatIsRefusedIsTheCallersAgain(t *testing.T) {
	agenttest.Everywhere(t, func(t *testing.T, a *agent.Agent) {
		layer := new(slowDisk)
		// Zeros are no zstd stream: the host answers after the first of them. Over ssh the next are being read then.
		err := a.Unpack(t.Context(), agent.UnpackRequest{Dir: t.TempDir(), Digest: digest.FromString("a layer"), Format: "zstd"}, layer)
		var refused *agent.Error
		if !errors.As(err, &refused) {
			t.Fatalf("the error is %v, want one of the host's", err)
		}
		if layer.reading.Load() {
			t.Fatal("the stream is read behind the end of the call")
		}
	})
}
