package host_test

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sealbuild/sealbuild/installer/host"
	"github.com/sealbuild/sealbuild/installer/host/hosttest"
)

const opsHome = "/mnt/home"

// loginShell gives the user ops a login shell of this machine, and skips where there is none of that name. Start-up files
// are texts by their names in the home directory.
func loginShell(t *testing.T, name string, startUp map[string]string) {
	t.Helper()
	program, err := exec.LookPath(name)
	for _, dir := range []string{"/usr/sbin", "/sbin"} {
		if err != nil {
			program, err = exec.LookPath(filepath.Join(dir, name))
		}
	}
	if err != nil {
		t.Skipf("no %s on this machine", name)
	}
	operator(t, "correct horse", "ops ALL=(ALL) ALL")
	text, err := os.ReadFile("/etc/passwd")
	if err != nil {
		t.Fatal(err)
	}
	changed := strings.Replace(string(text), ":"+opsHome+":/bin/sh", ":"+opsHome+":"+program, 1)
	if err := os.WriteFile("/etc/passwd", []byte(changed), 0o644); err != nil {
		t.Fatal(err)
	}
	for file, text := range startUp {
		file = filepath.Join(opsHome, file)
		if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, []byte(text), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
}

// asOps logs in with a key and, for sudo, the password.
func asOps(t *testing.T) host.Host {
	t.Helper()
	s := hosttest.StartSSHD(t, "127.0.0.2")
	return dial(t, host.SSHConfig{Address: s.Address, Port: s.Port, User: "ops", KeyFiles: []string{s.KeyFile}, Password: "correct horse", HostKey: host.Off, Timeout: 20 * time.Second})
}

// noise is what start-up files print: without a newline at its end, and much of it.
const (
	posixNoise = "echo '{\"welcome\": 1}'; echo same; echo x86_64; head -c 3000000 /dev/zero | tr '\\0' 'x'; echo sent >&2; printf 'no newline'; printf 'no newline' >&2\n"
	cshNoise   = "echo '{\"welcome\": 1}'; echo same; head -c 3000000 /dev/zero | tr '\\0' 'x'; echo -n 'no newline'\n"
)

func TestEveryLoginShellRunsCommandsAsTheyAre(t *testing.T) {
	t.Parallel()
	for name, startUp := range map[string]map[string]string{
		"sh":      nil,
		"dash":    nil,
		"bash":    {".bashrc": "set -x; set -v\n" + posixNoise},
		"ksh":     {".kshrc": posixNoise},
		"zsh":     {".zshenv": posixNoise},
		"tcsh":    {".tcshrc": cshNoise},
		"bsd-csh": {".cshrc": cshNoise},
		"fish":    {".config/fish/config.fish": "echo '{\"welcome\": 1}'; echo same; string repeat -n 3000000 x; echo -n 'no newline'; echo -n 'no newline' >&2\n"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if !apart(t) {
				return
			}
			loginShell(t, name, startUp)
			h := asOps(t)
			argv := []string{"a b", "", "it's", `back\slash \0101 \\ \' end\`, "!! !x", "$HOME `id` $(id)", "new\nline\n", "~ * ? [a] {a,b}", "ü\xff", `"`, "%s %", "^a^b", "#", "a;b&c|d<e>f"}
			for _, root := range []bool{false, true} {
				var out, errs bytes.Buffer
				err := h.Run(t.Context(), host.Cmd{
					Argv: append([]string{"/bin/sh", "-c", `printf '%s\0' "$@"; pwd; printf %s "$V"; cat; printf wrong >&2; exit 7`, "sh"}, argv...),
					Dir:  "/usr", Env: []string{"V=it's ! \\ \n"}, Stdin: strings.NewReader("input"), Stdout: &out, Stderr: &errs, Root: root,
				})
				var exit *host.ExitError
				if !errors.As(err, &exit) || exit.Code != 7 || exit.Stderr != "wrong" {
					t.Fatalf("root %v: %v", root, err)
				}
				want := strings.Join(argv, "\x00") + "\x00/usr\nit's ! \\ \ninput"
				if diff := cmp.Diff(want, out.String()); diff != "" {
					t.Errorf("root %v: %s", root, diff)
				}
				if errs.String() != "wrong" {
					t.Errorf("root %v: stderr %.200q", root, errs.String())
				}
			}
			file := "/mnt/put"
			for range 2 {
				if err := h.Put(t.Context(), file, 0o640, strings.NewReader("content\n")); err != nil {
					t.Fatal(err)
				}
				assertFile(t, file, 0o640, "content\n")
			}
			endedWithItsContext(t, h)
			if _, err := os.Lstat(filepath.Join(opsHome, "2")); err == nil {
				t.Error("a file named 2 was left in the home directory")
			}
		})
	}
}

func TestLoginThatRunsNoCommandsIsNamed(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		shell        string
		startUp      string
		want, remedy string
	}{
		"Nologin":      {"nologin", "", "the login shell of ops is nologin", "usermod -s"},
		"False":        {"false", "", "as /bin/false does", "usermod -s"},
		"True":         {"true", "", "ends or replaces the shell (exit status 0", "~/.bashrc"},
		"Ends":         {"bash", "exit 0\n", "a start-up file of the login shell of ops ends or replaces the shell (exit status 0, it printed nothing)", "~/.bashrc"},
		"PrintsEnds":   {"bash", "echo Welcome; echo 'Ask the desk.'; exit 0\n", "it printed: Ask the desk.", "~/.bashrc"},
		"EndsBadly":    {"bash", "echo closed for repair >&2; exit 3\n", "exit status 3, it printed: closed for repair", "~/.bashrc"},
		"Replaced":     {"bash", "exec sh\n", "ends or replaces the shell", "~/.bashrc"},
		"ReplacedCat":  {"bash", "exec cat\n", "ends or replaces the shell", "~/.bashrc"},
		"Restricted":   {"rbash", "", "does not run /bin/sh", "usermod -s"},
		"OutputGone":   {"bash", "exec >/dev/null\n", "sends the output of commands elsewhere", "~/.bashrc"},
		"NotAProgram":  {"bash", "exec /no/such/shell\n", "ends or replaces the shell (exit status 127, it printed: " + opsHome + "/.bashrc", "~/.bashrc"},
		"LoudThenEnds": {"bash", "head -c 3000000 /dev/zero | tr '\\0' 'x'; exit 0\n", "ends or replaces the shell", "~/.bashrc"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if !apart(t) {
				return
			}
			loginShell(t, c.shell, map[string]string{".bashrc": c.startUp})
			h := asOps(t)
			for what, run := range map[string]func() error{
				"command": func() error { return h.Run(t.Context(), host.Cmd{Argv: []string{"uname", "-m"}}) },
				"as root": func() error {
					return h.Run(t.Context(), host.Cmd{Argv: []string{"true"}, Root: true, Stdin: strings.NewReader("touch " + opsHome + "/ran\n")})
				},
				"put": func() error { return h.Put(t.Context(), "/mnt/put", 0o600, strings.NewReader("x")) },
			} {
				err := run()
				var e *host.Error
				if !errors.Is(err, host.ErrShell) || !errors.As(err, &e) || !strings.Contains(err.Error(), c.want) || !strings.Contains(e.Remedy, c.remedy) {
					t.Errorf("%s: %v", what, err)
				}
				if err != nil && (strings.Contains(err.Error(), "horse") || len(err.Error()) > 800) {
					t.Errorf("%s: message %q", what, err)
				}
			}
			if left, _ := filepath.Glob(opsHome + "/[^.]*"); len(left) > 0 {
				t.Errorf("input ran as commands, or a line was misread: %q", left)
			}
		})
	}
}

