package stepstest

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/sealbuild/sealbuild/installer/agent"
)

// api gives the error for which a machine gets no answer from the API server at an address.
func (s *Site) api(m *Machine, kubeconfig, at string) error {
	switch {
	case !m.tree.has(kubeconfig):
		return fmt.Errorf("stat %s: no such file or directory", kubeconfig)
	case !s.serves(s.machine(at)):
		return fmt.Errorf("the connection to the server %s:6443 was refused", at)
	case !strings.Contains(m.tree.text(kubeconfig), base64.StdEncoding.EncodeToString([]byte(s.kube.ca))):
		return errors.New("x509: certificate signed by unknown authority")
	}
	return nil
}

// kubectlFlags splits the arguments of kubectl into words and flags, by their long names.
func kubectlFlags(args []string) (words []string, flags map[string]string) {
	alone := []string{
		"--all-namespaces", "--previous", "--overwrite", "--ignore-not-found", "--force", "--ignore-daemonsets", "--delete-emptydir-data", "--disable-eviction",
		"--no-headers", "--now", "--all",
	}
	long := map[string]string{"-n": "--namespace", "-l": "--selector", "-A": "--all-namespaces", "-f": "--filename", "--output": "-o"}
	flags = map[string]string{}
	for i := 0; i < len(args); i++ {
		name, value, ok := strings.Cut(args[i], "=")
		if other := long[name]; other != "" {
			name = other
		}
		switch {
		case !strings.HasPrefix(name, "-") || args[i] == "-":
			words = append(words, args[i])
		case ok:
			flags[name] = value
		case slices.Contains(alone, name):
			flags[name] = "true"
		case i+1 < len(args):
			i++
			flags[name] = args[i]
		}
	}
	return words, flags
}

func (c *call) kubectl(ctx context.Context, args []string, q agent.ExecRequest) (out string, err error) {
	if slices.Contains(args, "view") {
		for name := range strings.SplitSeq(q.Env["KUBECONFIG"], ":") {
			out += c.tree.text(name)
		}
		return out, nil
	}
	words, flags := kubectlFlags(args)
	if flags["--kubeconfig"] == "" {
		flags["--kubeconfig"] = adminConf
	}
	do := func(s *Site, m *Machine, then func(workloads) error) error {
		defer s.remembering()()
		at := m.tree.lookup("apiserver.cluster.local")
		if server, ok := flags["--server"]; ok {
			at = strings.TrimSuffix(strings.TrimPrefix(server, "https://"), ":6443")
		}
		if err := s.api(m, flags["--kubeconfig"], at); err != nil {
			return err
		}
		if strings.HasPrefix(flags["--raw"], "/readyz") && s.machine(at) != nil && !isReadyz(s.machine(at)) {
			return errors.New("error from server (InternalError): an error on the server (\"[-]poststarthook/start-service-ip-repair-controllers failed: reason withheld\") has prevented the request from succeeding")
		}
		w := workloads{s}
		w.tick()
		return then(w)
	}
	once := func(s *Site, m *Machine) error {
		return do(s, m, func(s workloads) error {
			out, err = s.ask(words, flags, q.Stdin)
			return err
		})
	}
	again := func(then func(workloads) error) error {
		return c.quietly(func(s *Site, m *Machine) error { return do(s, m, then) })
	}
	what := "kubectl " + strings.Join(words, " ")
	switch words[0] {
	case "get", "logs":
		return out, c.quietly(once)
	case "drain":
		if err := c.happen("step", what); err != nil {
			return "", err
		}
		out, err := c.drain(ctx, words[1], flags, again)
		if err != nil {
			return out, err
		}
		return out, c.happen("step", what+": done")
	}
	if err := c.step(what, once); err != nil {
		return "", err
	}
	if words[0] == "delete" && strings.HasPrefix(words[1], "pod") && flags["--wait"] != "false" && flags["--force"] == "" {
		err := c.waitGone(ctx, words, flags, again)
		return out, err
	}
	return out, nil
}

