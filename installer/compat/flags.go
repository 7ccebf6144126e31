package compat

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"

	"go.yaml.in/yaml/v3"

	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/fleet"
	"github.com/sealbuild/sealbuild/installer/kubeadm"
	"github.com/sealbuild/sealbuild/installer/preflight"
	"github.com/sealbuild/sealbuild/installer/site"
)

// Files of a host that hold arguments and settings. Which of the two of the operator a kubelet reads depends on its unit.
const (
	kubeletConfig = "/var/lib/kubelet/config.yaml"
	kubeletFlags  = "/var/lib/kubelet/kubeadm-flags.env"
	kubeletOwn    = "/etc/default/kubelet"
	kubeletRedHat = "/etc/sysconfig/kubelet"
)

func manifestOf(component string) string {
	return path.Join(installer.KubeDir, "manifests", component+".yaml")
}

// setting is what the programs of the new version are to take.
type setting struct {
	host, name, remedy string // where it is set, and what to do
	program            string // that has the arguments
	args               []string
	gates              string // a list NAME=VALUE,… of a document, tried with the API server: all components know the same gates
	documents          []byte // for kubeadm to read
}

// flags finds arguments, feature gates and fields of documents that the new version does not have. The programs of the new version
// are asked, so there is no table that could be out of date.
func (c Compat) flags(ctx context.Context, from, to string) ([]preflight.Problem, error) {
	settings, out, err := c.settings(ctx, from)
	if err != nil {
		return nil, err
	}
	p, err := newPrograms(c.Payload, to)
	if err != nil {
		return append(out, untried(err)), nil
	}
	found, err := try(ctx, p, settings, to)
	out = append(out, found...)
	if err = errors.Join(err, p.close()); err != nil {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		out = append(out, untried(err))
	}
	return out, nil
}

// untried warns that the new programs could not be asked.
func untried(err error) preflight.Problem {
	return preflight.Problem{
		Check: "flags", Warning: true, Message: "arguments, feature gates and settings were not tried with the new programs: " + installer.Tell(err),
		Remedy: "run it on a machine of the hosts' architecture, with TMPDIR where programs may run, or read the release notes",
	}
}

// try has the new programs take settings.
func try(ctx context.Context, p *programs, settings []setting, to string) ([]preflight.Problem, error) {
	var out []preflight.Problem
	for _, s := range settings {
		var refused []refusal
		program := s.program
		var err error
		switch {
		case len(s.args) > 0:
			refused, err = tryArguments(ctx, p, s.program, s.args)
		case s.gates != "":
			program = "Kubernetes"
			refused, err = tryArguments(ctx, p, "kube-apiserver", []string{"--feature-gates=" + s.gates})
		case len(s.documents) > 0:
			program = "kubeadm"
			refused, err = tryDocuments(ctx, p, s.documents)
		}
		if err != nil {
			return out, err
		}
		for _, r := range refused {
			p := preflight.Problem{Host: s.host, Check: "flags", Message: r.inWords(program, to, s.name), Remedy: s.remedy}
			if s.name == kubeletFlags && slices.Contains(kubeadm.KubeletArgumentsOfKubeadm(), r.flag) {
				p.Warning, p.Remedy = true, "nothing to do: kubeadm has set it and takes it out itself; where it does not, the host goes back to what it ran before"
			}
			out = append(out, p)
		}
	}
	return out, nil
}

// inWords says what a program does not take of a place. It shows no values: some are secret.
func (r refusal) inWords(program, version, where string) string {
	switch {
	case r.gate != "" && r.fixed:
		return fmt.Sprintf("%s sets the feature gate %s to a value that %s does not allow any more", where, r.gate, version)
	case r.gate != "" && r.value:
		return fmt.Sprintf("%s sets the feature gate %s to what is neither true nor false", where, r.gate)
	case r.gate != "":
		return fmt.Sprintf("%s sets the feature gate %s, which %s does not have", where, r.gate, version)
	case r.flag != "" && r.value:
		return fmt.Sprintf("%s gives --%s a value that %s of %s does not take", where, r.flag, program, version)
	case r.flag != "":
		return fmt.Sprintf("%s sets --%s, which %s of %s does not have", where, r.flag, program, version)
	case r.field != "":
		return fmt.Sprintf("%s sets the field %s, which %s does not have", where, r.field, version)
	}
	return fmt.Sprintf("%s of %s does not take what %s says: %s", program, version, where, r.said)
}

