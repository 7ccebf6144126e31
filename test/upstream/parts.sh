# shellcheck shell=bash
# shellcheck disable=SC2154 # variables of make.sh
# How each part is made. Sourced by make.sh, which sets: here, cache, arch, the
# versions, and for the parts made earlier the variables named after them.
# Every function gets an empty directory and fills it.

# go_build DIR OUTPUT PACKAGE [LDFLAGS] [TAGS] [FLAG…]
go_build() {
	log "  go build ${3##*/} -> ${2##*/}"
	CGO_ENABLED=0 go -C "$here/$1" build -trimpath -buildvcs=false -ldflags "-s -w ${4:-}" -tags "${5:-}" "${@:6}" -o "$2" "$3"
}

make_kubernetes() {
	local major minor name x=k8s.io/component-base/version
	IFS=. read -r major minor _ <<<"${KUBERNETES_TAG#v}"
	# Without the version kubeadm takes itself for a development build and
	# asks the network for the newest release.
	for name in kubeadm kubelet kubectl kube-apiserver kube-controller-manager kube-scheduler kube-proxy; do
		go_build kubernetes "$1/$name" "k8s.io/kubernetes/cmd/$name" \
			"-X $x.gitVersion=$KUBERNETES_TAG -X $x.gitMajor=$major -X $x.gitMinor=$minor -X $x.gitTreeState=clean"
	done
}

make_etcd() {
	go_build etcd "$1/etcd" go.etcd.io/etcd/server/v3
	go_build etcd "$1/etcdctl" go.etcd.io/etcd/etcdctl/v3
	go_build etcd "$1/etcdutl" go.etcd.io/etcd/etcdutl/v3
}

make_coredns() {
	go_build coredns "$1/coredns" github.com/coredns/coredns
}

make_containerd() {
	local name module=github.com/containerd/containerd/v2
	for name in containerd containerd-shim-runc-v2 ctr; do
		go_build containerd "$1/$name" "$module/cmd/$name" \
			"-X $module/version.Version=$CONTAINERD_VERSION" "no_btrfs no_zfs no_devmapper"
	done
}

# flanneld's udp backend is C on amd64; the module itself holds a file that
# says "not supported" for every other architecture. Taking that one, in a copy
# of the module, keeps a C compiler and its version out of the recipe.
make_flannel() {
	local module=github.com/flannel-io/flannel source=$1/.source
	mkdir "$source"
	go -C "$here/flannel" mod download "$module"
	cp -r "$(go -C "$here/flannel" list -m -f '{{.Dir}}' "$module")" "$source/module"
	chmod -R u+w "$source/module"
	(cd "$source/module/pkg/backend/udp" && rm ./*_amd64.* && sed -i '/^\/\/go:build/d; /^\/\/ +build/d' udp.go)
	cp "$here/flannel/go.mod" "$here/flannel/go.sum" "$source/"
	# The program records this path, so it must be the same on every machine.
	go mod edit -replace "$module=./module" "$source/go.mod"
	go_build "$(realpath --relative-to="$here" "$source")" "$1/flanneld" "$module" "-X $module/pkg/version.Version=$FLANNEL_TAG"
	rm -r "$source"
}

make_cni() {
	local plugin module=github.com/containernetworking/plugins
	mkdir "$1/plugins" "$1/flannel"
	for plugin in main/bridge main/loopback main/ptp main/host-device ipam/host-local ipam/static \
		meta/portmap meta/firewall meta/bandwidth meta/tuning; do
		go_build cni "$1/plugins/${plugin#*/}" "$module/plugins/$plugin" \
			"-X $module/pkg/utils/buildversion.BuildVersion=$CNI_VERSION"
	done
	go_build flannel-cni "$1/flannel/flannel" "$module/plugins/meta/flannel" \
		"-X $module/pkg/utils/buildversion.BuildVersion=v0.9.1"
}

make_helm() {
	go_build helm "$1/helm" helm.sh/helm/v4/cmd/helm "-X helm.sh/helm/v4/internal/version.version=$HELM_VERSION"
}

make_crictl() {
	local module=sigs.k8s.io/cri-tools
	go_build crictl "$1/crictl" "$module/cmd/crictl" \
		"-X $module/pkg/version.Version=$(go -C "$here/crictl" list -m -f '{{.Version}}' "$module")"
}

# What images made for sealos bring along, and ours do without.
make_sealos() {
	go_build sealos "$1/registry" ./registry
	go_build sealos "$1/image-cri-shim" ./image-cri-shim
}

# Our own programs, for two architectures: bundles for more than one platform
# are made from them.
make_programs() {
	local target version
	for target in amd64 arm64; do
		mkdir "$1/$target"
		GOARCH=$target go_build . "$1/$target/pause" ./pause "-X main.version=$PAUSE_TAG"
		for version in 1.0 1.1; do
			GOARCH=$target go_build . "$1/$target/hello-$version" ./hello "-X main.version=$version"
		done
	done
}

