package installer

import "path"

// Places on hosts.
const (
	DataRoot = "/var/lib/sealos"
	// StubPath is the installer as units and scripts know it; each run brings its own version beside it.
	StubPath = DataRoot + "/bin/sealinstall" //docs:file hosts: the installer without its payload, which units, scripts and later commands run
	KubeDir  = "/etc/kubernetes"
	// AdminConf is the kubeconfig of the cluster's administrator on a master.
	AdminConf = KubeDir + "/admin.conf"
)

// Dir is a place of a cluster's own on its hosts.
func Dir(cluster string, elem ...string) string {
	return path.Join(append([]string{DataRoot, "data", cluster}, elem...)...)
}
