package kubeadm

// EtcdDataDir gives the directory of etcd's data that the documents ask for, the later over the earlier; empty if they name
// none. Documents with errors are skipped: rendering reports them.
func EtcdDataDir(docs ...[]byte) string {
	dir := ""
	for _, doc := range docs {
		parsed, err := parseLayer("", [][]byte{doc})
		if err != nil {
			continue
		}
		if set := textAt(parsed[kindCluster], "etcd", "local", "dataDir"); set != "" {
			dir = set
		}
	}
	return dir
}
