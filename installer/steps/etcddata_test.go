package steps

import (
	"testing"

	"github.com/sealbuild/sealbuild/installer/agent"
	"github.com/sealbuild/sealbuild/installer/preflight"
)

func TestWhatIsInTheWayOfEtcdsDataIsNamedWithARemedy(t *testing.T) {
	for _, d := range []agent.Dir{{}, {Exists: true}, {Exists: true, Mount: true, Entries: []string{"lost+found"}}, {Exists: true, Link: true}} {
		if message, _ := preflight.OccupiedDir("/var/lib/etcd", d); message != "" {
			t.Errorf("%+v: %s", d, message)
		}
	}
	for _, d := range []agent.Dir{
		{NotDir: true},
		{Exists: true, Error: "permission denied"},
		{Exists: true, Entries: []string{"lost+found"}},
		{Exists: true, Entries: []string{"member"}},
		{Exists: true, Mount: true, Entries: []string{"lost+found", "snapshot.db"}},
	} {
		if message, remedy := preflight.OccupiedDir("/var/lib/etcd", d); message == "" || remedy == "" {
			t.Errorf("%+v: %q %q", d, message, remedy)
		}
	}
}
