package stepstest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/sealbuild/sealbuild/installer/agent"
	"github.com/sealbuild/sealbuild/installer/agent/agenttest"
	"github.com/sealbuild/sealbuild/installer/host"
)

// Session is one process of the installer, as the site sees it.
type Session struct {
	site   *Site
	cancel context.CancelCauseFunc
	dead   bool
}

// Start begins a session. The site calls cancel when the installer is made to die.
func (s *Site) Start(cancel context.CancelCauseFunc) *Session {
	return &Session{site: s, cancel: cancel}
}

// Dead tells whether a fault has killed the installer.
func (s *Session) Dead() bool {
	defer s.site.locked()()
	return s.dead
}

// Dial connects to a machine.
func (s *Session) Dial(_ context.Context, ip string) (host.Host, error) {
	m := s.site.machine(ip)
	if m == nil {
		return nil, &host.Error{Host: ip, Kind: host.ErrUnreachable, Err: errors.New("no such machine")}
	}
	l := &link{session: s, machine: m}
	_, err := l.begin()
	return l, err
}

// link is a connection to a machine.
type link struct {
	session *Session
	machine *Machine
}

// call is one command or transfer over a link, while it runs.
type call struct {
	*link
	tree tree
	life int
	hide []string // directories that the program which runs finds empty
	// release is that of the kubeadm that runs.
	release release
	cut     bool // guarded by the site's mutex, as is what follows
	killed9 bool // the program that runs was killed, and nothing else
	// cancel ends what the agent does, as the end of its input would.
	cancel context.CancelFunc
}

func (l *link) Name() string { return l.machine.IP }
func (l *link) Close() error { return nil }

func (l *link) begin() (*call, error) {
	defer l.session.site.locked()()
	c := &call{link: l, tree: l.machine.tree, life: l.machine.life, cancel: func() {}}
	return c, c.ended()
}

// ended gives the error for which a call cannot go on. The site is locked.
func (c *call) ended() error {
	switch {
	case c.session.dead:
		return errStopped
	case c.cut:
		return &host.Error{Host: c.machine.IP, Kind: host.ErrUnreachable, Err: errors.New("the connection broke")}
	}
	return c.killed()
}

// killed gives the error for which the agent does not run any more. The site is locked.
func (c *call) killed() error {
	m := c.machine
	switch {
	case m.hidden || !m.booted(sshdUp):
		return &host.Error{Host: m.IP, Kind: host.ErrUnreachable, Err: errors.New("no answer")}
	case m.life != c.life:
		return &host.ExitError{Host: m.IP, Argv: []string{"stub"}, Code: -1, Signal: "KILL"}
	}
	return nil
}

func (c *call) fate() error {
	defer c.session.site.locked()()
	return c.ended()
}

func (l *link) Put(ctx context.Context, name string, mode fs.FileMode, r io.Reader) error {
	c, err := l.begin()
	if err != nil {
		return err
	}
	data, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	if err := l.session.site.pause(ctx, "put"); err != nil {
		return err
	}
	if c.tree.text(name) == string(data) {
		return c.happen("answer", "put "+name)
	}
	if err := c.happen("put", name); err != nil {
		return err
	}
	file := c.tree.path(name)
	if err := errors.Join(os.MkdirAll(path.Dir(file), 0o755), os.WriteFile(file, data, mode)); err != nil {
		return err
	}
	return c.happen("answer", "put "+name)
}

func (l *link) Run(ctx context.Context, cmd host.Cmd) error {
	c, err := l.begin()
	if err != nil {
		return err
	}
	argv := cmd.Argv
	switch {
	case len(argv) == 3 && argv[1] == "node":
		return c.agent(ctx, argv[0], argv[2], cmd)
	case argv[0] == "uname":
		if err := c.happen("call", "uname"); err != nil {
			return err
		}
		_, err := io.WriteString(cmd.Stdout, machineName()+"\n")
		return err
	case argv[0] == "test" && len(argv) == 3:
		if !c.tree.has(argv[2]) {
			return &host.ExitError{Host: l.machine.IP, Argv: argv, Code: 1}
		}
		return c.happen("answer", "test")
	case argv[0] == "/bin/sh" && len(argv) == 3:
		if err := c.happen("call", "sh"); err != nil {
			return err
		}
		if err := c.tree.shell(argv[2]); err != nil {
			return err
		}
		return c.happen("answer", "sh")
	}
	return &host.ExitError{Host: l.machine.IP, Argv: argv, Code: 127, Stderr: "not simulated: " + argv[0]}
}

// machineName is what uname -m prints on this machine, if a simulated one can be like it.
func machineName() string {
	if name, ok := map[string]string{"amd64": "x86_64", "arm64": "aarch64"}[runtime.GOARCH]; ok {
		return name
	}
	return runtime.GOARCH
}

// shell knows the commands that remove files.
func (t tree) shell(script string) error {
	for part := range strings.SplitSeq(script, ";") {
		words := strings.Fields(strings.ReplaceAll(part, "'", ""))
		for _, w := range words[1:] {
			remove, ok := map[string]func(string) error{"rm": unix.Unlink, "rmdir": unix.Rmdir}[words[0]] // os.Remove does both
			switch {
			case !path.IsAbs(w):
				continue
			case !ok:
				return fmt.Errorf("not simulated: %s", part)
			}
			names, err := filepath.Glob(t.path(w))
			if err != nil {
				return err
			}
			for _, name := range names {
				_ = remove(name) // rm -f and 2>/dev/null ignore errors, too
			}
		}
	}
	return nil
}