// settings are those that are wanted, those that the cluster keeps, and those in force on each host. What cannot be read is a
// problem of its own.
func (c Compat) settings(ctx context.Context, from string) (out []setting, unread []preflight.Problem, err error) {
	docs, err := site.WantedOf(c.Site, kubeadm.Init, c.Master0(), false)
	if err != nil {
		return nil, nil, err
	}
	wanted := map[string][]byte{}
	for _, kind := range []string{kubeadm.Cluster, kubeadm.Kubelet, kubeadm.KubeProxy} {
		if wanted[kind], err = docs.Text(kind); err != nil {
			return nil, nil, err
		}
	}
	kept, err := c.keptDocuments(ctx)
	if err != nil {
		return nil, nil, err
	}
	files, err := c.settingFiles(ctx)
	if err != nil {
		return nil, nil, err
	}
	add := func(s setting, kind string, text []byte) {
		if len(text) == 0 {
			return
		}
		found, err := fromDocument(s, kind, text, wanted[kubeadm.Cluster])
		if err != nil {
			unread = append(unread, s.unreadable(err))
		}
		out = append(out, found...)
	}
	inDocuments := "with the bundle of " + from + ", change the documents: sealinstall apply -f CLUSTERFILE"
	inFile := "take it out of the file; what documents set there, out of these: sealinstall apply -f CLUSTERFILE with the bundle of " + from
	for _, kind := range slices.Sorted(maps.Keys(wanted)) {
		add(setting{name: "the " + kind + " that is wanted", remedy: inDocuments}, kind, wanted[kind])
	}
	for _, kind := range slices.Sorted(maps.Keys(kept)) {
		add(setting{name: "the ConfigMap kube-system/" + mapOf[kind].name, remedy: inDocuments}, kind, kept[kind])
	}
	for _, t := range c.Targets {
		s := setting{host: t.IP.String(), remedy: inFile}
		for _, s.program = range kubeadm.Components() {
			s.name = manifestOf(s.program)
			if s.args, err = manifestArguments(s.program, files[t][s.name]); err != nil {
				unread = append(unread, s.unreadable(err))
			} else if len(s.args) > 0 {
				out = append(out, s)
			}
		}
		add(setting{host: s.host, name: kubeletConfig, remedy: inFile}, kubeadm.Kubelet, files[t][kubeletConfig])
		for _, s.name = range []string{kubeletFlags, kubeletOwn, kubeletRedHat} {
			s.program, s.gates = "kubelet", ""
			if s.args = unitArguments(files[t][s.name]); len(s.args) > 0 {
				out = append(out, s)
				if s.gates = gatesIn(s.args); s.gates != "" {
					s.args = nil // kubelet looks at them only when it starts
					out = append(out, s)
				}
			}
		}
	}
	return out, unread, nil
}

// unreadable is the problem that something is not written as it has to be.
func (s setting) unreadable(err error) preflight.Problem {
	return preflight.Problem{Host: s.host, Check: "flags", Message: s.name + " cannot be read: " + installer.Tell(err), Remedy: preflight.MendIt}
}

// settingFiles reads the files of hosts.
func (c Compat) settingFiles(ctx context.Context) (map[*fleet.Target]map[string][]byte, error) {
	joined := fleet.Only(c.Targets, (*fleet.Target).InCluster)
	found := make([]map[string][]byte, len(joined))
	err := c.Each(ctx, joined, func(ctx context.Context, t *fleet.Target) (err error) {
		names := []string{kubeletConfig, kubeletFlags, kubeletOwn, kubeletRedHat}
		if t.Master {
			for _, component := range kubeadm.Components() {
				names = append(names, manifestOf(component))
			}
		}
		found[slices.Index(joined, t)], err = t.Agent.ReadFiles(ctx, names)
		return err
	})
	out := map[*fleet.Target]map[string][]byte{}
	for i, t := range joined {
		out[t] = found[i]
	}
	return out, err
}

// mapOf says in which ConfigMap of kube-system, and under which key, kubeadm keeps a document of a kind.
var mapOf = map[string]struct{ name, key string }{
	kubeadm.Cluster: {"kubeadm-config", "ClusterConfiguration"}, kubeadm.Kubelet: {"kubelet-config", "kubelet"}, kubeadm.KubeProxy: {"kube-proxy", "config.conf"},
}

// keptDocuments reads the documents that kubeadm keeps in the cluster, by kind. An upgrade by kubeadm begins with them.
func (c Compat) keptDocuments(ctx context.Context) (map[string][]byte, error) {
	out := map[string][]byte{}
	for kind, at := range mapOf {
		err := installer.Insist(ctx, c.APIPatience(), func(ctx context.Context) error {
			raw, err := c.Kube.Kubectl(ctx, "get", "configmap", "-n", "kube-system", at.name, "-o", "json", "--ignore-not-found")
			if err != nil || len(bytes.TrimSpace(raw)) == 0 {
				return err
			}
			var stored struct {
				Data map[string]string `json:"data"`
			}
			if err := json.Unmarshal(raw, &stored); err != nil {
				return fmt.Errorf("decode ConfigMap %s: %w", at.name, err)
			}
			out[kind] = []byte(stored.Data[at.key])
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return out, nil
}

// fromDocument is what a document sets; s says where it is. beside is a ClusterConfiguration of now: kubeadm reads others only with
// one, and for the version that it names.
func fromDocument(s setting, kind string, text, beside []byte) ([]setting, error) {
	var doc, cluster map[string]any
	if err := errors.Join(yaml.Unmarshal(text, &doc), yaml.Unmarshal(beside, &cluster)); err != nil {
		return nil, err
	}
	if doc == nil {
		return nil, errors.New("it holds no document")
	}
	read := s
	if kind != kubeadm.Cluster {
		read.documents = slices.Concat(hostOfNobody(cluster["apiVersion"]), beside, []byte("---\n"), text)
		out := []setting{read}
		if s.gates = gatesOf(doc["featureGates"]); s.gates != "" {
			out = append(out, s)
		}
		return out, nil
	}
	doc["kubernetesVersion"] = cluster["kubernetesVersion"]
	own, err := yaml.Marshal(doc)
	if err != nil {
		return nil, err
	}
	read.documents = slices.Concat(hostOfNobody(doc["apiVersion"]), own)
	out := []setting{read}
	for _, component := range kubeadm.Components() {
		s.program, s.args = component, argumentsOf(doc, componentFields[component])
		if len(s.args) > 0 {
			out = append(out, s)
		}
	}
	return out, nil
}

// hostOfNobody is an InitConfiguration without which kubeadm would look at the machine that it runs on: at its name, its addresses
// and its container runtimes.
func hostOfNobody(version any) []byte {
	return fmt.Appendf(nil, "apiVersion: %v\nkind: InitConfiguration\nlocalAPIEndpoint: {advertiseAddress: 192.0.2.1}\nnodeRegistration: {name: nobody, criSocket: unix:///nowhere}\n---\n", version)
}
