package fleet

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/agent"
)

const (
	// endsTooOften is how many times systemd may have to start a kubelet again before nobody waits for it any longer. One that
	// comes up before its runtime does ends once or twice.
	endsTooOften = 5
	restartsPoll = 5 * time.Second
)

// KubeletStarts is how many times systemd has started the kubelet of a host again after it had ended; -1 where systemd does not
// tell.
func KubeletStarts(ctx context.Context, t *Target) int {
	res, err := t.Agent.Exec(ctx, agent.ExecRequest{Argv: []string{"systemctl", "show", "-p", "NRestarts", "--value", "kubelet"}, TimeoutSeconds: 10}, nil)
	if err != nil || res.Code != 0 {
		return -1
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(res.Stdout)))
	if err != nil {
		return -1
	}
	return n
}

// InsistOnKubelet is [installer.Insist] for what a kubelet that was just started has to show; starts is the number of
// [KubeletStarts] then. It gives up as soon as kubelet has ended five times since: what needs this host waits, too.
// Where the number was not told it waits for as long as its patience is: kubelet may have ended often before.
func InsistOnKubelet(ctx context.Context, t *Target, starts int, patience time.Duration, try func(context.Context) error) error {
	ctx, giveUp := context.WithCancelCause(ctx)
	defer giveUp(nil)
	asked := time.Now()
	return installer.Insist(ctx, patience, func(ctx context.Context) error {
		err := try(ctx)
		if err == nil || starts < 0 || time.Since(asked) < restartsPoll {
			return err
		}
		asked = time.Now()
		if n := KubeletStarts(ctx, t) - starts; n >= endsTooOften {
			giveUp(fmt.Errorf("kubelet has ended %d times since it was started (look at `journalctl -u kubelet` on the host): %w", n, err))
		}
		return err
	})
}
