#!/usr/bin/env bash
# The upstream registries as a connected builder would see them, on loopback:
# Debian's docker-registry over plain HTTP, holding the images of make.sh under
# <domain>/<path>, and a registries.conf that leads every domain to it.
#
#   registry.sh fill                 make the data directory, print its path
#   registry.sh conf  ADDR FILE      write a registries.conf for ADDR
#   registry.sh serve ADDR           serve in the foreground; end it by its pid
#   registry.sh start ADDR PIDFILE   serve in the background, return when it answers
#   registry.sh stop  PIDFILE
#
# ADDR is HOST:PORT on loopback. With UPSTREAM_SETS="cluster before conformance" in the
# environment it holds the images of those sets of make.sh (default: cluster). The
# served data is read-only, so that no test can change what the next one pulls.
# shellcheck source-path=SCRIPTDIR
set -euo pipefail
export LC_ALL=C

sets=${UPSTREAM_SETS:-cluster}
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
domains=(registry.k8s.io ghcr.io docker.io)

log() { printf '[%s] registry: %s\n' "$(date +%H:%M:%S)" "$*" >&2; }

die() {
	log "$*"
	exit 1
}

# configuration ROOT ADDR READONLY writes docker-registry's configuration.
configuration() {
	cat <<YAML
version: 0.1
log: {level: error, accesslog: {disabled: true}}
storage:
  filesystem: {rootdirectory: "$1"}
  maintenance: {readonly: {enabled: $3}, uploadpurging: {enabled: false}}
http: {addr: "$2"}
YAML
}

# answers ADDR asks once.
answers() { [[ $(curl -sS --noproxy '*' -m 2 -o /dev/null -w '%{http_code}' "http://$1/v2/" 2>/dev/null) == 200 ]]; }

# await ADDR PID waits until the registry answers; it ends early when the
# process does, which means that the port is taken.
await() {
	local try
	for ((try = 0; try < 100; try++)); do
		kill -0 "$2" 2>/dev/null || return 1
		! answers "$1" || return 0
		sleep 0.1
	done
	return 1
}

# fill makes the data directory of the sets once and prints its path.
fill() {
	local set key data cache temporary trees=()
	for set in $sets; do
		trees+=("$("$here/make.sh" "$set")")
	done
	cache=$(dirname "${trees[0]}")
	key=$({
		cat "${trees[@]/%//images/index.json}"
		declare -f push_all
	} | sha256sum | cut -c1-16)
	data=$cache/registry-$key
	if [[ ! -d $data ]]; then
		exec 8>"$cache/.registry.lock"
		flock 8
		if [[ ! -d $data ]]; then
			temporary=$(mktemp -d "$data.XXXXXX")
			# shellcheck disable=SC2064 # the directory of now
			trap "rm -rf '$temporary'" EXIT
			push_all "$temporary" "${trees[@]}"
			chmod 0755 "$temporary"
			sync -f "$temporary"
			mv -T "$temporary" "$data"
			trap - EXIT
		fi
		flock -u 8
		[[ $sets != cluster ]] || ln -sfn "${data##*/}" "$cache/registry-current"
	fi
	printf '%s\n' "$data"
}

# push_all DATA TREE… runs a writable registry over DATA for as long as it
# takes to copy every image of the trees' layouts into it.
push_all() {
	local data=$1 tree layout address pid name names status=0
	for _ in 1 2 3 4 5; do
		address=127.0.0.1:$((20000 + RANDOM % 10000))
		configuration "$data" "$address" false >"$data/config.yml"
		# It logs every blob that skopeo asks for before sending it as an error.
		docker-registry serve "$data/config.yml" >"$data/log" 2>&1 8>&- &
		pid=$!
		! await "$address" "$pid" || break
		kill "$pid" 2>/dev/null || true
		pid=
	done
	[[ -n $pid ]] || die "no temporary registry: $(tail -n 3 "$data/log")"
	for tree in "${@:2}"; do
		layout=$tree/images
		names=$(grep -o '"org.opencontainers.image.ref.name": "[^"]*"' "$layout/index.json" | cut -d'"' -f4)
		for name in $names; do
			log "copying $name"
			skopeo --insecure-policy copy --quiet --all --preserve-digests --dest-tls-verify=false \
				"oci:$layout:$name" "docker://$address/$name" >&2 || { status=1 && break 2; }
		done
	done
	kill "$pid"
	wait "$pid" 2>/dev/null || true
	((status == 0)) || die "copying $name failed: $(tail -n 3 "$data/log")"
	rm "$data/config.yml" "$data/log"
}

# conf ADDR FILE: with the location rewritten, a missing image is missing and
# nobody asks the internet for it.
conf() {
	local address=$1 file=$2 domain temporary
	temporary=$(mktemp "$file.XXXXXX")
	{
		printf 'unqualified-search-registries = ["docker.io"]\nshort-name-mode = "disabled"\n'
		for domain in "${domains[@]}"; do
			printf '\n[[registry]]\nprefix = "%s"\nlocation = "%s/%s"\ninsecure = true\n' "$domain" "$address" "$domain"
		done
		printf '\n[[registry]]\nprefix = "%s"\nlocation = "%s"\ninsecure = true\n' "$address" "$address"
	} >"$temporary"
	chmod 0644 "$temporary"
	mv -T "$temporary" "$file"
}

serve() {
	local address=$1 data
	data=$(fill)
	! answers "$address" || die "$address is already in use"
	# From a pipe: a file would stay behind.
	exec docker-registry serve /dev/fd/9 9< <(configuration "$data" "$address" true)
}

start() {
	local address=$1 pidfile=$2 pid
	fill >/dev/null
	# Otherwise the answer of the one that is there would pass for ours.
	! answers "$address" || die "$address is already in use"
	"${BASH_SOURCE[0]}" serve "$address" >"$pidfile.log" 2>&1 </dev/null &
	pid=$!
	if ! await "$address" "$pid"; then
		kill "$pid" 2>/dev/null || true
		cat "$pidfile.log" >&2
		die "no registry at $address"
	fi
	printf '%s\n' "$pid" >"$pidfile"
}

# stop ends the registry whose pid the file holds, if that is still one.
stop() {
	local pidfile=$1 pid
	[[ -e $pidfile ]] || return 0
	pid=$(<"$pidfile")
	if [[ $(cat "/proc/$pid/comm" 2>/dev/null) == docker-registry ]]; then
		kill "$pid"
		timeout 10 tail --pid="$pid" -f /dev/null || die "process $pid does not end"
	fi
	rm -f "$pidfile" "$pidfile.log"
}

usage() {
	sed -n '6,10s/^# *//p' "${BASH_SOURCE[0]}" >&2
	exit 2
}

case ${1:-}:$# in
fill:1 | conf:3 | serve:2 | start:3 | stop:2) "$@" ;;
*) usage ;;
esac
