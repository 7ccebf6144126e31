#!/usr/bin/env bash
# kube-conformance: runs Kubernetes' own conformance tests against the cluster of this control plane, and says how it went.
# shellcheck source=report.sh
set -euo pipefail
export LC_ALL=C

here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd -P)
source "$here/scripts/report.sh"

usage() {
	cat <<-'TEXT'
		Usage: kube-conformance all                 every conformance test; the serial and disruptive ones at the end
		       kube-conformance quick               one or two of each area, a few minutes
		       kube-conformance --focus REGEX       those conformance tests whose name matches

		  --report DIR     where the report goes (default ./conformance-TIME); must not exist
		  --procs N        tests at the same time (default 4)
		  --skip REGEX     leave out those that match
		  --fail-fast      stop at the first failure
		  --list           name what would run, and run nothing
		  --kubeconfig F   how to reach the cluster (default $KUBECONFIG, else /etc/kubernetes/admin.conf)

		The tests make namespaces, pods, taints and webhooks, evict pods, and remove what they made. A cluster that serves
		users is no place for "all". The report holds e2e.log, junit_01.xml, PRODUCT.yaml and README.md, as the conformance
		programme of the CNCF asks for, and verdict.txt. Exit status: 0 every test passed, 1 not, 2 usage.
	TEXT
}
die() {
	printf 'kube-conformance: error: %s\n' "$*" >&2
	exit 1
}
usage_error() {
	printf 'kube-conformance: %s; see kube-conformance --help\n' "$*" >&2
	exit 2
}

