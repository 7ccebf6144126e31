package compat

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// componentFields are the fields of a ClusterConfiguration that configure the static pods of a control plane.
var componentFields = map[string]string{"kube-apiserver": "apiServer", "kube-controller-manager": "controllerManager", "kube-scheduler": "scheduler"}

// argumentsOf are the extraArgs in a field of a ClusterConfiguration, of whichever version of kubeadm's API: a list of names and
// values, or a map.
func argumentsOf(doc map[string]any, field string) []string {
	part, _ := doc[field].(map[string]any)
	var out []string
	switch args := part["extraArgs"].(type) {
	case []any:
		for _, entry := range args {
			if arg, ok := entry.(map[string]any); ok {
				out = append(out, fmt.Sprintf("--%v=%v", arg["name"], arg["value"]))
			}
		}
	case map[string]any:
		for _, name := range slices.Sorted(maps.Keys(args)) {
			out = append(out, fmt.Sprintf("--%s=%v", name, args[name]))
		}
	}
	return out
}

// gatesOf writes the field featureGates of a document as an argument has it.
func gatesOf(value any) string {
	gates, _ := value.(map[string]any)
	var out []string
	for _, name := range slices.Sorted(maps.Keys(gates)) {
		out = append(out, fmt.Sprintf("%s=%v", name, gates[name]))
	}
	return strings.Join(out, ",")
}

// gatesIn are the feature gates among arguments.
func gatesIn(args []string) string {
	var out []string
	for i, arg := range args {
		if list, ok := strings.CutPrefix(arg, "--feature-gates="); ok {
			out = append(out, list)
		} else if arg == "--feature-gates" && i+1 < len(args) {
			out = append(out, args[i+1])
		}
	}
	return strings.Join(out, ",")
}

// manifestArguments are the arguments of a component in the manifest of its static pod; none if there is no manifest.
func manifestArguments(component string, manifest []byte) ([]string, error) {
	var pod struct {
		Spec struct {
			Containers []struct {
				Name    string   `yaml:"name"`
				Command []string `yaml:"command"`
				Args    []string `yaml:"args"`
			} `yaml:"containers"`
		} `yaml:"spec"`
	}
	if err := yaml.Unmarshal(manifest, &pod); err != nil {
		return nil, err
	}
	for _, c := range pod.Spec.Containers {
		line := slices.Concat(c.Command, c.Args)
		i := slices.IndexFunc(line, func(word string) bool { return path.Base(word) == component })
		switch {
		case c.Name != component && len(pod.Spec.Containers) > 1:
		case i >= 0:
			return line[i+1:], nil
		default: // the image's own entry point
			return slices.DeleteFunc(line, func(word string) bool { return !strings.HasPrefix(word, "-") }), nil
		}
	}
	return nil, nil
}

// unitArguments are the arguments that a file of variables (NAME="VALUE") gives to kubelet: its unit splits them at spaces.
func unitArguments(text []byte) []string {
	var out []string
	for line := range strings.Lines(string(text)) {
		name, value, ok := strings.Cut(strings.TrimSpace(line), "=")
		if !ok || name != "KUBELET_KUBEADM_ARGS" && name != "KUBELET_EXTRA_ARGS" {
			continue
		}
		value = strings.TrimSpace(value)
		if n := len(value); n > 1 && (value[0] == '"' || value[0] == '\'') && value[n-1] == value[0] {
			value = value[1 : n-1]
		}
		out = append(out, strings.Fields(value)...)
	}
	return out
}
