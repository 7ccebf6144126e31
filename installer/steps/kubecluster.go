package steps

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/agent"
	"github.com/sealbuild/sealbuild/installer/kube"
)

const adminConf = installer.KubeDir + "/admin.conf"

// exec runs a command on a host with the run's timeout; a status other than 0 is an error.
func (r *Run) exec(ctx context.Context, t *Target, step string, argv ...string) (agent.ExecResult, error) {
	return r.execWith(ctx, t, step, agent.ExecRequest{Argv: argv})
}

func (r *Run) execWith(ctx context.Context, t *Target, step string, req agent.ExecRequest) (agent.ExecResult, error) {
	command := strings.Join(req.Argv, " ")
	log := r.Report.Output(t.IP.String(), step, command)
	defer closeLog(log)
	req.TimeoutSeconds = int(r.Timeout / time.Second)
	res, err := t.Agent.Exec(ctx, req, log)
	if err != nil {
		return res, fmt.Errorf("run %s: %w", command, err)
	}
	if res.Code != 0 {
		return res, &installer.CommandError{
			Host: t.IP.String(), Command: command, Code: res.Code, Tail: installer.Tail(string(res.Stdout)+"\n"+string(res.Stderr), 15),
		}
	}
	return res, nil
}

func (r *Run) kubectlCache() string { return r.dir("cache", "kubectl") }

// nodeName is the name of a host's node: its host name in lower case, as
// kubelet has it. The check step has found it to be a valid one.
func (t *Target) nodeName() string { return strings.ToLower(t.Facts.Hostname) }

// names are those of a host in /etc/hosts: that of its node, and as it spells it itself.
func (t *Target) names() []string {
	if t.Facts.Hostname == "" {
		return nil
	}
	return slices.Compact([]string{t.nodeName(), t.Facts.Hostname})
}

// controlPlanes are the masters of which the cluster can be asked.
func (r *Run) controlPlanes() []*Target {
	return slices.DeleteFunc(r.masters(), func(t *Target) bool { return !t.looked || !t.Joined() })
}

// askable are the same, as the client of the cluster takes them.
func (r *Run) askable() []kube.ControlPlane {
	var out []kube.ControlPlane
	for _, t := range r.controlPlanes() {
		out = append(out, r.controlPlane(t))
	}
	return out
}

func (r *Run) controlPlane(t *Target) kube.ControlPlane {
	return kube.ControlPlane{IP: t.IP, Agent: t.Agent, Runtime: r.share(t).RootfsEnv()["SEALOS_SYS_CRI_ENDPOINT"]}
}

// kubeHost is a host as the client of the cluster takes it.
func (t *Target) kubeHost() kube.Host {
	return kube.Host{IP: t.IP, Node: t.nodeName(), Master: t.Master}
}

func (r *Run) kubeHosts() []kube.Host {
	var out []kube.Host
	for _, t := range r.Targets {
		out = append(out, t.kubeHost())
	}
	return out
}

// lacks asks what the cluster of this run's hosts still waits for.
func (r *Run) lacks(ctx context.Context) (kube.Lacks, error) { return r.kube.Lacks(ctx, r.kubeHosts()) }
