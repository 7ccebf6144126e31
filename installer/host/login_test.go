package host_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sealbuild/sealbuild/installer/host"
	"github.com/sealbuild/sealbuild/installer/host/hosttest"
)

// apartVariable tells a test that it is the process that runs apart.
const apartVariable = "HOST_TEST_APART"

// apart runs the test again as a process with a layer of its own over /etc, where users and sudoers can be made, and
// tells whether this is it.
func apart(t *testing.T) bool {
	t.Helper()
	if os.Getenv(apartVariable) != "" {
		return true
	}
	if os.Geteuid() != 0 {
		t.Skip("namespaces with mounts need root")
	}
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe", "-test.run=^"+strings.ReplaceAll(t.Name(), "/", "$/^")+"$", "-test.v")
	cmd.Env = append(os.Environ(), apartVariable+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS}
	out, err := cmd.CombinedOutput()
	switch {
	case cmd.Process == nil:
		t.Skipf("no namespaces here: %v", err)
	case err != nil:
		t.Fatalf("%v\n%s", err, out)
	case bytes.Contains(out, []byte("--- SKIP")):
		t.Skipf("%s", out)
	}
	return false
}

// operator makes the user ops of this password, whom pam and sshd know, with these lines of sudoers.
func operator(t *testing.T, password string, sudoers ...string) {
	t.Helper()
	must := func(err error) {
		if err != nil {
			t.Fatal(err)
		}
	}
	must(unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""))
	must(unix.Mount("tmpfs", "/mnt", "tmpfs", 0, ""))
	for _, dir := range []string{"/mnt/upper", "/mnt/work", "/mnt/home"} {
		must(os.Mkdir(dir, 0o755))
	}
	must(os.Chown("/mnt/home", 4711, 4711))
	if err := unix.Mount("overlay", "/etc", "overlay", 0, "lowerdir=/etc,upperdir=/mnt/upper,workdir=/mnt/work"); err != nil {
		t.Skipf("no overlay file system here: %v", err)
	}
	hash, err := exec.CommandContext(t.Context(), "openssl", "passwd", "-6", password).Output()
	if err != nil {
		t.Skipf("no openssl to hash a password: %v", err)
	}
	add := func(name, line string) {
		f, err := os.OpenFile(name, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
		must(err)
		_, err = f.WriteString(line + "\n")
		must(errors.Join(err, f.Close()))
	}
	add("/etc/passwd", "ops:x:4711:4711::/mnt/home:/bin/sh")
	add("/etc/group", "ops:x:4711:")
	add("/etc/shadow", "ops:"+strings.TrimSpace(string(hash))+":19000:0:99999:7:::")
	for _, service := range []string{"sshd", "sudo"} {
		must(os.WriteFile("/etc/pam.d/"+service, []byte("auth required pam_unix.so nodelay\naccount required pam_unix.so\nsession required pam_permit.so\n"), 0o644))
	}
	if err := os.Remove("/etc/sudoers"); err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	must(os.WriteFile("/etc/sudoers", []byte(strings.Join(append(sudoers, "Defaults !fqdn", ""), "\n")), 0o440))
}

func wantSudo(t *testing.T) {
	t.Helper()
	if _, err := exec.LookPath("sudo"); err != nil {
		t.Skip("sudo is not installed here")
	}
}

func TestPasswordAndQuestionsOfARealSSHD(t *testing.T) {
	if !apart(t) {
		return
	}
	operator(t, "correct horse")
	for name, lines := range map[string][]string{
		"password":             {"UsePAM no", "PasswordAuthentication yes", "KbdInteractiveAuthentication no", "PubkeyAuthentication no"},
		"keyboard-interactive": {"UsePAM yes", "PasswordAuthentication no", "KbdInteractiveAuthentication yes", "PubkeyAuthentication no"},
	} {
		s := hosttest.StartSSHD(t, "127.0.0.2", lines...)
		c := host.SSHConfig{Address: s.Address, Port: s.Port, User: "ops", Password: "correct horse", HostKey: host.Off}
		if err := tryDial(t, c); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		c.Password = "wrong horse"
		if err := tryDial(t, c); !errors.Is(err, host.ErrAuth) {
			t.Errorf("%s: a wrong password: %v", name, err)
		} else if strings.Contains(err.Error(), "horse") {
			t.Errorf("%s: the password is in the error: %v", name, err)
		}
	}
}

