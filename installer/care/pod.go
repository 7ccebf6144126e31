package care

import (
	"fmt"
	"net/netip"

	"go.yaml.in/yaml/v3"
)

// Unit is the systemd service that keeps the virtual address alive on a worker, from before it joins until it is reset, and from
// the moment of a boot in which there is a network.
const Unit = "sealos-care"

// PodName is the name of the static pod that shows in the cluster whether the unit does, and of its manifest file (with .yaml).
const PodName = "kube-sealos-care"

// Description is by what systemd shows the unit. It tells everything that a unit of another version, or for another address, has
// differently: version names the program.
func Description(vip netip.AddrPort, version string) string {
	return fmt.Sprintf("virtual address %s of the control planes (%s)", vip, version)
}

// UnitFile renders the unit, which runs program.
func UnitFile(program, version string, vip netip.AddrPort) []byte {
	return fmt.Appendf(nil, `# Installed by sealos; the installer knows units of its own by this line.
[Unit]
Description=%s
Before=kubelet.service containerd.service
StartLimitIntervalSec=0

[Service]
ExecStart=%s care --vs %s --list %s
Restart=always
RestartSec=1
OOMScoreAdjust=-900

[Install]
WantedBy=multi-user.target
`, Description(vip, version), program, vip, ListFile)
}

// StaticPod renders the manifest that kubelet runs from its manifest directory. The pod forwards nothing: it logs what the unit
// says it does, and is ready while the unit follows its list and the virtual address answers.
func StaticPod(image string, vip netip.AddrPort) ([]byte, error) {
	type m = map[string]any
	command := func(what string) []string {
		return []string{"/usr/bin/sealinstall", "care", what, "--vs", vip.String(), "--list", ListFile}
	}
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
			// Where there is SELinux, only such a process may ask at a socket of the host.
			"securityContext": m{"seLinuxOptions": m{"type": "spc_t"}},
			"containers": []m{{
				"name":            "care",
				"image":           image,
				"imagePullPolicy": "IfNotPresent",
				"command":         command("--watch"),
				"readinessProbe":  m{"exec": m{"command": command("--check")}, "periodSeconds": 10, "timeoutSeconds": 8},
				"resources":       m{"requests": m{"cpu": "10m", "memory": "32Mi"}},
				"volumeMounts":    []m{{"name": "care", "mountPath": Dir, "readOnly": true}},
			}},
			"volumes": []m{{"name": "care", "hostPath": m{"path": Dir, "type": "DirectoryOrCreate"}}},
		},
	}
	out, err := yaml.Marshal(pod)
	if err != nil {
		return nil, fmt.Errorf("render the static pod: %w", err)
	}
	return out, nil
}