# packages DIR NAME…: the packages with everything they depend on, unpacked into
# DIR/root without installing: an empty package database makes apt resolve the
# whole closure. packages.txt says what they were.
packages() {
	local file
	mkdir -p "$1/archives/partial" "$1/root"
	if ! apt-get -o Dir::State::status=/dev/null -o Debug::NoLocking=1 -o "Dir::Cache::archives=$1/archives/" \
		--no-install-recommends --download-only -qq -y install "${@:2}" >&2; then
		log "apt-get found not every package; run apt-get update and try again"
		return 1
	fi
	for file in "$1"/archives/*.deb; do
		dpkg-deb -x "$file" "$1/root"
		printf '%s  %s\n' "$(sha256sum <"$file" | cut -d' ' -f1)" "$(basename "$file")"
	done >"$1/packages.txt"
	rm -r "$1/archives"
}

make_debian() {
	packages "$1" iptables nftables ipset conntrack kmod iproute2 netbase busybox-static runc ca-certificates
}

make_images() {
	local input=$1/.input
	mkdir -p "$input/programs"
	cp -al "$programs/amd64" "$programs/arm64" "$input/programs/"
	ln "$kubernetes"/kube-* "$etcd"/* "$coredns"/* "$flannel"/* "$input/programs/$arch/"
	ln "$cni/flannel/flannel" "$input/programs/$arch/flannel-cni"
	ln -s "$debian/root" "$input/debian"
	find "$debian/root/usr/share/ca-certificates/" -name '*.crt' -print0 | sort -z | xargs -0 cat >"$input/ca-certificates.crt"
	go_build . "$input/mkimage" ./mkimage
	log "  writing layers"
	KUBERNETES_TAG=$KUBERNETES_TAG ETCD_TAG=$ETCD_TAG COREDNS_TAG=$COREDNS_TAG PAUSE_TAG=$PAUSE_TAG FLANNEL_TAG=$FLANNEL_TAG \
		FLANNEL_CNI_TAG=$FLANNEL_CNI_TAG BUSYBOX_TAG=$BUSYBOX_TAG "$input/mkimage" -input "$input" -output "$1"
	rm -r "$input"
}

# Kubernetes' own end-to-end tests, the runner that starts them, and the
# programs and files of the images they use.
make_e2e() {
	local source
	log "  go test -c k8s.io/kubernetes/test/e2e -> e2e.test"
	CGO_ENABLED=0 go -C "$here/e2e" test -c -trimpath -buildvcs=false -ldflags "-s -w" -o "$1/e2e.test" k8s.io/kubernetes/test/e2e
	go_build e2e "$1/ginkgo" github.com/onsi/ginkgo/v2/ginkgo
	go_build e2e "$1/agnhost" k8s.io/kubernetes/test/images/agnhost
	go_build e2e "$1/sample-apiserver" k8s.io/sample-apiserver
	go_build . "$1/keepenv" ./keepenv
	go_build e2e "$1/nnp" k8s.io/kubernetes/test/images/nonewprivs
	source=$(go -C "$here/e2e" list -m -f '{{.Dir}}' k8s.io/kubernetes)
	mkdir "$1/files"
	cp "$source"/test/images/agnhost/porter/localhost.{crt,key} "$source"/test/images/{kitten,nautilus}/html/*.jpg "$1/files/"
	cp "$source/test/images/kitten/html/data.json" "$1/files/kitten.json"
	cp "$source/test/images/nautilus/html/data.json" "$1/files/nautilus.json"
	chmod -R u+w "$1"
}

make_e2e_debian() {
	packages "$1" busybox-static bash-static curl bind9-dnsutils bind9-host netcat-openbsd iproute2 iperf netbase util-linux libc-bin \
		nginx ca-certificates
}

make_e2e_images() {
	local input=$1/.input
	mkdir -p "$input/programs/$arch" "$input/e2e"
	ln "$e2e"/{agnhost,sample-apiserver,nnp,keepenv} "$input/programs/$arch/"
	ln "$e2e/files"/* "$input/e2e/"
	ln -s "$e2e_debian/root" "$input/debian"
	"$e2e_debian/root/bin/busybox" --list >"$input/applets.txt"
	find "$e2e_debian/root/usr/share/ca-certificates/" -name '*.crt' -print0 | sort -z | xargs -0 cat >"$input/ca-certificates.crt"
	go_build . "$input/mkimage" ./mkimage
	log "  writing layers"
	"$input/mkimage" -set conformance -input "$input" -output "$1/images"
	rm -r "$input"
}