func TestRealSudoMakesRootWhateverItAsksFor(t *testing.T) {
	t.Parallel()
	for name, sudoers := range map[string][]string{
		"NoPassword":         {"ops ALL=(ALL) NOPASSWD: ALL"},
		"NoPasswordTerminal": {"Defaults requiretty", "ops ALL=(ALL) NOPASSWD: ALL"},
		"Password":           {"ops ALL=(ALL) ALL"},
		"PasswordTerminal":   {"Defaults requiretty", "ops ALL=(ALL) ALL"},
		"PasswordRemembered": {"Defaults timestamp_type=global, timestamp_timeout=-1", "ops ALL=(ALL) ALL"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			wantSudo(t)
			if !apart(t) {
				return
			}
			operator(t, "correct horse", sudoers...)
			s := hosttest.StartSSHD(t, "127.0.0.2")
			h := dial(t, host.SSHConfig{Address: s.Address, Port: s.Port, User: "ops", KeyFiles: []string{s.KeyFile}, Password: "correct horse", HostKey: host.Off})
			for range 2 {
				var out, errs bytes.Buffer
				binary := "in\r\n\x00\x03\x04\x1a\xff\n" // nothing that a terminal would take for itself is touched
				err := h.Run(t.Context(), host.Cmd{
					Argv: []string{"sh", "-c", `id -u; pwd; echo "$A"; cat; echo "err" >&2`}, Dir: "/usr", Env: []string{"A=it's"}, Stdin: strings.NewReader(binary),
					Stdout: &out, Stderr: &errs, Root: true,
				})
				if err != nil {
					t.Fatal(err)
				}
				if want := "0\n/usr\nit's\n" + binary; out.String() != want {
					t.Errorf("stdout %q, want %q", out.String(), want)
				}
				if got := strings.TrimSpace(errs.String()); got != "err" {
					t.Errorf("stderr %q", got)
				}
			}
			file := "/mnt/put"
			if err := h.Put(t.Context(), file, 0o600, strings.NewReader(strings.Repeat("content\n", 1<<16))); err != nil {
				t.Fatal(err)
			}
			info, err := os.Stat(file)
			if err != nil || info.Sys().(*syscall.Stat_t).Uid != 0 || info.Size() != 8<<16 {
				t.Errorf("%+v, %v", info, err)
			}
			var exit *host.ExitError
			if err := h.Run(t.Context(), host.Cmd{Argv: []string{"sh", "-c", "exit 7"}, Root: true}); !errors.As(err, &exit) || exit.Code != 7 {
				t.Errorf("exit status of a command of root: %v", err)
			}
			endedWithItsContext(t, h)
		})
	}
}

// endedWithItsContext starts a command of root that leaves a child, and ends it.
func endedWithItsContext(t *testing.T, h host.Host) {
	t.Helper()
	ctx, cancel := contextWithCause(t)
	reason := errors.New("enough")
	var child string
	err := h.Run(ctx, host.Cmd{Argv: []string{"sh", "-c", "sleep 600 & echo $!; wait"}, Root: true, Stdout: writeFunc(func(p []byte) (int, error) {
		child = strings.TrimSpace(string(p))
		cancel(reason)
		return len(p), nil
	})})
	if !errors.Is(err, reason) {
		t.Errorf("%v", err)
	}
	var pid int
	if _, err := fmt.Sscan(child, &pid); err != nil {
		t.Fatal(err)
	}
	waitGone(t, pid)
}

func TestWrongPasswordOfSudoIsToldWithoutIt(t *testing.T) {
	wantSudo(t)
	if !apart(t) {
		return
	}
	operator(t, "correct horse", "ops ALL=(ALL) ALL")
	s := hosttest.StartSSHD(t, "127.0.0.2")
	for _, password := range []string{"wrong horse", ""} {
		h := dial(t, host.SSHConfig{Address: s.Address, Port: s.Port, User: "ops", KeyFiles: []string{s.KeyFile}, Password: password, HostKey: host.Off})
		err := h.Run(t.Context(), host.Cmd{Argv: []string{"true"}, Root: true})
		var e *host.Error
		if !errors.Is(err, host.ErrSudo) || !errors.As(err, &e) || !strings.Contains(e.Remedy, "password") || strings.Contains(err.Error(), "horse") {
			t.Errorf("%q: %v", password, err)
		}
	}
}

func TestKeysOfARealAgentAreUsed(t *testing.T) {
	if _, err := exec.LookPath("ssh-agent"); err != nil {
		t.Skip("no ssh-agent here")
	}
	s := hosttest.StartSSHD(t, "127.0.0.2")
	socket := filepath.Join(t.TempDir(), "agent")
	agent := exec.CommandContext(t.Context(), "ssh-agent", "-D", "-a", socket)
	if err := agent.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { agent.Process.Kill(); agent.Wait() })
	c := host.SSHConfig{Address: s.Address, Port: s.Port, HostKey: host.Off, AgentSocket: socket}
	eventually(t, func() error { _, err := os.Stat(socket); return err })
	if err := tryDial(t, c); !errors.Is(err, host.ErrAuth) {
		t.Errorf("an agent without keys: %v", err)
	}
	add := exec.CommandContext(t.Context(), "ssh-add", s.KeyFile)
	add.Env = append(os.Environ(), "SSH_AUTH_SOCK="+socket)
	if out, err := add.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if err := tryDial(t, c); err != nil {
		t.Error(err)
	}
}

func contextWithCause(t *testing.T) (context.Context, context.CancelCauseFunc) {
	t.Helper()
	ctx, cancel := context.WithCancelCause(t.Context())
	t.Cleanup(func() { cancel(nil) })
	return ctx, cancel
}

// eventually waits until something works.
func eventually(t *testing.T, try func() error) {
	t.Helper()
	var err error
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if err = try(); err == nil {
			return
		}
	}
	t.Fatal(err)
}
