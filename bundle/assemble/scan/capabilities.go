package scan

import (
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"helm.sh/helm/v4/pkg/chart/common"
	"k8s.io/client-go/kubernetes/scheme"
)

// capabilities of a cluster of that version: what charts ask .Capabilities
// for. Helm's library has an old version's unless told, and knows groups only.
func capabilities(version string) (*common.Capabilities, error) {
	kube, err := common.ParseKubeVersion(version)
	if err != nil {
		return nil, fmt.Errorf("kubernetes version %q: %w", version, err)
	}
	major, err := strconv.Atoi(kube.Major)
	if err != nil {
		return nil, fmt.Errorf("kubernetes version %q: %w", version, err)
	}
	minor, err := strconv.Atoi(kube.Minor)
	if err != nil {
		return nil, fmt.Errorf("kubernetes version %q: %w", version, err)
	}
	caps := common.DefaultCapabilities.Copy()
	caps.KubeVersion, caps.APIVersions = *kube, served(major, minor)
	return caps, nil
}

// served lists group/version and group/version/Kind of what that version
// serves by default, from the life cycle that the API types declare.
func served(major, minor int) common.VersionSet {
	var out []string
	for gvk, typ := range scheme.Scheme.AllKnownTypes() {
		if gvk.Version == "__internal" || strings.Contains(gvk.Version, "alpha") ||
			strings.HasSuffix(gvk.Kind, "List") || strings.HasSuffix(gvk.Kind, "Options") {
			continue
		}
		object := reflect.New(typ).Interface()
		if o, ok := object.(interface{ APILifecycleIntroduced() (int, int) }); ok {
			if ma, mi := o.APILifecycleIntroduced(); before(major, minor, ma, mi) {
				continue
			}
		}
		if o, ok := object.(interface{ APILifecycleRemoved() (int, int) }); ok {
			if ma, mi := o.APILifecycleRemoved(); ma > 0 && !before(major, minor, ma, mi) {
				continue
			}
		}
		out = append(out, gvk.GroupVersion().String(), gvk.GroupVersion().String()+"/"+gvk.Kind)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func before(major, minor, thanMajor, thanMinor int) bool {
	return major < thanMajor || major == thanMajor && minor < thanMinor
}
