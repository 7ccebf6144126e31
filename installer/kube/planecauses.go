package kube

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/agent"
)

// ControlPlaneCauses asks the container runtimes of the control planes whether etcd or the API server has ended, and for its
// last line. Where the API does not answer nothing else can tell. It gives one line for each cause, with the hosts that have
// it.
func (c *Client) ControlPlaneCauses(ctx context.Context, jobs int) []string {
	planes := c.inOrder()
	last := make([]string, len(planes))
	var group errgroup.Group
	group.SetLimit(max(1, jobs))
	for i, p := range planes {
		group.Go(func() error {
			for _, name := range []string{"etcd", "kube-apiserver"} {
				if line := endedContainer(ctx, p, name); line != "" {
					last[i] = "container " + name + " has ended and says: " + line
					break
				}
			}
			return nil // other messages say that a host cannot be asked
		})
	}
	_ = group.Wait()
	var all []saying
	for i, p := range planes {
		if last[i] != "" {
			all = said(all, last[i], p.IP.String())
		}
	}
	var out []string
	for _, s := range all {
		out = append(out, installer.HostList(s.of)+": "+s.text)
	}
	return out
}

// endedContainer gives the last line of the newest container of a name, if that container has ended.
func endedContainer(ctx context.Context, p ControlPlane, name string) string {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	list, err := p.Agent.Exec(ctx, agent.ExecRequest{Argv: p.Crictl("ps", "--all", "--latest", "--name", "^"+name+"$", "--output", "json"), TimeoutSeconds: 4}, nil)
	if err != nil || list.Code != 0 {
		return ""
	}
	var all struct {
		Containers []struct {
			ID    string `json:"id"`
			State string `json:"state"`
		} `json:"containers"`
	}
	if json.Unmarshal(list.Stdout, &all) != nil || len(all.Containers) == 0 || all.Containers[0].State != "CONTAINER_EXITED" {
		return ""
	}
	logs, err := p.Agent.Exec(ctx, agent.ExecRequest{Argv: p.Crictl("logs", "--tail", "5", all.Containers[0].ID), TimeoutSeconds: 4}, nil)
	if err != nil || logs.Code != 0 {
		return ""
	}
	// crictl passes on the container's stderr on its own.
	return short(installer.Tail(installer.Plain(string(logs.Stdout)+"\n"+string(logs.Stderr)), 1))
}

// Crictl gives the command line of crictl for a control plane.
func (p ControlPlane) Crictl(args ...string) []string {
	argv := []string{"crictl"}
	if p.Runtime != "" {
		argv = append(argv, "--runtime-endpoint", "unix://"+strings.TrimPrefix(p.Runtime, "unix://"))
	}
	return slices.Concat(argv, args)
}
