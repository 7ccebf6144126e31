package build

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"os/user"
	"strconv"
	"syscall"

	"github.com/containers/storage/pkg/idtools"
)

// envMappings names the pipe on which a child waits for its user mappings.
const envMappings = "_SEALBUILD_MAPPINGS_PIPE"

// EnterUserNamespace makes the program root in a user namespace of its own: what a user other than root needs to make files of
// other owners and to mount. It starts the program again, waits for it and exits with its status; for root it does nothing.
func EnterUserNamespace() error {
	if os.Geteuid() == 0 {
		return nil
	}
	wait, release, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("enter user namespace: %w", err)
	}
	c := exec.Command("/proc/self/exe", os.Args[1:]...)
	c.Args[0] = os.Args[0]
	c.Stdin, c.Stdout, c.Stderr = os.Stdin, os.Stdout, os.Stderr
	c.ExtraFiles = []*os.File{wait}
	c.Env = append(os.Environ(), envMappings+"=3",
		"_CONTAINERS_USERNS_CONFIGURED=done",
		fmt.Sprintf("_CONTAINERS_ROOTLESS_UID=%d", os.Geteuid()),
		fmt.Sprintf("_CONTAINERS_ROOTLESS_GID=%d", os.Getegid()))
	c.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	if err := c.Start(); err != nil {
		return fmt.Errorf("enter user namespace: %w (build as root, or allow user namespaces to this user)", err)
	}
	_ = wait.Close()
	if err := mapIDs(c.Process.Pid); err != nil {
		_ = c.Process.Kill()
		_ = c.Wait()
		return fmt.Errorf("enter user namespace: %w", err)
	}
	_ = release.Close()
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		for s := range signals {
			_ = c.Process.Signal(s)
		}
	}()
	err = c.Wait()
	var status *exec.ExitError
	if err != nil && !errors.As(err, &status) {
		return fmt.Errorf("enter user namespace: %w", err)
	}
	if ended, ok := c.ProcessState.Sys().(syscall.WaitStatus); ok && ended.Signaled() {
		fmt.Fprintf(os.Stderr, "Error: the build was ended by a signal: %s (by the kernel, if memory ran out: see dmesg)\n", ended.Signal())
		os.Exit(128 + int(ended.Signal())) // as a shell says it
	}
	os.Exit(c.ProcessState.ExitCode())
	return nil
}

// mapIDs gives a process its users and groups: this user as root, then the subordinate ids that /etc/subuid and /etc/subgid grant.
// Without those, or without the tools that apply them, root is the only one.
func mapIDs(pid int) error {
	name := strconv.Itoa(os.Geteuid())
	if u, err := user.Current(); err == nil {
		name = u.Username
	}
	dir := fmt.Sprintf("/proc/%d/", pid)
	if m, err := idtools.NewIDMappings(name, name); err == nil {
		errUID := newIDMap("newuidmap", pid, os.Geteuid(), m.UIDs())
		errGID := newIDMap("newgidmap", pid, os.Getegid(), m.GIDs())
		if errUID == nil && errGID == nil {
			return nil
		}
		if errUID == nil || errGID == nil {
			return errors.Join(errUID, errGID)
		}
	}
	for _, f := range []struct{ name, text string }{
		{"setgroups", "deny"},
		{"uid_map", fmt.Sprintf("0 %d 1\n", os.Geteuid())},
		{"gid_map", fmt.Sprintf("0 %d 1\n", os.Getegid())},
	} {
		if err := os.WriteFile(dir+f.name, []byte(f.text), 0); err != nil {
			return err
		}
	}
	return nil
}

func newIDMap(tool string, pid, own int, sub []idtools.IDMap) error {
	args := []string{strconv.Itoa(pid), "0", strconv.Itoa(own), "1"}
	next := 1
	for _, m := range sub {
		args = append(args, strconv.Itoa(next), strconv.Itoa(m.HostID), strconv.Itoa(m.Size))
		next += m.Size
	}
	if out, err := exec.Command(tool, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", tool, err, out)
	}
	return nil
}

// waitForMappings is the child's part: once its user is mapped to root it
// executes itself again, by which the kernel gives it root's capabilities.
func waitForMappings() {
	fd, ok := takeEnv(envMappings)
	if !ok {
		return
	}
	pipe := os.NewFile(uintptr(fd), "mappings")
	_, _ = pipe.Read(make([]byte, 1))
	_ = pipe.Close()
	err := syscall.Exec("/proc/self/exe", os.Args, os.Environ())
	fmt.Fprintln(os.Stderr, "sealbuild: enter user namespace:", err)
	os.Exit(1)
}
