package kubeadm

import (
	"cmp"
	"encoding/json"
	"net"
	"net/netip"
	"strconv"
	"strings"
)

const (
	// AuditPolicyPath is where the installer puts the audit policy that the API server is told to read.
	AuditPolicyPath = "/etc/kubernetes/audit-policy.yml" //docs:file masters: what the API server audits
	// DefaultEtcdDataDir is where kubeadm itself puts etcd's data.
	DefaultEtcdDataDir = "/var/lib/etcd" //docs:file masters: data of etcd, unless the Clusterfile names another directory
	// AuditLogDir holds the audit log on every master.
	AuditLogDir = "/var/log/kubernetes" //docs:file masters: logs of the audit
	// century is 100 years, the validity of every certificate: on a site without network nobody renews them.
	century      = "876000h0m0s"
	apiPort      = 6443
	podSubnet    = "100.64.0.0/10"
	serviceRange = "10.96.0.0/22"
)

// defaults is the lowest layer, in canonical form.
func (c checked) defaults() layer {
	return layer{
		kindInit:      c.defaultInit(),
		kindCluster:   c.defaultCluster(),
		kindJoin:      c.defaultJoin(),
		kindKubelet:   c.defaultKubelet(),
		kindKubeProxy: c.defaultKubeProxy(),
	}
}

func (c checked) defaultInit() object {
	return object{
		"nodeRegistration": c.defaultRegistration(),
		"localAPIEndpoint": object{"bindPort": number(apiPort)},
	}
}

func (c checked) defaultJoin() object {
	return object{"nodeRegistration": c.defaultRegistration()}
}

func (c checked) defaultRegistration() object {
	registration := object{
		// Its checks refuse kernels and cgroup set-ups that work.
		"ignorePreflightErrors": []any{"SystemVerification"},
		"imagePullPolicy":       c.pullPolicy(),
		// Without it a host with several networks registers the wrong address.
		"kubeletExtraArgs": []any{argument("node-ip", c.nodeIP.String())},
	}
	if c.CRISocket != "" {
		registration["criSocket"] = socketURL(c.CRISocket)
	}
	if c.SingleNode {
		registration["taints"] = []any{}
	}
	return registration
}

// pullPolicy keeps kubeadm from pulling images where kubelet has a service of its own for that, such as image-cri-shim of
// sealos. kubeadm would ask the container runtime, which does not find the registry without that service.
func (c checked) pullPolicy() string {
	if c.ImageSocket != "" && socketURL(c.ImageSocket) != socketURL(c.CRISocket) {
		return "Never"
	}
	return "IfNotPresent"
}

func (c checked) defaultCluster() object {
	apiServerVolumes := []any{
		volume("audit", AuditPolicyPath, "File", true),
		volume("audit-log", AuditLogDir, "DirectoryOrCreate", false),
	}
	apiServer := object{
		"extraArgs": []any{
			argument("audit-log-format", "json"),
			argument("audit-log-maxage", "7"),
			argument("audit-log-maxbackup", "10"),
			argument("audit-log-maxsize", "100"),
			argument("audit-log-path", AuditLogDir+"/audit.log"),
			argument("audit-policy-file", AuditPolicyPath),
			argument("enable-aggregator-routing", "true"),
			// A server that is told to stop says so at /readyz, and serves until the balancers of all nodes have seen it. kubelet
			// gives a static pod 30 seconds to end: the rest is for the requests that run then.
			argument("shutdown-delay-duration", "10s"),
		},
	}
	controllerManager := object{"extraArgs": []any{
		argument("bind-address", c.anyAddress()),
		argument("cluster-signing-duration", "876000h"),
	}}
	scheduler := object{"extraArgs": []any{argument("bind-address", c.anyAddress())}}
	if c.LocalTime {
		localTime := volume("localtime", "/etc/localtime", "File", true)
		apiServerVolumes = append(apiServerVolumes, localTime)
		controllerManager["extraVolumes"] = []any{clone(localTime)}
		scheduler["extraVolumes"] = []any{clone(localTime)}
	}
	apiServer["extraVolumes"] = apiServerVolumes
	cluster := object{
		"apiServer":            apiServer,
		"controllerManager":    controllerManager,
		"scheduler":            scheduler,
		"controlPlaneEndpoint": c.APIEndpoint,
		"networking": object{
			"dnsDomain":     "cluster.local",
			"podSubnet":     podSubnet,
			"serviceSubnet": serviceRange,
		},
		"etcd": object{"local": object{
			"dataDir": cmp.Or(c.EtcdDataDir, DefaultEtcdDataDir),
			"extraArgs": []any{
				// etcd's own 100 ms and 1 s are for fast disks: on a slow one the leader is deposed while it
				// waits for its log, and the API refuses meanwhile. A dead leader is replaced within 5 s.
				argument("election-timeout", "2500"),
				argument("heartbeat-interval", "250"),
				argument("listen-metrics-urls", "http://"+net.JoinHostPort(c.anyAddress(), "2381")),
			},
		}},
		"encryptionAlgorithm": "ECDSA-P256",
	}
	if c.Name != "" {
		cluster["clusterName"] = c.Name
	}
	cluster["certificateValidityPeriod"] = century
	cluster["caCertificateValidityPeriod"] = century
	return cluster
}

func (c checked) defaultKubelet() object {
	kubelet := object{
		"failSwapOn":           true,
		"maxPods":              number(110),
		"podPidsLimit":         number(-1),
		"serializeImagePulls":  false,
		"rotateCertificates":   true,
		"cgroupsPerQOS":        true,
		"hairpinMode":          "promiscuous-bridge",
		"healthzBindAddress":   c.anyAddress(),
		"healthzPort":          number(10248),
		"containerLogMaxSize":  "10Mi",
		"containerLogMaxFiles": number(5),
		"evictionHard": object{
			"memory.available":  "100Mi",
			"nodefs.available":  "10%",
			"nodefs.inodesFree": "5%",
			"imagefs.available": "10%",
		},
	}
	if c.ResolvConf != "" {
		kubelet["resolvConf"] = c.ResolvConf
	}
	return kubelet
}

func (c checked) defaultKubeProxy() object {
	mode := "iptables"
	if c.IPVS {
		mode = "ipvs"
	}
	return object{"mode": mode, "metricsBindAddress": net.JoinHostPort(c.anyAddress(), "10249")}
}

func argument(name, value string) object { return object{"name": name, "value": value} }

func volume(name, path, pathType string, readOnly bool) object {
	v := object{"name": name, "hostPath": path, "mountPath": path, "pathType": pathType}
	if readOnly {
		v["readOnly"] = true
	}
	return v
}

func number(n int) json.Number { return json.Number(strconv.Itoa(n)) }

// socketURL gives a bare path the scheme that kubeadm insists on.
func socketURL(socket string) string {
	if strings.HasPrefix(socket, "/") {
		return "unix://" + socket
	}
	return socket
}

// anyAddress is the wildcard of the hosts' address family.
func (c checked) anyAddress() string {
	if c.nodeIP.Is4() {
		return "0.0.0.0"
	}
	return "::"
}

// hostPrefix is the one-address network of an address: /32 or /128.
func hostPrefix(addr netip.Addr) string {
	return netip.PrefixFrom(addr, addr.BitLen()).String()
}
