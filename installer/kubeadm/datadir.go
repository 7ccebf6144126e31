package kubeadm

// EtcdDataDir is where the documents, the later ones over the earlier, want etcd's data; empty where they say nothing.
// What is wrong with them is told when they are rendered.
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