what=
focus=
skip=
report=
procs=4
list=
extra=()
kubeconfig=${KUBECONFIG:-/etc/kubernetes/admin.conf}
while (($# > 0)); do
	case $1 in
	-h | --help) usage && exit 0 ;;
	all | quick)
		[[ -z $what ]] || usage_error "one of all, quick and --focus"
		what=$1
		;;
	--fail-fast) extra+=("$1") ;;
	--list) list=1 ;;
	--focus | --skip | --report | --procs | --kubeconfig)
		if (($# < 2)) || [[ -z $2 ]]; then usage_error "$1 needs a value"; fi
		printf -v "${1#--}" '%s' "$2"
		shift
		;;
	*) usage_error "unknown argument $1" ;;
	esac
	shift
done
[[ -z $focus || -z $what ]] || usage_error "one of all, quick and --focus"
[[ -n $what || -n $focus ]] || usage_error "what is to run? all, quick or --focus REGEX"
[[ $procs =~ ^[1-9][0-9]*$ ]] || usage_error "--procs $procs is not a number"
: "${report:=conformance-$(date -u +%Y%m%dT%H%M%SZ)}"

# The selection, as ginkgo takes it. Names in quick.txt are literal; ginkgo wants patterns.
ginkgo=("$here/opt/e2e/ginkgo" --no-color --silence-skips --timeout=12h --label-filter=Conformance)
[[ -z $focus ]] || ginkgo+=("--focus=$focus")
[[ -z $skip ]] || ginkgo+=("--skip=$skip")
names=0
if [[ $what == quick ]]; then
	while IFS= read -r name; do
		[[ -n $name && $name != '#'* ]] || continue
		ginkgo+=("--focus=$(sed 's/[][\.*^$+?(){}|/]/\\&/g' <<<"$name")")
		names=$((names + 1))
	done <"$here/quick.txt"
fi

# A directory in memory for the one file that holds a key, and for what is read of the dry run.
memory=/run
[[ -w $memory ]] || memory=${XDG_RUNTIME_DIR:-/dev/shm}
work=$(mktemp -d "$memory/kube-conformance.XXXXXX")
pid=
finish() {
	if [[ -n $pid ]] && kill -0 "$pid" 2>/dev/null; then
		kill -TERM "$pid" 2>/dev/null || true
		wait "$pid" 2>/dev/null || true
	fi
	rm -rf -- "$work"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

# What the tests and their kubectl leave in a home or in /tmp, also when they are only listed, goes with the directory.
export HOME=$work TMPDIR=$work

total=$(cd "$work" && "${ginkgo[@]}" --dry-run "$here/opt/e2e/e2e.test" -- --kubeconfig="$work/none" --report-dir="$work" >"$work/dry.log" 2>&1 &&
	sed -nE 's/^Ran ([0-9]+) of [0-9]+ Specs.*/\1/p' "$work/dry.log") || die "the tests could not be listed:
$(tail -n 20 "$work/dry.log")"
[[ $total != 0 ]] || die "no conformance test matches"
if ((names)) && [[ $total != "$names" && -z $skip ]]; then
	die "quick.txt names $names tests and $total have such names; was it written for another version of Kubernetes?"
fi
if [[ -n $list ]]; then
	results "$work/junit_01.xml" | awk -F '\t' '$1 == "passed" && $3 !~ /^\[[A-Za-z]*Suite\]/ { print $3 }' | sort
	exit 0
fi

kubectl() { command kubectl --kubeconfig "$kubeconfig" --cache-dir "$work/cache" "$@"; }
version=$(kubectl version -o json 2>"$work/error" | sed -nE '/serverVersion/,$ s/.*"gitVersion": "([^"]*)".*/\1/p') || version=
[[ -n $version ]] || die "the cluster does not answer: $(tail -n 3 "$work/error")"

# The tests hand the server's address to pods, where the name that kubeconfigs of this cluster use is not known.
server=
for address in $(kubectl get endpointslices -n default kubernetes -o jsonpath='{range .endpoints[*]}{.addresses[0]}{"\n"}{end}'); do
	port=$(kubectl get endpointslices -n default kubernetes -o jsonpath='{.ports[0].port}')
	if kubectl --server "https://$address:$port" get --raw /readyz >/dev/null 2>&1; then
		server=https://$address:$port
		break
	fi
done
[[ -n $server ]] || die "no API server answers at an address of the Service kubernetes"
(umask 077 && kubectl config view --raw --flatten --minify >"$work/kubeconfig")
command kubectl --kubeconfig "$work/kubeconfig" config set-cluster "$(kubectl config view --minify -o jsonpath='{.clusters[0].name}')" --server "$server" >/dev/null

# Nodes where ordinary pods may go.
nodes=$(kubectl get nodes -o jsonpath='{range .items[*]}{.spec.unschedulable}{" "}{.spec.taints[*].effect}{"\n"}{end}' | grep -cvwE 'true|NoSchedule|NoExecute' || true)
((nodes > 0)) || die "no node takes ordinary pods (kubectl get nodes)"

mkdir -- "$report" 2>/dev/null || die "cannot make the directory $report: it exists, or the one above it does not"
report=$(cd -- "$report" && pwd -P)
printf 'Kubernetes %s at %s; nodes for pods: %d; tests: %d, %d at a time; report: %s\n' "$version" "$server" "$nodes" "$total" "$procs" "$report"
kubectl get nodes -o wide >"$report/nodes.txt"
started=$SECONDS

(
	cd "$work"
	export PATH="${BIN_DIR:-/usr/bin}:$PATH"
	exec "${ginkgo[@]}" --procs="$procs" "${extra[@]}" "$here/opt/e2e/e2e.test" -- \
		--disable-log-dump --node-schedulable-timeout=2m --system-pods-startup-timeout=5m --kubeconfig="$work/kubeconfig" --num-nodes="$nodes" --report-dir="$report"
) >"$report/e2e.log" 2>&1 &
pid=$!

# One line each half minute: a run of an hour must not look like one that hangs.
told=$SECONDS
while kill -0 "$pid" 2>/dev/null; do
	sleep 1
	((SECONDS - told < 30)) || {
		told=$SECONDS
		printf '%5d s: %d of %d done, %d failed\n' $((SECONDS - started)) "$(done_so_far <"$report/e2e.log")" "$total" "$(failed_so_far <"$report/e2e.log")"
	}
done
status=0
wait "$pid" || status=$?
pid=

results "$report/junit_01.xml" >"$work/results" 2>/dev/null || true
product "$version" >"$report/PRODUCT.yaml"
reproduce "$version" "$what" >"$report/README.md"
passed=$(awk -F '\t' '$1 == "passed" && $3 !~ /^\[[A-Za-z]*Suite\]/' "$work/results" | wc -l)
{
	verdict "$work/results" "$total"
	left=$(kubectl get namespaces -l e2e-framework --field-selector status.phase=Active -o name 2>/dev/null | sed 's|^namespace/||' | tr '\n' ' ') || left=
	[[ -z $left ]] || printf 'Namespaces that tests left: %s(kubectl delete namespace -l e2e-framework)\n' "$left"
	if ((status == 0 && passed == total)); then
		printf 'PASSED: %d of %d tests, Kubernetes %s, %d s\n' "$passed" "$total" "$version" $((SECONDS - started))
	else
		[[ -s $work/results ]] || tail -n 20 "$report/e2e.log"
		printf 'NOT PASSED: %d of %d tests passed, Kubernetes %s, %d s; everything they said: %s/e2e.log\n' "$passed" "$total" "$version" $((SECONDS - started)) "$report"
	fi
} | tee "$report/verdict.txt"
((status == 0 && passed == total))
