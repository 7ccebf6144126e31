package settings

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/agent"
	"github.com/sealbuild/sealbuild/installer/fleet"
	"github.com/sealbuild/sealbuild/installer/kubeadm"
)

// compare finds the differences of all that is not known to be as wanted. What kubeadm would write is rendered on the masters
// that need it, and on one for all hosts.
func (s *Settings) compare(ctx context.Context, st *State, t0 *fleet.Target, first kubeadm.Documents) error {
	todo := func(h *host) bool { return !h.known() }
	shared := slices.ContainsFunc(st.hosts, todo) || slices.ContainsFunc(st.maps, func(m *configMap) bool { return m.unsettled() || m.drifted() })
	if !shared {
		return nil
	}
	files, err := s.rendered(ctx, t0, first, !st.maps[2].gone())
	if err != nil {
		return t0.Failed(err)
	}
	if err := st.compareMaps(files); err != nil {
		return err
	}
	var hosts []*fleet.Target
	of := map[*fleet.Target]*host{}
	for _, h := range st.hosts {
		if todo(h) {
			hosts, of[h.Target] = append(hosts, h.Target), h
		}
	}
	return s.Each(ctx, hosts, func(ctx context.Context, t *fleet.Target) error {
		h, pods := of[t], files
		if t.Master && t != t0 {
			var err error
			if pods, err = s.rendered(ctx, t, h.docs, false); err != nil {
				return err
			}
		}
		return h.compare(pods, files[kubeletConfig])
	})
}

// compare finds the differences of a host: pods are its manifests as they are wanted, kubelet the configuration of all kubelets.
func (h *host) compare(pods map[string][]byte, kubelet []byte) error {
	note := func(name string, wanted []byte, fields []kubeadm.Difference, err error) error {
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if _, there := h.now[name]; len(fields) > 0 || !there {
			h.wanted[name], h.fields[name] = wanted, shown(fields)
		}
		return nil
	}
	config, err := kubeadm.KubeletConfigFor(h.now[kubeletConfig], kubelet)
	if err != nil {
		return err
	}
	if now, there := h.now[kubeletConfig]; there {
		fields, err := kubeadm.CompareConfig(kubeadm.Kubelet, now, config)
		if err := note(kubeletConfig, config, fields, err); err != nil {
			return err
		}
	} else if err := note(kubeletConfig, config, nil, nil); err != nil {
		return err
	}
	if now, there := h.now[kubeletFlags]; there {
		flags, fields, err := kubeadm.CompareArguments(now, h.args)
		if err := note(kubeletFlags, flags, fields, err); err != nil {
			return err
		}
	}
	for _, c := range kubeadm.Components() {
		if !h.Master {
			break
		}
		name, fields, err := manifest(c), []kubeadm.Difference(nil), error(nil)
		if now, there := h.now[name]; there {
			fields, err = kubeadm.ComparePod(c, now, pods[name])
		}
		if err := note(name, pods[name], fields, err); err != nil {
			return err
		}
	}
	return nil
}

// rendered has kubeadm write the files that it would write for the documents, into a directory of the cluster's own on a master,
// and reads them. They are by the paths where kubeadm would write them; if proxy is set, config.conf is kube-proxy's configuration.
func (s *Settings) rendered(ctx context.Context, t *fleet.Target, docs kubeadm.Documents, proxy bool) (out map[string][]byte, err error) {
	text, err := docs.YAML()
	if err != nil {
		return nil, err
	}
	dir := s.Dir("settings")
	defer func() {
		cctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), fleet.ConnectTimeout)
		defer cancel()
		err = errors.Join(err, t.Agent.Remove(cctx, []string{dir}))
	}()
	config := path.Join(dir, "kubeadm.yaml")
	if _, err := t.Agent.WriteFiles(ctx, []agent.File{{Path: config, Mode: 0o600, Content: text}}); err != nil {
		return nil, err
	}
	run := func(words ...string) ([]byte, error) {
		argv := slices.Concat([]string{"kubeadm", "init", "phase"}, words, []string{"--config", config})
		res, err := s.ExecAs(ctx, t, "settings", "compares its settings", agent.ExecRequest{Argv: argv, Env: map[string]string{"KUBEADM_INIT_DRYRUN_DIR": dir}})
		if err != nil {
			return nil, err
		}
		return res.Whole()
	}
	if _, err := run("control-plane", "all", "--dry-run"); err != nil {
		return nil, err
	}
	if _, err := run("kubelet-start", "--dry-run"); err != nil {
		return nil, err
	}
	out = map[string][]byte{}
	if proxy {
		objects, err := run("addon", "kube-proxy", "--print-manifest")
		if err != nil {
			return nil, err
		}
		if out[proxyKey], err = proxyConfig(objects); err != nil {
			return nil, err
		}
	}
	var names []string
	for _, name := range filesOf(t) {
		names = append(names, path.Join(dir, path.Base(name)))
	}
	found, err := t.Agent.ReadFiles(ctx, names)
	if err != nil {
		return nil, err
	}
	for _, name := range filesOf(t) {
		content, there := found[path.Join(dir, path.Base(name))]
		if !there {
			return nil, fmt.Errorf("this version of kubeadm has not rendered %s into the directory that it was given", path.Base(name))
		}
		out[name] = content
	}
	return out, nil
}

// proxyConfig finds kube-proxy's configuration among the objects that kubeadm prints.
func proxyConfig(objects []byte) ([]byte, error) {
	for dec := yaml.NewDecoder(bytes.NewReader(objects)); ; {
		var o struct {
			Kind string            `yaml:"kind"`
			Data map[string]string `yaml:"data"`
		}
		if err := dec.Decode(&o); err != nil {
			return nil, fmt.Errorf("kubeadm printed no configuration of kube-proxy: %w", err)
		}
		if o.Kind == "ConfigMap" && o.Data[proxyKey] != "" {
			return []byte(o.Data[proxyKey]), nil
		}
	}
}

// shown are differences without the values that are secret.
func shown(fields []kubeadm.Difference) []kubeadm.Difference {
	for i, d := range fields {
		name := d.Field[strings.LastIndex(d.Field, ".")+1:]
		secret := installer.SecretName(name)
		for _, value := range []*string{&fields[i].From, &fields[i].To} {
			if *value != "" && (secret || strings.Contains(*value, "://") && strings.Contains(*value, "@")) {
				*value = "(not shown)"
			}
		}
	}
	return fields
}
