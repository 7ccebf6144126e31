package care

import (
	"fmt"
	"net/netip"

	"go.yaml.in/yaml/v3"
)

// Unit is the transient systemd service that keeps the virtual address alive on a worker, from before it joins until the
// cluster's own pod does.
const Unit = "sealos-care"

// PodName is the name of the static pod and of its manifest file (with .yaml).
const PodName = "kube-sealos-care"

// Args is the command line of the care command for these servers, without the program.
func Args(vip netip.AddrPort, servers []netip.AddrPort, mode string) []string {
	args := []string{"care", "--vs", vip.String(), "--mode", mode}
	for _, s := range servers {
		args = append(args, "--rs", s.String())
	}
	return args
}

// StaticPod renders the manifest that kubelet runs from its manifest directory.
func StaticPod(image string, vip netip.AddrPort, servers []netip.AddrPort, mode string) ([]byte, error) {
	type m = map[string]any
	pod := m{
		"apiVersion": "v1",
		"kind":       "Pod",
		"metadata": m{
			"name":      PodName,
			"namespace": "kube-system",
			"labels":    m{"component": PodName, "tier": "control-plane"},
		},
		"spec": m{
			"hostNetwork":       true,
			"priorityClassName": "system-node-critical",
			"containers": []m{{
				"name":            "care",
				"image":           image,
				"imagePullPolicy": "IfNotPresent",
				"command":         append([]string{"/usr/bin/sealinstall"}, Args(vip, servers, mode)...),
				"resources":       m{"requests": m{"cpu": "10m", "memory": "32Mi"}},
				"securityContext": m{"privileged": true},
				"volumeMounts":    []m{{"name": "modules", "mountPath": "/lib/modules", "readOnly": true}},
			}},
			"volumes": []m{{"name": "modules", "hostPath": m{"path": "/lib/modules", "type": "DirectoryOrCreate"}}},
		},
	}
	out, err := yaml.Marshal(pod)
	if err != nil {
		return nil, fmt.Errorf("render the static pod: %w", err)
	}
	return out, nil
}
