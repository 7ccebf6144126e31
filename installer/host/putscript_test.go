package host

import (
	"crypto/sha256"
	"encoding/hex"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestPutLeavesNoProcessBehind(t *testing.T) {
	t.Parallel()
	// A descendant of nobody else's: the name of its sleep is not looked for, its process group is. SIGTERM is lost, as it may be
	// while a shell forks.
	name := filepath.Join(t.TempDir(), "file")
	for _, shell := range []string{"/bin/sh", "/bin/bash"} {
		script := exec.CommandContext(t.Context(), "/bin/sh", "-c", `trap "" TERM; exec "$@"`, "sh",
			shell, "-c", putScript, "sealinstall-put", name, "0644", "-")
		script.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
		sum := sha256.Sum256([]byte("content"))
		script.Stdin = strings.NewReader("content" + hex.EncodeToString(sum[:]))
		if out, err := script.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		group := -script.Process.Pid
		gone := false
		for range 100 { // a process that was killed is there until it is waited for
			if gone = syscall.Kill(group, 0) != nil; gone {
				break
			}
			time.Sleep(50 * time.Millisecond)
		}
		if !gone {
			t.Errorf("%s: a process of the put is still there", shell)
			_ = syscall.Kill(group, syscall.SIGKILL)
		}
	}
}
