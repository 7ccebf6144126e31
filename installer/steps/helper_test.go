package steps

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sealbuild/sealbuild/bundle"
	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/agent/verbs"
	"github.com/sealbuild/sealbuild/installer/care"
	"github.com/sealbuild/sealbuild/installer/fleet"
	"github.com/sealbuild/sealbuild/installer/host"
	"github.com/sealbuild/sealbuild/installer/preflight"
	"github.com/sealbuild/sealbuild/installer/steps/stepstest"
)

// TestMain makes the test binary what runs on hosts, too: the stub of tests is a script that starts it.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "care" {
		os.Exit(0) // a host of a test has no routes of its own to change
	}
	if len(os.Args) == 3 && os.Args[1] == "node" {
		if err := verbs.Main(context.Background(), os.Args[2], os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	if len(os.Args) > 2 && os.Args[1] == "plain-registry" {
		fmt.Fprintln(os.Stderr, plainRegistry(os.Args[len(os.Args)-1]))
		os.Exit(1)
	}
	if slices.Contains(os.Args, "--service-route") {
		if err := serviceRoute(os.Args[2:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	if len(os.Args) > 3 && os.Args[1] == "registry" && os.Args[2] == "ping" {
		if err := pingRegistry(os.Args[3], os.Args[len(os.Args)-1]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	// What tests open and look at go test writes down, to know whether they have to run again: a gigabyte of simulated hosts' files
	// here, over which it then sits for two minutes. These tests depend on most of the tree, and run again as good as always.
	flag.Parse()
	if err := flag.Set("test.testlogfile", ""); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

// serviceRoute stands for the command `care` with the flag of that name.
func serviceRoute(args []string) error {
	if args[0] == "--clean" {
		return care.RemoveServiceRoutes()
	}
	prefix, err := netip.ParsePrefix(args[1])
	if err != nil {
		return err
	}
	ours, _, err := care.EnsureServiceRoute(prefix)
	if ours {
		fmt.Println("there")
	}
	return err
}

func stub(t *testing.T) []byte {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	// The race detector would wait a second at the end of each call.
	return []byte("#!/bin/sh\nGORACE=atexit_sleep_ms=0 exec " + host.Quote(self) + " \"$@\"\n")
}

func makeBundle(t *testing.T, images []stepstest.Image) []byte {
	t.Helper()
	var buf bytes.Buffer
	if err := stepstest.Write(&buf, stub(t), images); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

// newRun is a run on hosts of 127.0.0.0/8; the first one is master0. What is reported goes to out.
func newRun(t *testing.T, file []byte, out io.Writer, hosts ...installer.Host) *Run {
	t.Helper()
	b, err := bundle.Open(bytes.NewReader(file), int64(len(file)))
	if err != nil {
		t.Fatal(err)
	}
	if os.Getenv("SEALOS_RUNTIME_ROOT") == "" {
		t.Setenv("SEALOS_RUNTIME_ROOT", t.TempDir())
	}
	c := &installer.Cluster{Hosts: hosts, SSH: installer.SSH{Password: "right"}}
	if err := c.Complete(); err != nil {
		t.Fatal(err)
	}
	state, err := installer.OpenState(c.Name)
	if err != nil {
		t.Fatal(err)
	}
	r := New(c, b, Options{
		State: state,
		// Problems of this machine do not count in tests; those that the check script finds do.
		IgnoreChecks: slices.DeleteFunc(preflight.Checks(), func(name string) bool { return name == "check.sh" }),
	}, fleet.Options{
		Report: installer.NewReporter(out, t.Output(), false), Jobs: 4, HostKey: host.AcceptNew, KnownHosts: state.Path("known_hosts"), Timeout: time.Minute,
	})
	t.Cleanup(func() { closeRun(t, r) })
	return r
}

// closeRun ends a run, so that another one can follow.
func closeRun(t *testing.T, r *Run) {
	t.Helper()
	if r.State == nil {
		return
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	if err := r.State.Close(); err != nil {
		t.Error(err)
	}
	r.State = nil
}

func hostAt(ip string, port int, master bool) installer.Host {
	return installer.Host{IP: netip.MustParseAddr(ip), Master: master, SSH: installer.SSH{Port: port}}
}

// loaded is a run that has read its images and settled its secrets, and has looked at no host.
func loaded(t *testing.T, images []stepstest.Image, hosts ...installer.Host) *Run {
	t.Helper()
	r := newRun(t, makeBundle(t, images), t.Output(), hosts...)
	if err := r.Read(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := r.secrets.Settle(t.Context()); err != nil {
		t.Fatal(err)
	}
	return r
}

// apartVariable tells the test binary that it is the process that runs apart.
const apartVariable = "STEPS_TEST_APART"

// apart runs the test again in a process with mounts, processes, a network and a host name of its own, and with nothing in
// /var/lib: there the real steps change nothing of this machine. It tells whether this is that process.
func apart(t *testing.T) bool {
	t.Helper()
	if os.Getenv(apartVariable) != "" {
		setApart(t)
		return true
	}
	if os.Geteuid() != 0 {
		t.Skip("namespaces with mounts need root")
	}
	t.Parallel() // it waits most of the time, and is apart from other tests
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe", "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), apartVariable+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWNET | syscall.CLONE_NEWUTS | syscall.CLONE_NEWPID}
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

func setApart(t *testing.T) {
	t.Helper()
	must := func(what string, err error) {
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
	}
	must("make mounts private", unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""))
	// A kubelet of another test on this machine is not one of this host.
	must("mount /proc", unix.Mount("proc", "/proc", "proc", 0, ""))
	must("empty /var/lib", unix.Mount("tmpfs", "/var/lib", "tmpfs", 0, "size=16g"))
	// The lock of a cluster lies there.
	must("empty /run", unix.Mount("tmpfs", "/run", "tmpfs", 0, ""))
	// Resetting rewrites /etc/hosts: in a layer over /etc that ends with this process.
	must("make room for a layer over /etc", unix.Mount("tmpfs", "/mnt", "tmpfs", 0, ""))
	for _, dir := range []string{"/mnt/upper", "/mnt/work"} {
		must("make "+dir, os.Mkdir(dir, 0o755))
	}
	if err := unix.Mount("overlay", "/etc", "overlay", 0, "lowerdir=/etc,upperdir=/mnt/upper,workdir=/mnt/work"); err != nil {
		t.Skipf("no overlay file system here: %v", err)
	}
	must("set the host name", unix.Sethostname([]byte("host-a")))
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	must("open a socket", err)
	defer unix.Close(fd)
	lo, err := unix.NewIfreq("lo")
	must("name lo", err)
	lo.SetUint16(unix.IFF_UP)
	must("set lo up", unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, lo))
}

// runtimeAnswers listens where containerd does, on a host that is apart. A host whose runtime is silent is waited for.
func runtimeAnswers(t *testing.T) {
	t.Helper()
	if err := os.MkdirAll("/run/containerd", 0o755); err != nil {
		t.Fatal(err)
	}
	l, err := new(net.ListenConfig).Listen(t.Context(), "unix", "/run/containerd/containerd.sock")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
}

// inEngine runs one step as the engine does, which cleans up after a step that failed.
func inEngine(ctx context.Context, r *Run, step func(*Run, context.Context) (installer.Result, error)) error {
	_, err := installer.RunSteps(ctx, []Step{{Name: "only", Run: step}}, r, r.Report)
	return err
}
