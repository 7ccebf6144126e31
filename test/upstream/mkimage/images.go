package main

import "slices"

// searchPath is what the images' processes find programs in; kubeadm's static
// pods name their commands without a directory.
const searchPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// versions are the tags; they come from the recipe, so that it stays the one
// place that names them.
type versions struct {
	kubernetes, etcd, coredns, pause, flannel, flannelCNI, busybox string
}

// images is everything the test upstream serves.
func images(v versions) []image {
	list := []image{
		kubernetes("kube-apiserver", v),
		kubernetes("kube-controller-manager", v),
		kubernetes("kube-scheduler", v),
		kubeProxy(v),
		{
			name:   "registry.k8s.io/etcd:" + v.etcd,
			layers: []layer{base(), binaries("etcd", "etcdctl", "etcdutl")},
			// Upstream's etcd image runs what it is told and nothing else.
			entrypoint: []string{"/usr/local/bin/etcd"},
			ports:      []string{"2379/tcp", "2380/tcp", "4001/tcp", "7001/tcp"},
		},
		{
			name:       "registry.k8s.io/coredns/coredns:" + v.coredns,
			layers:     []layer{base(), {comment: "coredns", files: []file{program("coredns", "programs/{arch}/coredns")}}},
			entrypoint: []string{"/coredns"},
			ports:      []string{"53/tcp", "53/udp"},
		},
		{
			name:       "registry.k8s.io/pause:" + v.pause,
			arches:     []string{"amd64", "arm64"},
			layers:     []layer{{comment: "pause", files: []file{program("pause", "programs/{arch}/pause")}}},
			entrypoint: []string{"/pause"},
		},
		flannel(v),
		{
			name: "ghcr.io/flannel-io/flannel-cni-plugin:" + v.flannelCNI,
			// Its one use is `cp -f /flannel DIR` in an init container.
			layers: []layer{shell(), {comment: "flannel CNI plugin", files: []file{program("flannel", "programs/{arch}/flannel-cni")}}},
			cmd:    []string{"/flannel"},
		},
		{
			name:   "docker.io/library/busybox:" + v.busybox,
			layers: []layer{base(), shell()},
			cmd:    []string{"sh"},
		},
	}
	return append(list, hello("1.0"), hello("1.1"))
}

func kubernetes(program string, v versions) image {
	return image{
		name:       "registry.k8s.io/" + program + ":" + v.kubernetes,
		layers:     []layer{base(), binaries(program)},
		entrypoint: []string{"/usr/local/bin/" + program},
	}
}

func kubeProxy(v versions) image {
	img := kubernetes("kube-proxy", v)
	img.layers = slices.Insert(img.layers, 1, netfilter())
	return img
}

func flannel(v versions) image {
	return image{
		name: "ghcr.io/flannel-io/flannel:" + v.flannel,
		layers: []layer{base(), netfilter(), shell(), {comment: "flanneld", files: []file{
			program("opt/bin/flanneld", "programs/{arch}/flanneld"),
		}}},
		entrypoint: []string{"/opt/bin/flanneld"},
	}
}

// hello comes for two architectures, so that bundles for more than one
// platform can be made and inspected without emulation.
func hello(version string) image {
	return image{
		name:       "ghcr.io/sealbuild/hello:" + version,
		arches:     []string{"amd64", "arm64"},
		layers:     []layer{base(), {comment: "hello", files: []file{program("hello", "programs/{arch}/hello-"+version)}}},
		entrypoint: []string{"/hello"},
		ports:      []string{"8080/tcp"},
		labels:     map[string]string{"org.opencontainers.image.version": version},
	}
}

func binaries(names ...string) layer {
	l := layer{comment: names[0]}
	for _, name := range names {
		l.files = append(l.files, program("usr/local/bin/"+name, "programs/{arch}/"+name))
	}
	return l
}

// base is what a static program needs beside itself.
func base() layer {
	return layer{comment: "CA bundle, accounts, temporary directory", files: []file{
		directory("tmp", 0o1777),
		directory("var/tmp", 0o1777),
		directory("root", 0o700),
		text("etc/passwd", "root:x:0:0:root:/root:/sbin/nologin\nnobody:x:65534:65534:nobody:/nonexistent:/sbin/nologin\nnonroot:x:65532:65532:nonroot:/home/nonroot:/sbin/nologin\n"),
		text("etc/group", "root:x:0:\nnobody:x:65534:\nnonroot:x:65532:\n"),
		text("etc/nsswitch.conf", "hosts: files dns\n"),
		{path: "etc/ssl/certs/ca-certificates.crt", from: "ca-certificates.crt", mode: 0o644},
	}}
}

// shell is one static busybox under the names that manifests call.
func shell() layer {
	files := []file{program("bin/busybox", "debian/bin/busybox")}
	return layer{comment: "busybox", files: append(files, applets("bin", "busybox",
		"sh", "ash", "cat", "chmod", "cp", "date", "echo", "env", "false", "grep", "hostname", "httpd", "id", "ls", "mkdir", "mv",
		"nc", "nslookup", "ping", "ps", "pwd", "rm", "sed", "sleep", "stat", "tail", "tar", "test", "timeout", "touch", "true", "wget")...)}
}

// netfilter is what kube-proxy and flanneld call to programme the kernel.
// The nf_tables flavour of iptables is the default, as it is in Debian; the
// legacy one stays reachable under its own name.
func netfilter() layer {
	l := layer{comment: "iptables, nft, ip, conntrack, ipset, modprobe", closure: []string{
		"usr/sbin/xtables-nft-multi", "usr/sbin/xtables-legacy-multi", "usr/sbin/iptables-*", "usr/sbin/ip6tables-*",
		"usr/lib/*/xtables/*.so", "usr/sbin/nft", "usr/sbin/conntrack", "usr/sbin/ipset", "bin/ip", "bin/kmod",
		"etc/protocols", "etc/services", "etc/iproute2/*",
	}}
	l.files = append(l.files, applets("usr/sbin", "xtables-nft-multi",
		"iptables", "iptables-save", "iptables-restore", "ip6tables", "ip6tables-save", "ip6tables-restore")...)
	l.files = append(l.files, applets("sbin", "/bin/kmod", "modprobe", "lsmod", "insmod", "rmmod")...)
	return l
}
