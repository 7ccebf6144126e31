package kubeadm

import (
	"fmt"
	"slices"
	"time"
)

// DefaultAuditPolicy is for images that bring none: who did what when, without
// the content of requests, and without the noise of the system asking itself.
const DefaultAuditPolicy = `apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: None
  verbs: [get, list, watch]
- level: None
  resources:
  - group: coordination.k8s.io
    resources: [leases]
  - group: ""
    resources: [events]
- level: Metadata
`

// Shared renders the documents of a whole cluster, for an operator to look at and to change: the layers merged, without what
// belongs to one host or is found out while installing. Given back as UserDocs of an Input they change nothing.
func Shared(in Input) ([]byte, error) {
	in.Kind, in.CRISocket, in.ImageSocket, in.ResolvConf, in.SingleNode = Init, "", "", "", false
	c, err := check(in)
	if err != nil {
		return nil, err
	}
	base := c.defaults()
	for _, kind := range []string{kindInit, kindJoin} {
		// node-ip is each host's own, and whether kubeadm pulls depends on the image.
		cut(base[kind], "nodeRegistration", "kubeletExtraArgs")
		cut(base[kind], "nodeRegistration", "imagePullPolicy")
	}
	cut(base[kindKubeProxy], "mode") // asked of the hosts' kernels
	docs, err := c.layersOver(base)
	if err != nil {
		return nil, err
	}
	if _, err := c.settingsOf(docs); err != nil {
		return nil, err
	}
	cut(docs[kindCluster], "kubernetesVersion")
	for _, kind := range []string{kindInit, kindJoin} {
		cut(docs[kind], "nodeRegistration", "name")
	}
	cut(docs[kindInit], "localAPIEndpoint", "advertiseAddress")
	cut(docs[kindJoin], "discovery")
	result, err := c.write(docs, kinds())
	if err != nil {
		return nil, err
	}
	return result.YAML()
}

// WithCertificates returns docs with a further document, where one is needed, that makes the API server's certificates valid
// for all of sans beside those that docs ask for, and valid for so long. No sans and zero ask for nothing.
func WithCertificates(docs [][]byte, sans []string, validity time.Duration) ([][]byte, error) {
	user, err := parseLayer("user", docs)
	if err != nil {
		return nil, err
	}
	more := object{}
	has := listAt(user[kindCluster], "apiServer", "certSANs")
	if all := union(has, sans); len(all) > len(has) {
		put(more, toList(all), "apiServer", "certSANs")
	}
	if validity > 0 && textAt(user[kindCluster], "certificateValidityPeriod") != validity.String() {
		more["certificateValidityPeriod"] = validity.String()
	}
	if len(more) == 0 {
		return docs, nil
	}
	text, err := toYAML(more)
	if err != nil {
		return nil, err
	}
	return append(slices.Clone(docs), fmt.Appendf(nil, "apiVersion: %s\nkind: %s\n%s", apiV1beta4, kindCluster, text)), nil
}
