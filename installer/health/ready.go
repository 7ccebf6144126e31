package health

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"sync"
	"time"

	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/agent"
	"github.com/sealbuild/sealbuild/installer/fleet"
)

// WaitAPI waits until the API server of every master says that it is ready, with the etcd behind it. A command of an image
// that runs during an election would fail.
func (h *Health) WaitAPI(ctx context.Context) error {
	for _, t := range h.Masters() {
		err := installer.Insist(ctx, h.Timeout, func(ctx context.Context) error {
			_, err := h.Kube.KubectlOn(ctx, h.ControlPlane(t), "get", "--raw=/readyz")
			return err
		})
		if err != nil {
			return t.Failed(fmt.Errorf("its API server is not ready: %w", err))
		}
	}
	return nil
}

// proxyPatience is how long kube-proxy may take to write its rules on a host.
const proxyPatience = 30 * time.Second

// WaitServices waits until kube-proxy has written its rules on every host. Before that, a packet from a pod to a Service is
// not translated: it takes the default route out of the site, and the connection does not work until the pod gives it up,
// half a minute later. In a cluster without kube-proxy it does nothing: an application brings Services there. Hosts where
// it waited in vain get one warning for each cause; it notes them in vain, and does not wait for them again.
func (h *Health) WaitServices(ctx context.Context, vain map[*fleet.Target]bool) error {
	found, err := h.Kube.Kubectl(ctx, "get", "daemonset", "-n", "kube-system", "kube-proxy", "--ignore-not-found", "-o", "name")
	if err != nil || len(bytes.TrimSpace(found)) == 0 {
		return err
	}
	var mu sync.Mutex
	hosts := map[string][]string{}
	ask := slices.DeleteFunc(slices.Clone(h.Targets), func(t *fleet.Target) bool { return vain[t] })
	err = h.Each(ctx, ask, func(ctx context.Context, t *fleet.Target) error {
		err := installer.Insist(ctx, proxyPatience, func(ctx context.Context) error {
			res, err := t.Agent.Exec(ctx, agent.ExecRequest{Argv: []string{"bash", "-c", askProxy}, TimeoutSeconds: 5}, nil)
			if err != nil {
				return err
			}
			return proxyWrote(res.Stdout)
		})
		if err == nil || ctx.Err() != nil {
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		vain[t] = true
		why := installer.TellAt(err, t.IP.String())
		hosts[why] = append(hosts[why], t.IP.String())
		return nil
	})
	for _, why := range slices.Sorted(maps.Keys(hosts)) {
		h.Report.Warnf("%s: Services may not work there yet: %s", installer.HostList(hosts[why]), why)
	}
	return err
}

// askProxy asks kube-proxy on its own host. bash speaks TCP by itself, so no other program is needed.
const askProxy = `exec 3<>/dev/tcp/127.0.0.1/10256; printf 'GET /livez HTTP/1.0\r\n\r\n' >&3; cat <&3`

var (
	proxyUpdated = regexp.MustCompile(`"lastUpdated": ?"([0-9]{4})-`)
	notFound     = regexp.MustCompile(`^HTTP/[0-9.]+ 404 `)
)

// proxyWrote reads the answer of kube-proxy, which says when it last wrote its rules: year 1 if never. kube-proxy before
// 1.28 does not say, and is believed.
func proxyWrote(answer []byte) error {
	m := proxyUpdated.FindSubmatch(answer)
	switch {
	case notFound.Match(answer), m != nil && string(m[1]) != "0001":
		return nil
	case len(answer) == 0:
		return errors.New("kube-proxy does not answer on port 10256")
	}
	return errors.New("kube-proxy has not written its rules")
}
