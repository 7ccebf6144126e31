package hostnet

import (
	"context"
	"fmt"
	"strings"

	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/agent"
	"github.com/sealbuild/sealbuild/installer/care"
	"github.com/sealbuild/sealbuild/installer/fleet"
)

const holdUnitPath = unitDir + care.HoldUnit //docs:file hosts: the unit that keeps packets to pods and Services on a host while it boots

// settleHold writes the unit that keeps packets to pods and Services on a host while it boots, and counts one change if it was
// not there as it should be. The unit is not started: the host is up.
func (n Net) settleHold(ctx context.Context, t *fleet.Target, held care.Held) (changes int, err error) {
	changed, err := t.Agent.WriteFiles(ctx, []agent.File{
		{Path: holdUnitPath, Mode: 0o644, Content: holdUnitFile(held)},
		{Path: wantedDir + care.HoldUnit, Link: holdUnitPath},
	})
	if err != nil {
		return 0, fmt.Errorf("write %s: %w", care.HoldUnit, err)
	}
	return min(len(changed), 1), nil
}

func holdUnitFile(held care.Held) []byte {
	command := installer.StubPath + " care --hold"
	var networks strings.Builder
	for _, p := range held.Pods {
		networks.WriteString(" --pods " + p.String())
	}
	for _, p := range held.Services {
		networks.WriteString(" --services " + p.String())
	}
	// The first command ends before kubelet starts; the second lasts.
	return []byte("# Installed by sealos; the installer knows units of its own by this line.\n[Unit]\n" +
		"Description=packets to pods and Services stay on this host until the network of pods is up\n" + whereStub + "Before=kubelet.service containerd.service\n\n" +
		"[Service]\nExecStartPre=" + command + networks.String() + " --run-once\nExecStart=" + command + networks.String() +
		"\nExecStopPost=" + command + " --clean\n\n[Install]\nWantedBy=multi-user.target\n")
}

// RemoveHold removes the unit of a host, and its routes if the host has just booted.
func (n Net) RemoveHold(ctx context.Context, t *fleet.Target) error {
	found, err := t.Agent.ReadFiles(ctx, []string{holdUnitPath})
	if err != nil || found[holdUnitPath] == nil {
		return err
	}
	return n.removeUnit(ctx, t, care.HoldUnit, "--hold")
}
