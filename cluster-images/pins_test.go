package clusterimages_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

// release makes rootfs directories with image lists, and a ctr that keeps a file for each image that is pinned.
const release = `
set +e
export BIN_DIR=$D/bin SEALOS_SYS_RUN_MODE=master SEALOS_SYS_REGISTRY_HOSTS=here
mkdir -p "$D/pinned" "$D/fail"
cat >"$D/bin/ctr" <<'X'
#!/bin/bash
while [[ $1 == --* ]]; do shift 2; done
name() { printf '%s' "${1//\//_}"; }
case "$1 $2" in
"images check") ref=${4#name==}; ref=${ref%%,*}; if [[ -e $D/pinned/$(name "$ref") ]]; then echo "$ref"; fi ;;
"images pull") ref=${@: -1}; if [[ -e $D/fail/$(name "$ref") ]]; then echo "ctr: no such image" >&2; exit 1; fi
	echo "pulled $ref" >>"$D/log"; : >"$D/pinned/$(name "$ref")" ;;
"images label") echo "unpinned $3" >>"$D/log"; rm -f "$D/pinned/$(name "$3")" ;;
esac
X
printf '#!/bin/sh\n' >"$D/bin/sleep"
chmod +x "$D/bin/ctr" "$D/bin/sleep"
release() { # NAME IMAGE…: the scripts and the list of one release
	mkdir -p "$D/$1/scripts" "$D/$1/images/shim"; cp "$SCRIPTS"/*.sh "$D/$1/scripts"
	local name=$1; shift
	printf 'r.io/%s\n' "$@" >"$D/$name/images/shim/DefaultImageList"
}
init() { bash -c 'source "$D/$0/scripts/lib.sh"; source "$D/$0/scripts/images.sh"; use_state kube; pull_images' "$1" >/dev/null; }
prepare() { bash "$D/$1/scripts/prepare.sh" >/dev/null; }
pinned() { printf '%s:' "$1"; (cd "$D/pinned" && for f in *; do printf ' %s' "${f#r.io_}"; done); echo; }
log() { cat "$D/log" 2>/dev/null; rm -f "$D/log"; }
release one pause:1 api:1 proxy:1; release two pause:1 api:2 proxy:2; release three pause:3 api:3 proxy:3
`

func TestImagesOfTheReleaseInUseAndOfTheOneBeforeStayPinned(t *testing.T) {
	got := onHost(t, t.TempDir(), release+`
init one; pinned "installed"
prepare two; pinned "prepared"; log >/dev/null
prepare two; log; pinned "prepared again"
init two; pinned "upgraded"
init two; pinned "again"
init one; pinned "put back"
prepare two; init two; pinned "another try"
log >/dev/null
prepare three; init three; pinned "the next upgrade"
log | sort
`)
	want := `installed: api:1 pause:1 proxy:1
prepared: api:1 api:2 pause:1 proxy:1 proxy:2
prepared again: api:1 api:2 pause:1 proxy:1 proxy:2
upgraded: api:1 api:2 pause:1 proxy:1 proxy:2
again: api:1 api:2 pause:1 proxy:1 proxy:2
put back: api:1 api:2 pause:1 proxy:1 proxy:2
another try: api:1 api:2 pause:1 proxy:1 proxy:2
the next upgrade: api:2 api:3 pause:1 pause:3 proxy:2 proxy:3
pulled r.io/api:3
pulled r.io/pause:3
pulled r.io/proxy:3
unpinned r.io/api:1
unpinned r.io/proxy:1
`
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestWhatWasPreparedInVainIsUnpinned(t *testing.T) {
	got := onHost(t, t.TempDir(), release+`
init one
: >"$D/fail/r.io_api:2"
prepare two 2>/dev/null; echo "exit $?"; pinned "cut off"
prepare three; pinned "another bundle"
init one; pinned "given up"
init three; pinned "upgraded"
show /var/lib/sealos/installed/kube
`)
	want := `exit 1
cut off: api:1 pause:1 proxy:1 proxy:2
another bundle: api:1 api:3 pause:1 pause:3 proxy:1 proxy:2 proxy:3
given up: api:1 pause:1 proxy:1
upgraded: api:1 api:3 pause:1 pause:3 proxy:1 proxy:3
/var/lib/sealos/installed/kube/backup
/var/lib/sealos/installed/kube/pinned
/var/lib/sealos/installed/kube/pinned-before
`
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestPinsAreSettledWhateverWasCutOff ends the script at each label and each list.
func TestPinsAreSettledWhateverWasCutOff(t *testing.T) {
	got := onHost(t, t.TempDir(), release+`
export D
for n in 1 2 3 4 5 6 7; do
	rm -rf "$D/pinned" /var/lib/sealos; mkdir "$D/pinned"
	init one; prepare two; init two; prepare three
	(N=$n bash -c 'source "$D/three/scripts/lib.sh"; source "$D/three/scripts/images.sh"; use_state kube; pull_all >/dev/null
		cut() { if ((--N == 0)); then kill -KILL $$; fi; }
		mv() { cut; command mv "$@"; cut; }; rm() { cut; command rm "$@"; cut; }; ctr_k8s() { cut; "$BIN_DIR/ctr" "$@"; cut; }
		settle_pins "${refs[@]}"'; true) 2>/dev/null
	init three; pinned "$n"
done
`)
	want := ""
	for _, n := range []string{"1", "2", "3", "4", "5", "6", "7"} {
		want += n + ": api:2 api:3 pause:1 pause:3 proxy:2 proxy:3\n"
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestPreparingAHostThatIsNoNodeIsRefused(t *testing.T) {
	got := onHost(t, t.TempDir(), release+`prepare two 2>&1; echo "exit $?"; show /var/lib "$D/pinned"`)
	want := "prepare.sh: error: init.sh has not run here; this host is not one to upgrade\nexit 1\n/pinned\n/var/lib\n"
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
