package clusterimages_test

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// onHost runs bash with mounts, processes and a network of its own, where the file systems mounted and what lies in /var/lib are
// the test's. The functions of the scripts are there; programs that would change this machine say what they were asked for.
func onHost(t *testing.T, dir, text string) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("mounts need root")
	}
	scripts, err := filepath.Abs("kubernetes/scripts")
	if err != nil {
		t.Fatal(err)
	}
	// Read here, so that a change of a script is a reason to run the test again.
	if err := fs.WalkDir(os.DirFS(scripts), ".", func(name string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			_, err = os.ReadFile(filepath.Join(scripts, name))
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	bin := filepath.Join(dir, "bin")
	if err := os.MkdirAll(bin, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"systemctl", "systemd-escape"} {
		if err := os.WriteFile(filepath.Join(bin, name), []byte("#!/bin/sh\nexit 0\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	const begin = `set -euo pipefail
mount -t tmpfs tmpfs /var/lib
touch fstab && mount --bind fstab /etc/fstab
disk() { mkdir -p "$1" && mount -t tmpfs tmpfs "$1"; }
file() { for f; do mkdir -p "${f%/*}" && echo x >"$f"; done; }
show() { (cd / && find "$@" ! -type d -o -type d -empty) | LC_ALL=C sort; }
set +eu
. "$SCRIPTS/lib.sh"
`
	cmd := exec.CommandContext(t.Context(), "unshare", "--mount", "--propagation", "private", "--pid", "--fork", "--mount-proc", "--net", "bash", "-c", begin+text)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "SCRIPTS="+scripts, "D="+dir, "PATH="+bin+":"+os.Getenv("PATH"))
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return strings.ReplaceAll(string(out), dir, "")
}

func TestWhatTheSiteMadeOfADirectoryStaysAndIsEmptied(t *testing.T) {
	got := onHost(t, t.TempDir(), `
file "$D/target/a/b" "$D/keep/x" "$D/plain/a/b"
ln -s target "$D/link"; ln -s "$D/keep" "$D/plain/link"; ln -s "$D/keep/x" "$D/tofile"
disk "$D/disk"; file "$D/disk/a/b" "$D/disk/lost+found/z"
disk "$D/tree/fast disk"; disk "$D/tree/deep/volume"; file "$D/tree/fast disk/a/b" "$D/tree/deep/volume/c" "$D/tree/d"
printf 'tmpfs %s/tree/fast\\040disk tmpfs\n' "$D" >fstab
remove_tree "$D/link" "$D/disk" "$D/plain" "$D/tree" "$D/tofile" "$D/none"
show "$D/target" "$D/keep" "$D/link" "$D/disk" "$D/tree"
awk -v d="$D" 'index($5, d) == 1 { print "mounted", $5 }' /proc/self/mountinfo | sort
[[ ! -e $D/plain && ! -L $D/tofile ]] && echo "the rest is gone"
`)
	want := `/disk/lost+found/z
/keep/x
/link
/target
/tree/fast disk
mounted /disk
mounted /tree/fast\040disk
the rest is gone
`
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestFilesOfAScriptThatWasKilledGoWithTheComponent(t *testing.T) {
	got := onHost(t, t.TempDir(), `
use_state kube
file "$D/src" "$D/bin2/other"
install_file 0755 "$D/src" "$D/bin2/kubelet" >/dev/null
install_file 0644 "$D/src" "$D/bin2/kubelet.conf" conf >/dev/null
file "$D/bin2/.kubelet.Ab12Zz" "$D/bin2/.kubelet.conf.Ab12Zz" "$D/bin2/kubelet.conf.sealos-restore" "$D/bin2/.other.Ab12Zz"
echo changed >"$D/bin2/kubelet"
uninstall kube 2>&1
show "$D/bin2" /var/lib
`)
	want := "bash: warning: /bin2/kubelet was changed by something else since; it stays\n/bin2/.other.Ab12Zz\n/bin2/kubelet\n/bin2/other\n/var/lib/sealos\n"
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestRegistryIsTakenOutOfLinksDisksAndDirectoriesOfTheSite(t *testing.T) {
	const registry = `
export registryConfig=$D/etc-registry
fill() {
	file "$1/docker/registry/v2/blobs/a" "$1/.sealbuild/session-1/x" "$1/.sealinstall-.sealos-registry.17"
	printf 'made\n%s' "$2" >"$1/.sealos-registry"
}
mkdir "$D/target" "$D/there"; ln -s target "$D/link"; disk "$D/disk"
fill "$D/link" "$before"; fill "$D/disk" "$before"; fill "$D/there" "$before"; fill "$D/made" ""
for dir in link disk there made; do
	registryData=$D/$dir bash "$SCRIPTS/clean-registry.sh" >/dev/null
done
show "$D/link" "$D/target" "$D/disk" "$D/there"
[[ ! -e $D/made ]] && mountpoint -q "$D/disk" && echo "and no more"
`
	got := onHost(t, t.TempDir(), "before='The directory itself was there before.\n'\n"+registry)
	if diff := cmp.Diff("/disk\n/link\n/target\n/there\nand no more\n", got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestRuntimeIsTakenOutOfADirectoryThatIsALinkOrHasDisks(t *testing.T) {
	got := onHost(t, t.TempDir(), `
export criData=$D/cri
mkdir "$D/target" /var/lib/sealos; ln -s target "$D/cri"; mkdir -p /var/lib/sealos/installed/cri
file "$D/cri/io.containerd.metadata.v1.bolt/meta.db" "$D/cri/tmpmounts/x" "$D/cri/own" "$D/fast/snapshot"
disk "$D/target/io.containerd.content.v1.content"; file "$D/cri/io.containerd.content.v1.content/blob"
ln -s "$D/fast" "$D/cri/io.containerd.snapshotter.v1.overlayfs"
mount -t tmpfs tmpfs /run
bash "$SCRIPTS/clean-cri.sh" >/dev/null
show "$D/cri" "$D/target" "$D/fast"
mountpoint -q "$D/target/io.containerd.content.v1.content" && echo mounted
`)
	want := "/cri\n/fast\n/target/io.containerd.content.v1.content\n/target/io.containerd.snapshotter.v1.overlayfs\n/target/own\nmounted\n"
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestChainsOfCalicoGoAndOthersStay(t *testing.T) {
	got := onHost(t, t.TempDir(), `
. "$SCRIPTS/leftovers.sh"
filter_removal <<'X'
*filter
:INPUT ACCEPT [0:0]
:cali-INPUT - [0:0]
:calibrate - [0:0]
-A INPUT -m comment --comment "x" -j cali-INPUT
-A INPUT -j calibrate
-A cali-INPUT -j ACCEPT
COMMIT
X
`)
	if diff := cmp.Diff("*filter\n-D INPUT -m comment --comment \"x\" -j cali-INPUT\n-F cali-INPUT\n-X cali-INPUT\nCOMMIT\n", got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
