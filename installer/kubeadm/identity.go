package kubeadm

import (
	"cmp"
	"encoding/base64"
	"fmt"
	"net"
	"slices"
	"strings"
)

// impose sets what no layer may decide: what belongs to this host or to this run, and how hosts reach the API server.
func (c checked) impose(docs layer) {
	c.imposeCluster(docs[kindCluster])
	c.imposeRegistration(docs[kindInit])
	c.imposeRegistration(docs[kindJoin])
	put(docs[kindInit], c.nodeIP.String(), "localAPIEndpoint", "advertiseAddress")
	c.imposeJoin(docs[kindJoin], docs[kindInit])
	if textAt(docs[kindKubeProxy], "mode") == "ipvs" {
		// kube-proxy removes virtual servers that it does not know.
		excluded := listAt(docs[kindKubeProxy], "ipvs", "excludeCIDRs")
		put(docs[kindKubeProxy], toList(union([]string{hostPrefix(c.vip)}, excluded)), "ipvs", "excludeCIDRs")
	}
}

func (c checked) imposeCluster(cluster object) {
	cluster["kubernetesVersion"] = "v" + c.version.String()
	if c.ImageRepository != "" && textAt(cluster, "imageRepository") == "" {
		cluster["imageRepository"] = c.ImageRepository
		if textAt(cluster, "dns", "imageRepository") == "" {
			// kubeadm knows of no other registry than its own that the image of CoreDNS lies one level deeper.
			put(cluster, c.ImageRepository+"/coredns", "dns", "imageRepository")
		}
	}
	put(cluster, toList(union(c.requiredSANs(cluster), listAt(cluster, "apiServer", "certSANs"))), "apiServer", "certSANs")
}

// requiredSANs are the names under which clients of this cluster reach its API server.
func (c checked) requiredSANs(cluster object) []string {
	sans := []string{"127.0.0.1", c.endpoint.host}
	if host, _, err := net.SplitHostPort(textAt(cluster, "controlPlaneEndpoint")); err == nil {
		sans = append(sans, host)
	}
	sans = append(sans, c.vip.String())
	for _, master := range c.masters {
		sans = append(sans, master.String())
	}
	return union(sans, c.CertSANs)
}

// imposeRegistration sets the name of the node, over documents that all hosts share. Names of nodes are lower case, host names
// need not be.
func (c checked) imposeRegistration(command object) {
	put(command, strings.ToLower(c.Node.Hostname), "nodeRegistration", "name")
	if len(c.IgnorePreflight) > 0 {
		ignored := listAt(command, "nodeRegistration", "ignorePreflightErrors")
		put(command, toList(union(ignored, c.IgnorePreflight)), "nodeRegistration", "ignorePreflightErrors")
	}
}

// forgetResolvConf removes from an image's documents the file that kubelet gives to pods as resolv.conf: an image cannot know
// which the hosts have.
func (c checked) forgetResolvConf(image layer) {
	if c.ResolvConf == "" {
		return
	}
	delete(image[kindKubelet], "resolvConf")
	for _, kind := range []string{kindInit, kindJoin} {
		value, _ := get(image[kind], "nodeRegistration", "kubeletExtraArgs")
		if arguments, ok := value.([]any); ok {
			arguments = slices.DeleteFunc(slices.Clone(arguments), func(a any) bool { return entryName(a) == "resolv-conf" })
			put(image[kind], arguments, "nodeRegistration", "kubeletExtraArgs")
		}
	}
}

// DiscoveryFile gives the kubeconfig with which a host joins: the address of the API, its CA (PEM) and a bootstrap token.
// kubeadm could also find the CA by the token, once the control plane has signed that: it asks once, nearly always too early,
// and again only after five seconds.
func DiscoveryFile(in Input, ca []byte, token string) ([]byte, error) {
	in.Discovery = cmp.Or(in.Discovery, "given below")
	c, err := check(in)
	if err != nil {
		return nil, err
	}
	return fmt.Appendf(nil, `apiVersion: v1
kind: Config
clusters:
- name: kubernetes
  cluster:
    certificate-authority-data: %s
    server: https://%s
contexts:
- name: joining
  context:
    cluster: kubernetes
    user: joining
current-context: joining
users:
- name: joining
  user:
    token: %s
`, base64.StdEncoding.EncodeToString(ca), c.joinEndpoint(), token), nil
}

// imposeJoin sets the discovery of this join. That of a document belongs to an earlier one, except for how long to try.
func (c checked) imposeJoin(join, initial object) {
	join["discovery"] = object{"file": object{"kubeConfigPath": c.Discovery}}
	if c.Kind != JoinMaster {
		delete(join, "controlPlane")
		return
	}
	put(join, c.nodeIP.String(), "controlPlane", "localAPIEndpoint", "advertiseAddress")
	if _, set := get(join, "controlPlane", "localAPIEndpoint", "bindPort"); !set {
		// All masters listen on the port that the first one was given.
		port, _ := get(initial, "localAPIEndpoint", "bindPort")
		put(join, port, "controlPlane", "localAPIEndpoint", "bindPort")
	}
}

// union is first, then what more adds to it, without repetitions.
func union(first, more []string) []string {
	var all []string
	for _, text := range slices.Concat(first, more) {
		if text != "" && !slices.Contains(all, text) {
			all = append(all, text)
		}
	}
	return all
}
