package preflight

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Settings is what the checks need of the configuration for kubeadm and kubelet.
type Settings struct {
	Minor          int // of the Kubernetes version: 36 of v1.36.3
	Pods, Services []netip.Prefix
	FailCgroupV1   bool
	Evict          map[string]string // signal to threshold
	ignored        []string          // ignorePreflightErrors
	EtcdDir        string            // of etcd's data; empty if the operator brings an etcd
}

func (k Settings) ignores(check string) bool {
	return slices.ContainsFunc(k.ignored, func(s string) bool { return strings.EqualFold(s, check) || strings.EqualFold(s, "all") })
}

// threshold gives how much of a total must stay free, so that kubelet does not evict pods.
func (k Settings) threshold(signal string, total uint64) uint64 {
	text := k.Evict[signal]
	if percent, ok := strings.CutSuffix(text, "%"); ok {
		p, err := strconv.ParseFloat(percent, 64)
		if err != nil || p < 0 || p > 100 {
			return 0
		}
		return uint64(float64(total) / 100 * p)
	}
	units := []struct {
		suffix string
		bytes  uint64
	}{{"Ki", 1 << 10}, {"Mi", 1 << 20}, {"Gi", 1 << 30}, {"Ti", 1 << 40}, {"k", 1e3}, {"M", 1e6}, {"G", 1e9}, {"T", 1e12}, {"", 1}}
	for _, u := range units {
		if number, ok := strings.CutSuffix(text, u.suffix); ok {
			n, err := strconv.ParseFloat(number, 64)
			if err != nil || n < 0 {
				return 0
			}
			return uint64(n * float64(u.bytes))
		}
	}
	return 0
}

// ReadSettings reads the documents that kubeadm is given.
func ReadSettings(text []byte) (Settings, error) {
	k := Settings{FailCgroupV1: true}
	for dec := yaml.NewDecoder(strings.NewReader(string(text))); ; {
		var d struct {
			Kind             string            `yaml:"kind"`
			FailCgroupV1     *bool             `yaml:"failCgroupV1"`
			EvictionHard     map[string]string `yaml:"evictionHard"`
			NodeRegistration struct {
				IgnorePreflightErrors []string `yaml:"ignorePreflightErrors"`
			} `yaml:"nodeRegistration"`
		}
		if err := dec.Decode(&d); err != nil {
			if errors.Is(err, io.EOF) {
				return k, nil
			}
			return k, fmt.Errorf("read the configuration for kubeadm: %w", err)
		}
		switch d.Kind {
		case "KubeletConfiguration":
			k.Evict = d.EvictionHard
			k.FailCgroupV1 = d.FailCgroupV1 == nil || *d.FailCgroupV1
		case "InitConfiguration":
			k.ignored = d.NodeRegistration.IgnorePreflightErrors
		}
	}
}

// MinorOf reads 36 out of v1.36.3; 0 when there is none.
func MinorOf(version string) int {
	parts := strings.Split(strings.TrimPrefix(version, "v"), ".")
	if len(parts) < 2 || parts[0] != "1" {
		return 0
	}
	n, err := strconv.Atoi(parts[1])
	if err != nil {
		return 0
	}
	return n
}
