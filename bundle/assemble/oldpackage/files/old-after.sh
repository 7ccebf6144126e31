#!/usr/bin/env bash
# Runs after shell/init.sh of the older package: containerd asks the registries of the cluster, and kubelet and the images of
# Kubernetes are looked at.
# shellcheck source-path=SCRIPTDIR source=../../../../cluster-images/kubernetes/scripts/lib.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"
# shellcheck source=../../../../cluster-images/kubernetes/scripts/images.sh
source "$rootfs/scripts/images.sh"
# shellcheck disable=SC2034 # images.sh reads it
image_list=$rootfs/etc/old-package-images

use_state cri
for name in containerd ctr; do
	have "$name" || die "shell/init.sh has installed no $name; this image was made of an older package, whose scripts install the container runtime"
done
BIN_DIR=$(dirname -- "$(command -v ctr)")
config=$(systemctl cat containerd 2>/dev/null | sed -nE 's/^ExecStart=.*[[:space:]](--config|-c)[ =]([^ ]+).*/\2/p' | tail -n 1)
: "${config:=/etc/containerd/config.toml}"

pause=
if [[ -n ${sandboxImage:-} ]]; then
	pause=$sandboxImage
	[[ $pause == */* ]] || pause=registry.k8s.io/$pause
elif [[ -s $image_list ]]; then
	pause=$(pause_image)
fi
yes() { case ${1,,} in true | 1 | yes) printf true ;; esac }

# adapt: from what containerd prints as its whole configuration to the one it is to have.
adapt() {
	awk -v certs="$certs_dir" -v root="$criData" -v pause="$pause" -v armor="$(yes "${disableApparmor:-}")" \
		-v oom="$(yes "${restrictOOMScoreAdj:-}")" -v systemd="$([[ ${cgroupDriver:-systemd} == cgroupfs ]] && printf false || printf true)" '
		# set KEY VALUE: in this line, if it is about that key; the indentation stays.
		function set(key, value) {
			if (value != "" && $1 == key && $2 == "=") $0 = substr($0, 1, match($0, /[^ \t]/) - 1) key " = " value
		}
		/^[ \t]*\[/ {
			section = $1
			gsub(/\047/, "\"", section)
			cri = section ~ /"io\.containerd\.(grpc\.v1\.cri|cri\.v1\.(images|runtime))"/
			registry = cri && section ~ /"\.registry\]$/
			# Mirrors and accounts of the former site; containerd takes them or a directory, not both.
			dropped = cri && section ~ /"\.registry\.(mirrors|configs|auths)/
			options = cri && section ~ /\.runtimes\.runc\.options\]$/
			if (!dropped) print
			if (options) print "SystemdCgroup = " systemd
			next
		}
		dropped || options && $1 == "SystemdCgroup" { next }
		section == "" { set("root", "\"" root "\"") }
		section == "" && $1 == "imports" { $0 = "imports = []" } # they are in what was printed
		registry && $1 == "config_path" { set("config_path", "\"" certs "\""); found = 1 }
		cri {
			set("disable_apparmor", armor)
			set("restrict_oom_score_adj", oom)
			if (pause != "") set(section ~ /\.pinned_images\]$/ ? "sandbox" : "sandbox_image", "\"" pause "\"")
		}
		{ print }
		END { if (!found) exit 3 }
	'
}
read_as=(config default)
if [[ -f $config ]]; then read_as=(--config "$config" config dump); fi
whole=$(mktemp -- "$state/.whole.XXXXXX")
containerd "${read_as[@]}" >"$whole" || die "containerd does not read $config, which shell/init.sh has written"
adapt <"$whole" >"$whole.new" ||
	die "$(containerd --version | cut -d' ' -f3) of containerd knows no directory of registries; v1.5 is the oldest that does"
if [[ -f $config ]]; then record conf "$config"; fi
install_text 0644 "$config" <"$whole.new"
rm -f -- "$whole" "$whole.new"

make_dir 0755 "$certs_dir/_default"
install_file 0644 "$rootfs/etc/registry_ca.crt" "$certs_dir/_default/ca.crt" conf
install_file 0600 "$rootfs/etc/hosts.toml" "$certs_dir/_default/hosts.toml" conf
[[ -e /etc/crictl.yaml ]] || install_file 0644 "$rootfs/etc/crictl.yaml" /etc/crictl.yaml conf
start_unit containerd
wait_for 90 containerd ctr_k8s version
systemctl is-active --quiet containerd || unit_failed containerd
rm -f -- "$state/restart"
say "containerd asks the registries of the cluster"

use_state kube
for name in kubelet kubeadm kubectl; do
	have "$name" || die "shell/init.sh has installed no $name"
done
version=$(kubelet --version) || die "kubelet does not run on this machine ($(uname -m)); is the package for another architecture?"
version=${version##* }
if [[ -n ${SEALOS_SYS_KUBE_VERSION:-} && $version != "$SEALOS_SYS_KUBE_VERSION" ]]; then
	die "the image says Kubernetes $SEALOS_SYS_KUBE_VERSION but the package holds kubelet $version; build it with --label version=$version"
fi
if ! systemctl cat kubelet >/dev/null 2>&1; then
	install_file 0644 "$rootfs/etc/kubelet.service" /etc/systemd/system/kubelet.service conf
	install_file 0644 "$rootfs/etc/10-kubeadm.conf" /etc/systemd/system/kubelet.service.d/10-kubeadm.conf conf
fi
systemctl daemon-reload
systemctl enable kubelet >/dev/null 2>&1 || die "systemctl enable kubelet failed; see systemctl status kubelet"
rm -f -- "$state/restart"
if [[ -s $image_list ]]; then pull_images; fi
say "ready for kubeadm $version"
