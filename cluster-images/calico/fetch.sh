#!/usr/bin/env bash
# Fetches what the Kubefile copies. Run it on a connected machine; see --help.
# shellcheck source=../fetch-lib.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/../fetch-lib.sh"

version=v3.32.1
usage() {
	cat <<-'TEXT'
		Usage: ./fetch.sh [--version v3.32.1] [--checksums FILE]
		       ./fetch.sh --from DIR [--version v3.32.1]

		Fetches the charts of Calico and of its operator into charts/, checked against ../checksums.txt, and writes
		images/shim/CalicoImageList: what the operator starts, which its chart does not name. --from DIR takes
		DIR/calico/tigera-operator.tgz and DIR/calico/crd.projectcalico.org.v1.tgz instead and dials nothing.
	TEXT
}
options "$@"
[[ $version =~ ^v3\.[0-9]+\.[0-9]+$ ]] || die "$version is not a Calico version such as v3.32.1"

mkdir -p -- "$here/images/shim" "$here/charts"
new=$(mktemp -d "$here/charts/.new.XXXXXX")
trap 'rm -rf -- "$new"' EXIT
for chart in tigera-operator crd.projectcalico.org.v1; do
	if [[ -n $from ]]; then
		file=$from/calico/$chart.tgz
		[[ -f $file ]] || die "$file is missing"
	else
		file=$(pinned "$chart" "$version")
	fi
	tar -tzf "$file" "$chart/Chart.yaml" >/dev/null || die "$file is not the chart $chart"
	cp --reflink=auto -- "$file" "$new/$chart.tgz"
	chmod 0644 -- "$new/$chart.tgz"
done
mv -f -- "$new"/*.tgz "$here/charts/"

# The operator's own image is found in its chart. csi and node-driver-registrar are started only with
# installation.kubeletVolumePluginPath, key-cert-provisioner only with certificate management.
list=
for name in apiserver cni goldmane kube-controllers node pod2daemon-flexvol typha whisker whisker-backend; do
	list+=quay.io/calico/$name:$version$'\n'
done
printf '%s' "$list" >"$here/images/shim/.new"
mv -f -- "$here/images/shim/.new" "$here/images/shim/CalicoImageList"
say "charts/*.tgz and images/shim/CalicoImageList are ready; build with"
say "  sealbuild -t calico:$version $here"
