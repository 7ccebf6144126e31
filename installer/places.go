package installer

import "path"

// Places on hosts.
const (
	DataRoot = "/var/lib/sealos"
	StubPath = DataRoot + "/bin/sealinstall" // as units and scripts know it; each run brings its own version beside it
	KubeDir  = "/etc/kubernetes"
	// AdminConf is the kubeconfig of the cluster's administrator on a master.
	AdminConf = KubeDir + "/admin.conf"
)

// Dir is a place of a cluster's own on its hosts.
func Dir(cluster string, elem ...string) string {
	return path.Join(append([]string{DataRoot, "data", cluster}, elem...)...)
}
