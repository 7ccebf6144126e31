package upgrade

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/sealbuild/sealbuild/installer/fleet"
	"github.com/sealbuild/sealbuild/installer/journal"
)

// stage says how far a host has come. A run after one that was cut off goes on by it.
type stage string

const (
	begun   stage = "begun"   // what kubeadm will change is kept; the host may be drained, and its rootfs exchanged
	kubeadm stage = "kubeadm" // kubeadm works, or was killed at it
	turned  stage = "turned"  // kubeadm has come to its end; programs are being exchanged
	done    stage = "done"    // the host has passed its gate with what is new
	back    stage = "back"    // it gets back what it ran before
)

// mark is what the mark [journal.Upgrade] of a host says. It stays when the upgrade is done, until the next one begins.
type mark struct {
	From  string `json:"from"` // what ran there before, as the mark [journal.Images] says it
	To    string `json:"to"`   // what is to run there
	Kube  string `json:"kube"` // version of Kubernetes before
	Stage stage  `json:"stage"`
	First bool   `json:"first,omitempty"` // kubeadm upgrades the cluster's own configuration from here
}

// on is the mark of a host; there is false if it has none.
func on(t *fleet.Target) (m mark, there bool, err error) {
	text := t.Journal.Of(journal.Upgrade)
	if text == "" {
		return mark{}, false, nil
	}
	if err := json.Unmarshal([]byte(text), &m); err != nil {
		return mark{}, false, fmt.Errorf("read the mark of its upgrade, %s: %w", t.Journal.Path(journal.Upgrade), err)
	}
	return m, true, nil
}

// Unfinished says of the text of a mark [journal.Upgrade] what was begun there and has not come to its end; empty if all has.
func Unfinished(text string) string {
	var m mark
	switch err := json.Unmarshal([]byte(text), &m); {
	case text == "" || err == nil && m.Stage == done:
		return ""
	case err == nil && m.Stage == back:
		return fmt.Sprintf("its way back to %s was begun and did not come to its end: `rollback`, or the same `upgrade`, finishes", nameOf(m.From))
	}
	return fmt.Sprintf("an upgrade to %s was begun there and did not come to its end: the same `upgrade` finishes, `rollback` goes back", nameOf(m.To))
}

// to sets how far a host has come.
func (m *mark) to(ctx context.Context, t *fleet.Target, s stage) error {
	m.Stage = s
	return t.Journal.Set(ctx, journal.Upgrade, m.text())
}

func (m mark) text() string {
	text, err := json.Marshal(m)
	if err != nil {
		panic(fmt.Sprintf("upgrade: mark of a host: %v", err)) // strings can be encoded
	}
	return string(text)
}
