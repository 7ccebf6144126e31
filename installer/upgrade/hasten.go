package upgrade

import (
	"context"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/sealbuild/sealbuild/installer/agent"
	"github.com/sealbuild/sealbuild/installer/fleet"
)

// kubelet tells the cluster of a static pod that was exchanged when it looks at it. While the API server of the same host is away,
// as it is when itself is exchanged, that fails, and the next look comes a minute to a minute and a half later. For that long
// kubeadm waits: 75 s on real hosts, 49 s with frequent looks. For etcd it does not help much (86 and 76 s): there kubelet's
// question hangs for half a minute at the API server that has lost its etcd, and only then kubelet starts the new one.

// often is how often a kubelet looks at its pods while kubeadm exchanges them.
const often = 10 * time.Second

const kubeletConfig = kubeletDir + "/config.yaml"

// hasten has the kubelet of a master look at its pods often until kubeadm, whose last work on a host is that file, has written its
// configuration anew. Where kubeadm does not come so far, the host gets back what it had.
func hasten(ctx context.Context, u *Upgrade, t *fleet.Target, step string) error {
	if !t.Master {
		return nil
	}
	found, err := t.Agent.ReadFiles(ctx, []string{kubeletConfig})
	if err != nil {
		return err
	}
	text, ok := looksOften(string(found[kubeletConfig]))
	if !ok {
		return nil
	}
	if _, err := t.Agent.WriteFiles(ctx, []agent.File{{Path: kubeletConfig, Mode: 0o644, Content: []byte(text)}}); err != nil {
		return fmt.Errorf("have kubelet look at its pods more often: %w", err)
	}
	if _, err := u.Exec(ctx, t, step, "systemctl", "restart", "kubelet"); err != nil {
		return fmt.Errorf("have kubelet look at its pods more often: %w", err)
	}
	return nil
}

var syncLine = regexp.MustCompile(`(?m)^syncFrequency:[ \t]*(\S*)[ \t]*$`)

// looksOften is a configuration of kubelet in which that looks at its pods often; ok is false where it does already, or is written
// in a way in which nobody would look for the line.
func looksOften(text string) (_ string, ok bool) {
	if !strings.HasPrefix(text, "apiVersion:") && !strings.Contains(text, "\napiVersion:") {
		return "", false
	}
	line := "syncFrequency: " + often.String()
	now := syncLine.FindStringSubmatch(text)
	if now == nil {
		return strings.TrimRight(text, "\n") + "\n" + line + "\n", true
	}
	if d, err := time.ParseDuration(now[1]); err != nil || d > 0 && d <= often {
		return "", false
	}
	return syncLine.ReplaceAllLiteralString(text, line), true
}
