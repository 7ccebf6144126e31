// Package kube asks a cluster for its state, through whichever control plane answers: nodes, workloads and their pods, what it
// lacks, and why. Answers are small whatever the size of the cluster: kubectl runs with a template that prints only a few words
// of each object.
package kube

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/agent"
)

// ErrNoControlPlane means that there is no control plane to ask.
var ErrNoControlPlane = errors.New("no master that is reached is in the cluster")

// askLimit is how long one master may take to answer one question.
const askLimit = 30 * time.Second

// ControlPlane is a host where kubectl runs against the API server beside it.
type ControlPlane struct {
	IP      netip.Addr
	Agent   *agent.Agent
	Runtime string // socket of its container runtime, as crictl takes it; empty means crictl's default
}

// Host is a host that is to be in the cluster.
type Host struct {
	IP     netip.Addr
	Node   string // name of its node; empty if the host was not looked at
	Master bool
}

// Client asks the cluster. The control plane that answered last is asked first.
type Client struct {
	// ControlPlanes gives the control planes that can be asked now.
	ControlPlanes func() []ControlPlane
	AdminConf     string // the administrator's kubeconfig on each of them
	CacheDir      string // of kubectl: a place that reset removes, unlike root's home

	mu   sync.Mutex
	last netip.Addr
}

// inOrder gives the control planes, the one that answered last first.
func (c *Client) inOrder() []ControlPlane {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := slices.Clone(c.ControlPlanes())
	slices.SortStableFunc(all, func(a, b ControlPlane) int {
		switch c.last {
		case a.IP:
			return -1
		case b.IP:
			return 1
		}
		return 0
	})
	return all
}

func (c *Client) prefer(p ControlPlane) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.last = p.IP
}

// Ask puts a question to one control plane after the other until one answers.
func (c *Client) Ask(ctx context.Context, question func(context.Context, ControlPlane) error) error {
	planes := c.inOrder()
	if len(planes) == 0 {
		return ErrNoControlPlane
	}
	var errs []error
	for i, p := range planes {
		limit := askLimit
		if end, ok := ctx.Deadline(); ok && i < len(planes)-1 {
			limit = min(limit, time.Until(end)/2) // so that one that hangs leaves time for the others
		}
		err := installer.Within(ctx, limit, func(ctx context.Context) error { return question(ctx, p) })
		if err == nil {
			c.prefer(p)
			return nil
		}
		errs = append(errs, &installer.HostError{Host: p.IP.String(), Err: err})
		if ctx.Err() != nil {
			break
		}
	}
	return errors.Join(errs...)
}

// Kubectl asks the cluster, or changes something in it that may be changed twice. Its output is not logged: it may hold secrets.
func (c *Client) Kubectl(ctx context.Context, args ...string) (out []byte, err error) {
	err = c.Ask(ctx, func(ctx context.Context, p ControlPlane) error {
		out, err = c.KubectlOn(ctx, p, args...)
		return err
	})
	return out, err
}

// KubectlOn asks the API server of one control plane, from there.
func (c *Client) KubectlOn(ctx context.Context, p ControlPlane, args ...string) ([]byte, error) {
	return c.kubectlOn(ctx, p, nil, args...)
}

// PatchMap merges a patch, as JSON, into a ConfigMap of kube-system. kubectl reads it: what stands on its command line every user
// of the host can see, and settings may hold secrets.
func (c *Client) PatchMap(ctx context.Context, name string, patch []byte) error {
	return c.Ask(ctx, func(ctx context.Context, p ControlPlane) error {
		_, err := c.kubectlOn(ctx, p, patch, "patch", "configmap", "-n", "kube-system", name, "--type", "merge", "--patch-file", "/dev/stdin")
		return err
	})
}

// kubectlOn is the same with something for kubectl to read.
func (c *Client) kubectlOn(ctx context.Context, p ControlPlane, stdin []byte, args ...string) ([]byte, error) {
	argv := slices.Concat([]string{
		"kubectl", "--kubeconfig", c.AdminConf, "--server=https://" + netip.AddrPortFrom(p.IP, installer.APIServerPort).String(),
		"--cache-dir", c.CacheDir, "--request-timeout=10s",
	}, args)
	res, err := p.Agent.Exec(ctx, agent.ExecRequest{Argv: argv, Stdin: stdin, TimeoutSeconds: int(askLimit / time.Second)}, nil)
	if err != nil {
		return nil, err
	}
	if res.Code != 0 {
		return nil, &installer.CommandError{Host: p.IP.String(), Command: shortKubectl(args), Code: res.Code, Tail: installer.Tail(string(res.Stderr), 5)}
	}
	out, err := res.Whole()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", shortKubectl(args), err)
	}
	return out, nil
}

// shortKubectl is a command of kubectl for messages, without the format of its output.
func shortKubectl(args []string) string {
	words := []string{"kubectl"}
	for i := 0; i < len(args); i++ {
		if args[i] == "-o" {
			i++
			continue
		}
		words = append(words, args[i])
	}
	return strings.Join(words, " ")
}

// query asks for objects with a template that prints lines of one word and values, quoted as Go does.
func (c *Client) query(ctx context.Context, template string, args ...string) ([]answerLine, error) {
	raw, err := c.Kubectl(ctx, slices.Concat([]string{"get"}, args, []string{"-o", "go-template=" + template})...)
	if err != nil {
		return nil, err
	}
	return readRecords(string(raw))
}

// answerLine is one line of an answer.
type answerLine struct {
	kind   string
	values []string
}

// value gives a value, empty if the line has not so many.
func (r answerLine) value(i int) string {
	if i >= len(r.values) {
		return ""
	}
	return r.values[i]
}

func (r answerLine) number(i int) int {
	f, err := strconv.ParseFloat(r.value(i), 64)
	if err != nil {
		return 0
	}
	return int(f)
}

// readRecords reads lines of a word and quoted values.
func readRecords(text string) ([]answerLine, error) {
	var out []answerLine
	for line := range strings.Lines(text) {
		kind, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		if kind == "" {
			continue
		}
		r := answerLine{kind: kind}
		for rest = strings.TrimSpace(rest); rest != ""; rest = strings.TrimSpace(rest) {
			quoted, err := strconv.QuotedPrefix(rest)
			if err != nil {
				return nil, fmt.Errorf("read what kubectl told: the line %.100q is not as asked for", line)
			}
			v, err := strconv.Unquote(quoted)
			if err != nil {
				return nil, fmt.Errorf("read what kubectl told: %.100q: %w", quoted, err)
			}
			r.values, rest = append(r.values, v), rest[len(quoted):]
		}
		out = append(out, r)
	}
	return out, nil
}
