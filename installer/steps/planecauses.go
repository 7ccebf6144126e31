package steps

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/node"
)

// planeCauses asks the runtimes of masters for containers of the control plane that have ended, and for their last line:
// where the API does not answer, nobody else can tell.
func (r *Run) planeCauses(ctx context.Context) []string {
	in := r.controlPlanes()
	found := make(map[*Target]chan string, len(in))
	for _, t := range in {
		found[t] = make(chan string, 1)
	}
	// Nobody waits for the errors: a master that cannot be asked is told as one.
	_ = each(ctx, in, max(1, r.Jobs), func(ctx context.Context, t *Target) error {
		for _, name := range []string{"etcd", "kube-apiserver"} {
			if line := r.endedContainer(ctx, t, name); line != "" {
				found[t] <- "container " + name + " has ended and says: " + line
				break
			}
		}
		return nil
	})
	hosts := map[string][]string{}
	var order []string
	for _, t := range in {
		select {
		case what := <-found[t]:
			if hosts[what] == nil {
				order = append(order, what)
			}
			hosts[what] = append(hosts[what], t.IP.String())
		default:
		}
	}
	var out []string
	for _, what := range order {
		out = append(out, hostList(hosts[what])+": "+what)
	}
	return out
}

// endedContainer gives the last line of the newest container of a name, if that has ended.
func (r *Run) endedContainer(ctx context.Context, t *Target, name string) string {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	list, err := t.Agent.Exec(ctx, node.ExecRequest{Argv: r.crictl(t, "ps", "--all", "--latest", "--name", "^"+name+"$", "--output", "json"), TimeoutSeconds: 4}, nil)
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
	logs, err := t.Agent.Exec(ctx, node.ExecRequest{Argv: r.crictl(t, "logs", "--tail", "5", all.Containers[0].ID), TimeoutSeconds: 4}, nil)
	if err != nil || logs.Code != 0 {
		return ""
	}
	// What the container wrote to its stderr comes there.
	return short(installer.Tail(installer.Plain(string(logs.Stdout)+"\n"+string(logs.Stderr)), 1))
}

// crictl is a command to a host's container runtime.
func (r *Run) crictl(t *Target, args ...string) []string {
	argv := []string{"crictl"}
	if socket := r.envOf(r.imagesOn(t)[0], t)["SEALOS_SYS_CRI_ENDPOINT"]; socket != "" {
		argv = append(argv, "--runtime-endpoint", "unix://"+strings.TrimPrefix(socket, "unix://"))
	}
	return slices.Concat(argv, args)
}
