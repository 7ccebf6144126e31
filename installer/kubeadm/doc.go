// Package kubeadm renders the documents that kubeadm reads. It is pure: no
// file, no clock, no network; the same Input gives the same bytes.
//
// Three layers are merged, the later one winning: the built-in defaults, the cluster image's etc/kubeadm.yml, and the user's
// documents. Then the installer sets what no layer may decide: this node's own name and address, the token, the version, and
// the certificate names without which nodes could not reach the API server.
//
// Merging: maps merge key by key; scalars and lists replace; lists whose entries are known by name (extraArgs,
// kubeletExtraArgs, extraEnvs, extraVolumes) merge by that name. A null removes what a lower layer set, and in a list merged by
// name so does an entry that has nothing but a name. The directives of Kubernetes' strategic merge patches act as well:
// "$patch: delete" in a map or entry removes it, and "$patch: replace" in a map, or in an entry of its own in a list merged by
// name, drops all that lower layers had there.
//
// Documents of kubeadm.k8s.io v1beta2, v1beta3 and v1beta4 are accepted side by side and written in the one version that the
// Kubernetes to install takes: v1beta4 from 1.31 on, v1beta3 before. What the older version cannot express is an error that
// names the field, never a silent loss.
package kubeadm