// waitGone waits until pods are gone, as kubectl delete does.
func (c *call) waitGone(ctx context.Context, words []string, flags map[string]string, ask func(func(workloads) error) error) error {
	for {
		gone := true
		err := ask(func(s workloads) error {
			for _, name := range words[2:] {
				if i, err := s.findPod(flags["--namespace"], name); err == nil && !s.kube.pods[i].deleted.IsZero() {
					gone = false
				}
			}
			return nil
		})
		if err != nil || gone {
			return err
		}
		if err := sleep(ctx, c.session.site.Pace.Pod/2); err != nil {
			return err
		}
	}
}

func (s workloads) ask(words []string, flags map[string]string, stdin []byte) (string, error) {
	notFound := func(kind, name string) error {
		return fmt.Errorf("error from server (NotFound): %s %q not found", kind, name)
	}
	switch strings.Join(words[:min(2, len(words))], " ") {
	case "get":
		if node, ok := strings.CutSuffix(flags["--raw"], "/proxy/stats/summary"); ok {
			return s.stats(strings.TrimPrefix(node, "/api/v1/nodes/"))
		}
		return "ok", nil
	case "get daemonset":
		return "daemonset.apps/kube-proxy\n", nil
	case "delete node":
		for _, name := range words[2:] {
			if !s.kube.has(name) && flags["--ignore-not-found"] == "" {
				return "", notFound("nodes", name)
			}
			delete(s.kube.nodes, name) // and a kubelet that runs does not bring it back
		}
		return "", nil
	case "label node", "annotate node":
		return "", s.label(words[0] == "annotate", words[2], words[3:], flags["--overwrite"] != "")
	case "taint node", "taint nodes":
		return "", s.taint(words[2], words[3:], flags["--overwrite"] != "")
	case "delete pod", "delete pods":
		if len(words) > 2 {
			var errs []error
			for _, name := range words[2:] {
				err := s.deletePod(flags["--namespace"], name, flags["--force"] != "" && flags["--grace-period"] == "0")
				if err != nil && flags["--ignore-not-found"] == "" {
					errs = append(errs, err)
				}
			}
			return "", errors.Join(errs...)
		}
		_, name, _ := strings.Cut(flags["--field-selector"], "spec.nodeName=")
		if flags["--force"] != "" {
			s.kube.pods = slices.DeleteFunc(slices.Clone(s.kube.pods), func(p pod) bool { return p.node == name && !p.app.Kept })
		}
		for _, m := range s.machines {
			if m.node() == name {
				m.proxyAPI = m.tree.lookup("apiserver.cluster.local")
			}
		}
		return "", nil
	case "delete " + policyKinds:
		s.unapply(words[2:])
		return "", nil
	case "rollout status":
		return s.rolloutProxy(words), nil
	case "rollout restart":
		if words[len(words)-1] == "kube-proxy" {
			return s.rolloutProxy(words), nil
		}
		kind, name, _ := strings.Cut(words[2], "/")
		if len(words) > 3 {
			name = words[3]
		}
		for i := range s.kube.apps {
			if a := &s.kube.apps[i]; a.Name == name && a.Namespace == flags["--namespace"] && strings.EqualFold(a.Kind, strings.TrimSuffix(kind, ".apps")) {
				a.round++
				return "", nil
			}
		}
		return "", notFound("deployments.apps", name)
	}
	switch words[0] {
	case "apply":
		return "", s.apply(stdin)
	case "patch":
		return "", s.patchConfig(words[1:], flags, stdin)
	case "get":
		return s.list(words[1], words[2:], flags)
	case "logs":
		return s.logs(words[1])
	case "cordon", "uncordon":
		return "", s.cordon(words[1], words[0] == "cordon")
	case "create":
		if flags["--raw"] != "" {
			return s.raw(flags["--raw"], stdin)
		}
	}
	return "", fmt.Errorf("not simulated: kubectl %v", words)
}