// What is put in the shell's place may wait for input that never comes, or for ever.
func TestStartUpFileThatWaitsIsNamedInTime(t *testing.T) {
	t.Parallel()
	for name, startUp := range map[string]string{"sleeps": "exec sleep 60", "reads": "read -r answer"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := hosttest.StartServer(t, hosttest.ServerConfig{StartUp: startUp})
			h := dial(t, host.SSHConfig{Address: "127.0.0.1", Port: s.Port, HostKey: host.Off, Timeout: time.Second})
			var seen readCount
			err := h.Run(t.Context(), host.Cmd{Argv: []string{"cat"}, Stdin: &seen})
			if !errors.Is(err, host.ErrShell) || !strings.Contains(err.Error(), "~/.bashrc") {
				t.Errorf("%v", err)
			}
			if seen > 0 {
				t.Error("input was sent to what runs in place of the shell")
			}
		})
	}
}

// readCount is an input that counts how often it is asked.
type readCount int

func (r *readCount) Read(p []byte) (int, error) {
	*r++
	return copy(p, "secret\n"), nil
}

func TestNoiseOfSudoIsPassedOver(t *testing.T) {
	_, h := login(t, "1000", `echo '{"last login": "today"}'; echo lecture >&2; `+passing)
	var out bytes.Buffer
	if err := h.Run(t.Context(), host.Cmd{Argv: []string{"echo", "answer"}, Stdout: &out, Root: true}); err != nil {
		t.Fatal(err)
	}
	if out.String() != "answer\n" {
		t.Errorf("%q", out.String())
	}
}