// underWay lets a fault find the call while it runs. The function that it returns ends that.
func (c *call) underWay() (end func()) {
	s := c.session.site
	defer s.locked()()
	s.calls[c] = true
	return func() {
		defer s.locked()()
		delete(s.calls, c)
	}
}

// Command runs a program on a machine, as its administrator does, and gives what it prints.
func (m *Machine) Command(ctx context.Context, stdin string, argv ...string) (string, error) {
	l := &link{session: m.site.Start(func(error) {}), machine: m}
	c, err := l.begin()
	if err != nil {
		return "", err
	}
	return c.program(ctx, agent.ExecRequest{Argv: argv, Stdin: []byte(stdin)})
}

// agent runs a verb of the stub.
func (c *call) agent(ctx context.Context, stub, verb string, cmd host.Cmd) error {
	m := c.machine
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	c.cancel = cancel
	defer c.underWay()()
	if err := c.happen("call", verb); err != nil {
		return err
	}
	if !c.tree.has(stub) {
		return &host.ExitError{Host: m.IP, Argv: cmd.Argv, Code: 127, Stderr: "no such file"}
	}
	if err := c.session.site.pause(ctx, verb); err != nil {
		return err
	}
	sim := &agenttest.Machine{
		Root: string(c.tree), Facts: m.facts, Exec: c.exec, Script: c.script, Etcd: database{m},
		Reach:  takesConnections(c.session.site),
		Change: func(name string, at agenttest.Moment) error { return c.happen(string(at), name) },
	}
	out := &holdBack{w: cmd.Stdout}
	err := sim.Serve(ctx, verb, cmd.Stdin, out)
	if fate := c.fate(); fate != nil {
		return fate
	}
	if lost := c.happen("answer", verb); lost != nil {
		return lost
	}
	if flush := out.flush(); flush != nil {
		return flush
	}
	if err != nil {
		return &host.ExitError{Host: m.IP, Argv: cmd.Argv, Code: 1, Stderr: err.Error()}
	}
	return nil
}

// holdBack keeps the last answer until it is known whether it arrives.
type holdBack struct {
	w    io.Writer
	last []byte
}

func (h *holdBack) Write(p []byte) (int, error) {
	if bytes.HasPrefix(p, []byte(`{"result"`)) || bytes.HasPrefix(p, []byte(`{"error"`)) {
		h.last = append(h.last, p...)
		return len(p), nil
	}
	return h.w.Write(p)
}

func (h *holdBack) flush() error {
	if h.last == nil {
		return nil
	}
	_, err := h.w.Write(h.last)
	return err
}

// facts are those of a machine that is fit for a cluster.
func (m *Machine) facts(q agent.FactsRequest) agent.Facts {
	f := agent.Facts{
		Hostname: m.Name, Arch: runtime.GOARCH, Kernel: "6.12.0", OS: "Simulated 1", MemoryBytes: 8 << 30, CPUs: 4,
		Mounts: []agent.Mount{}, Disks: map[string]agent.Mount{}, CgroupVersion: 2, Controllers: []string{"cpu", "cpuset", "memory", "pids", "io"},
		Modules: map[string]bool{}, PortsInUse: []int{}, Addresses: []string{"127.0.0.1/8", m.IP + "/16"}, Routes: []string{"10.77.0.0/16"},
		DefaultRoute: true, Nameservers: []agent.Nameserver{}, ResolvesOwnName: true, Tools: map[string]bool{}, Runtimes: []string{},
		Root: true, SELinux: "disabled", MachineID: m.Name, ProductUUID: m.Name,
	}
	for _, name := range q.Modules {
		f.Modules[name] = true
	}
	for _, name := range q.Tools {
		f.Tools[name] = true
	}
	defer m.site.locked()()
	for _, name := range q.Paths {
		f.Disks[name] = agent.Mount{Path: "/", Device: "root", Type: "tmpfs", Total: 1 << 40, Free: 1 << 40}
		if free, ok := m.free[name]; ok {
			f.Disks[name] = agent.Mount{Path: name, Device: "small", Type: "tmpfs", Total: 1 << 40, Free: uint64(free)}
		}
	}
	if m.registry {
		f.PortsInUse = append(f.PortsInUse, 5000)
	}
	f.Sockets, f.Programs = map[string]bool{}, map[string]bool{}
	for _, name := range q.Sockets {
		f.Sockets[name] = m.containerd()
	}
	for _, name := range q.Programs {
		f.Programs[name] = m.kubelet() && m.tree.has(kubeletConf)
	}
	if m.NoDefaultRoute {
		f.DefaultRoute = false
		f.ServiceRoutes = m.serviceRoutes
		for _, n := range q.Networks {
			if !slices.Contains(m.serviceRoutes, n) {
				f.NoRoute = append(f.NoRoute, n)
			}
		}
	}
	if m.Is != nil {
		m.Is(&f)
	}
	return f
}
