package kubeadm

import (
	"fmt"
	"slices"

	"go.yaml.in/yaml/v3"
)

// FollowMasters gives the ClusterConfiguration that a cluster keeps in its ConfigMap kubeadm-config with the addresses of the
// masters of now among the names of the API server's certificates, and without those that are gone. `kubeadm upgrade` and
// `kubeadm certs renew` make certificates by it. changed is false if it says so already.
func FollowMasters(clusterConfiguration []byte, masters, gone []string) (text []byte, changed bool, err error) {
	var doc object
	if err := yaml.Unmarshal(clusterConfiguration, &doc); err != nil {
		return nil, false, fmt.Errorf("ClusterConfiguration: %w", err)
	}
	if doc == nil {
		return nil, false, fmt.Errorf("ClusterConfiguration: it is empty")
	}
	had := listAt(doc, "apiServer", "certSANs")
	have := slices.DeleteFunc(union(had, masters), func(name string) bool { return slices.Contains(gone, name) && !slices.Contains(masters, name) })
	if slices.Equal(had, have) {
		return clusterConfiguration, false, nil
	}
	put(doc, toList(have), "apiServer", "certSANs")
	text, err = toYAML(doc)
	return text, true, err
}
