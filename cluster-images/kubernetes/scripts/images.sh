#!/usr/bin/env bash
# The container images that Kubernetes itself is made of; sourced after lib.sh.
# shellcheck disable=SC2154 # lib.sh sets what is used here

image_list=$rootfs/images/shim/DefaultImageList

# listed_images: the image list without comments, blanks and Windows line ends.
listed_images() {
	[[ -f $image_list ]] || die "images/shim/DefaultImageList is missing from the cluster image; fetch.sh writes it"
	sed -e 's/\r$//' -e 's/#.*//' -e 's/[[:space:]]//g' -e '/^$/d' "$image_list"
}

# pause_image: the sandbox image of this Kubernetes version.
pause_image() {
	local ref
	ref=$(listed_images | grep -E '(^|/)pause[:@]' | head -n 1) || true
	[[ -n $ref ]] || die "no pause image in $image_list; set sandboxImage"
	printf '%s\n' "$ref"
}

# wanted_images: control-plane images only where a control plane runs.
wanted_images() {
	if [[ $SEALOS_SYS_RUN_MODE == *master* ]]; then
		listed_images
	else
		listed_images | grep -E '/(pause|kube-proxy|coredns)[:@]' || true
	fi
}

ctr_k8s() { "$BIN_DIR/ctr" --address "${SEALOS_SYS_CRI_ENDPOINT#unix://}" --namespace k8s.io "$@"; }

# image_ready REF: complete, unpacked and pinned.
image_ready() {
	[[ $(ctr_k8s images check -q "name==$1,labels.\"io.cri-containerd.pinned\"==pinned" 2>/dev/null) == "$1" ]]
}

# pull_image REF: pulls and pins. Pinned images survive kubelet's garbage collection, which on a full disk would
# otherwise remove what no running container uses at that moment.
pull_image() {
	local ref=$1 try
	image_ready "$ref" && return 0
	for try in 1 2 3; do
		# --skip-metadata: the bundle holds this platform only, the image index may name others.
		timeout -- "${imagePullTimeout:-900}" "$BIN_DIR/ctr" --address "${SEALOS_SYS_CRI_ENDPOINT#unix://}" --namespace k8s.io \
			images pull --local --skip-metadata --hosts-dir "$certs_dir" --label io.cri-containerd.pinned=pinned "$ref" && return 0
		printf 'attempt %s failed\n' "$try" >&2
		sleep "$try"
	done
	return 1
}

# pull_images: all of them at once; fails after the others have come, naming every one that did not.
pull_images() {
	local logs ref i=0 failed=0 refs=() pids=()
	logs=$(mktemp -d -- "$state/.pull.XXXXXX") # goes with the rest where this is killed
	while read -r ref; do
		refs+=("$ref")
		pull_image "$ref" </dev/null >/dev/null 2>"$logs/$i" &
		pids+=("$!")
		i=$((i + 1))
	done < <(wanted_images)
	((i > 0)) || die "$image_list names no image"
	for i in "${!pids[@]}"; do
		if wait "${pids[$i]}"; then
			say "has ${refs[$i]}"
		else
			failed=1
			printf '%s: error: cannot pull %s from the registries %s:\n' "$script" "${refs[$i]}" "${SEALOS_SYS_REGISTRY_HOSTS:-}" >&2
			{ grep '^ctr: ' "$logs/$i" || cat -- "$logs/$i"; } | tail -n 3 | sed 's/^/  /' >&2
		fi
	done
	rm -rf -- "$logs"
	((failed == 0)) || die "images are missing; does the registry answer from this host (port $registryPort), and was the bundle built with this image list?"
	unpin_old "${refs[@]}"
}

# unpin_old REF…: after an upgrade, images that are no longer wanted may be collected again.
unpin_old() {
	local old
	if [[ -f $state/pinned ]]; then
		while read -r old; do
			if ! printf '%s\n' "$@" | grep -qxF -- "$old"; then
				ctr_k8s images label "$old" io.cri-containerd.pinned= </dev/null >/dev/null 2>&1 || true
			fi
		done <"$state/pinned"
	fi
	printf '%s\n' "$@" >"$state/.pinned.new"
	mv -f -- "$state/.pinned.new" "$state/pinned"
}
