// Package kubetest stands for kubectl in tests: it answers questions from lists of objects, and prints them by the templates that
// it is given, as kubectl does.
package kubetest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"text/template"

	"github.com/sealbuild/sealbuild/installer/agent"
)

// Cluster is what is there.
type Cluster struct {
	// Lists are objects as JSON, {"items": […]}, by the kinds as they are asked for ("pods", "nodes"). Other kinds have none.
	Lists map[string]string
	// Raw are answers of the API by their paths. The answer to a path with a query is found by both, or by the path alone.
	Raw map[string]string
	// Other answers what is no kubectl; nil refuses it.
	Other func(argv []string) (agent.ExecResult, error)

	mu    sync.Mutex
	asked []string
}

// Asked lists the questions that came, without formats.
func (c *Cluster) Asked() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.asked)
}

// Exec is what a machine of agenttest does with programs.
func (c *Cluster) Exec(_ context.Context, q agent.ExecRequest) (agent.ExecResult, error) {
	if q.Argv[0] != "kubectl" {
		if c.Other == nil {
			return agent.ExecResult{}, fmt.Errorf("not simulated: %v", q.Argv)
		}
		return c.Other(q.Argv)
	}
	out, err := c.kubectl(q.Argv[1:])
	if err != nil {
		return agent.ExecResult{Code: 1, Stderr: []byte("Error from server: " + err.Error() + "\n")}, nil
	}
	return agent.ExecResult{Stdout: out}, nil
}

func (c *Cluster) kubectl(args []string) ([]byte, error) {
	var words []string
	flags := map[string]string{}
	for i := 0; i < len(args); i++ {
		name, value, ok := strings.Cut(args[i], "=")
		switch {
		case !strings.HasPrefix(name, "-"):
			words = append(words, args[i])
		case ok || name == "--all-namespaces" || name == "--ignore-not-found":
			flags[name] = value
		case i+1 < len(args):
			i++
			flags[name] = args[i]
		}
	}
	c.mu.Lock()
	c.asked = append(c.asked, strings.TrimSpace(strings.Join(words, " ")+" "+flags["--raw"]))
	c.mu.Unlock()
	if words[0] != "get" {
		return nil, fmt.Errorf("not simulated: kubectl %v", words)
	}
	if at, ok := flags["--raw"]; ok {
		if out, ok := c.Raw[at]; ok {
			return []byte(out), nil
		}
		path, _, _ := strings.Cut(at, "?")
		if out, ok := c.Raw[path]; ok {
			return []byte(out), nil
		}
		return nil, fmt.Errorf("(NotFound): the server could not find the requested resource %s", at)
	}
	var list map[string]any
	if err := json.Unmarshal([]byte(c.listOf(words[1])), &list); err != nil {
		return nil, fmt.Errorf("the list of %s: %w", words[1], err)
	}
	items, _ := list["items"].([]any)
	list["items"] = slices.DeleteFunc(items, func(o any) bool {
		return !chosen(o, flags) || len(words) > 2 && below(o, "metadata", "name") != words[2]
	})
	var data any = list
	if len(words) > 2 {
		items, _ := list["items"].([]any)
		if _, gently := flags["--ignore-not-found"]; gently && len(items) == 0 {
			return nil, nil
		} else if len(items) == 0 {
			return nil, fmt.Errorf("(NotFound): %s %q not found", words[1], words[2])
		}
		data = items[0]
	}
	format, _ := strings.CutPrefix(flags["-o"], "go-template=")
	if flags["-o"] == "json" {
		return json.Marshal(data)
	}
	t, err := template.New("output").Parse(format)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	err = t.Execute(&out, data)
	return out.Bytes(), err
}

func (c *Cluster) listOf(kind string) string {
	if list, ok := c.Lists[kind]; ok {
		return list
	}
	return `{"items":[]}`
}

func chosen(o any, flags map[string]string) bool {
	namespace := flags["--namespace"]
	if namespace == "" {
		namespace = flags["-n"]
	}
	if namespace != "" && below(o, "metadata", "namespace") != namespace {
		return false
	}
	for pair := range strings.SplitSeq(flags["--selector"], ",") {
		if k, v, ok := strings.Cut(pair, "="); ok && below(o, "metadata", "labels", k) != v {
			return false
		}
	}
	_, node, ok := strings.Cut(flags["--field-selector"], "spec.nodeName=")
	return !ok || below(o, "spec", "nodeName") == node
}

func below(o any, path ...string) any {
	for _, key := range path {
		m, _ := o.(map[string]any)
		o = m[key]
	}
	return o
}
