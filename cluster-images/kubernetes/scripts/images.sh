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

# pull_images: those of this image, which is in use from now on.
pull_images() {
	pull_all
	settle_pins "${refs[@]}"
}

# prepare_images: those of this image, which comes into use in an upgrade. All that were pinned stay so. The note comes first,
# so that what an upgrade pinned that was given up is found again.
prepare_images() {
	local all
	all=$(wanted_images | cat -- - "$(pins prepared)" | sort -u)
	note_pins prepared "$all"
	pull_all
}

# pull_all: all images at once, into refs; fails after the others have come, naming every one that did not.
pull_all() {
	local logs ref i=0 failed=0 pids=()
	refs=()
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
}

# Lists of pinned images in $state: "pinned" are those in use, "pinned-before" those in use before them, to which a host may be
# put back, "prepared" those that an upgrade has brought.
pins() { if [[ -f $state/$1 ]]; then printf '%s\n' "$state/$1"; else printf '/dev/null\n'; fi; }
note_pins() {
	printf '%s\n' "$2" >"$state/.$1.new"
	mv -f -- "$state/.$1.new" "$state/$1"
}

# settle_pins REF…: these are in use now. They stay pinned, and so do those in use before; what is older, or was only prepared,
# may be collected again. Labels come before lists: whatever is cut off, the next call finds what is left to do.
settle_pins() {
	local now former old
	now=$(printf '%s\n' "$@")
	former=$(cat -- "$(pins pinned)")
	[[ -n $former && $former != "$now" ]] || former=$(cat -- "$(pins pinned-before)")
	sort -u -- "$(pins pinned)" "$(pins pinned-before)" "$(pins prepared)" | while read -r old; do
		if [[ -n $old ]] && ! grep -qxF -- "$old" <<<"$now"$'\n'"$former"; then
			ctr_k8s images label "$old" io.cri-containerd.pinned= </dev/null >/dev/null 2>&1 || true
		fi
	done
	[[ -z $former ]] || note_pins pinned-before "$former"
	note_pins pinned "$now"
	rm -f -- "$state/prepared"
}
