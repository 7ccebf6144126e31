package stepstest

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sealbuild/sealbuild/installer/agent"
	"github.com/sealbuild/sealbuild/installer/host"
	"github.com/sealbuild/sealbuild/registry/disk"
)

// exec runs a program. A fault that stopped it is an error; what the program refuses is its exit status.
func (c *call) exec(ctx context.Context, q agent.ExecRequest) (agent.ExecResult, error) {
	if q.TimeoutSeconds > 0 {
		late := &agent.Error{Code: agent.CodeTimeout, Message: fmt.Sprintf("run %s: still running after %d s", host.Quote(q.Argv...), q.TimeoutSeconds)}
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, time.Duration(q.TimeoutSeconds)*time.Second, late)
		defer cancel()
	}
	out, err := c.program(ctx, q)
	if fate := c.fate(); fate != nil {
		return agent.ExecResult{}, fate
	}
	if ctx.Err() != nil {
		return agent.ExecResult{}, context.Cause(ctx)
	}
	if errors.Is(err, errKilled) {
		return agent.ExecResult{Code: 128 + int(unix.SIGKILL), Stderr: []byte(out)}, nil
	}
	if err != nil {
		return agent.ExecResult{Code: 1, Stderr: []byte(err.Error() + "\n")}, nil
	}
	res := agent.ExecResult{Stdout: []byte(out)}
	if over := len(out) - keptOutput; over > 0 { // as a host does it: the end is kept
		res.Stdout, res.Truncated = res.Stdout[over:], true
	}
	return res, nil
}

// keptOutput is how many bytes of an output a host keeps.
const keptOutput = 8 << 20

func (c *call) program(ctx context.Context, q agent.ExecRequest) (string, error) {
	argv := q.Argv
	program := path.Base(argv[0])
	if strings.HasPrefix(program, "sealinstall-") { // a version of it
		program = "sealinstall"
		if !c.tree.has(argv[0]) {
			return "", fmt.Errorf("%s: no such file", argv[0])
		}
	}
	switch program {
	case "kubeadm":
		c.hide, c.release = q.Hide, releaseOf(c.programVersion(argv[0]))
		if len(argv) > 5 && argv[2] == "phase" {
			return c.kubeadmPhase(argv[3:], q)
		}
		return c.kubeadm(ctx, argv[1:])
	case "kubectl":
		if hangs(c.session.site) {
			<-ctx.Done()
			return "", context.Cause(ctx)
		}
		return c.kubectl(ctx, argv[1:], q)
	case "systemctl":
		return c.systemd(argv)
	case "sealinstall":
		if argv[1] == "care" && argv[2] == "--service-route" {
			return c.serviceRoute(argv[3])
		}
		return c.stub(ctx, argv[1:])
	case "test":
		if !c.tree.has(argv[2]) {
			return "", errors.New("it is not there")
		}
		return "", nil
	case "bash": // asks kube-proxy whether it works; an old one does not say
		if proxyless(c.session.site) {
			return "", errors.New("connect: Connection refused")
		}
		return "HTTP/1.0 404 Not Found\r\n", nil
	case "mkdir":
		return "", c.tree.mkdir(argv[len(argv)-1], argv[1:])
	case "crictl":
		return c.crictl(argv[1:])
	case "ip": // there are no links
		return "", nil
	case "rmdir":
		for _, dir := range argv[1:] {
			if path.IsAbs(dir) {
				_ = unix.Rmdir(c.tree.path(dir)) // --ignore-fail-on-non-empty
			}
		}
		return "", nil
	}
	return "", fmt.Errorf("not simulated: %v", argv)
}

// systemd knows units, by name, with their descriptions.
func (c *call) systemd(argv []string) (out string, err error) {
	if slices.Contains(argv, "NRestarts") {
		defer c.session.site.locked()()
		return fmt.Sprintln(restarts(c.machine)), nil
	}
	return out, c.step(strings.Join(argv[:2], " "), func(_ *Site, m *Machine) error {
		unit := argv[len(argv)-1]
		description, ok := m.units[unit]
		description, _, _ = strings.Cut(description, "\n")
		switch {
		case argv[1] == "show" && ok:
			out = "LoadState=loaded\nActiveState=active\nDescription=" + description + "\n"
		case argv[1] == "show":
			out = "LoadState=not-found\nActiveState=inactive\nDescription=" + unit + "\n"
		case argv[1] == "list-units": // of slices
			for _, name := range slices.Sorted(maps.Keys(m.units)) {
				if strings.HasSuffix(name, ".slice") {
					out += name + " loaded active active " + name + "\n"
				}
			}
		case argv[1] == "stop" && !slices.Contains(argv, "kubelet") && !slices.Contains(argv, "kubelet.service"):
			for _, unit := range argv[2:] {
				delete(m.units, unit)
			}
		case argv[1] == "start" && strings.HasSuffix(unit, ".service"):
			if !m.startUnit(unit) {
				return fmt.Errorf("unit %s not found", unit)
			}
		case slices.Contains(argv, "kubelet") && (argv[1] == "start" || argv[1] == "restart"):
			m.before()
			if m.stopped || argv[1] == "restart" {
				m.ends = restarts(m)
				m.stopped, m.fresh, m.kubeletBegan = false, true, time.Now()
				m.takesConfig()
			}
		case argv[1] == "stop":
			m.before()
			m.stopped = true
		}
		return nil
	})
}

// stub runs the commands of the stub that are not the agent's.
func (c *call) stub(ctx context.Context, args []string) (out string, err error) {
	if args[0] == "etcd" {
		what := strings.Join(args, " ")
		return out, c.step("sealinstall "+what, func(s *Site, m *Machine) (err error) {
			out, err = members{s}.askEtcd(m, args[1:])
			return err
		})
	}
	if args[0] == "care" && args[1] == "--check" {
		return "", c.await(ctx, c.session.site.Pace.Boot/3, func(s *Site, m *Machine) error {
			defer s.remembering()()
			return s.confirms(m, args)
		}) // 15 s on real hosts
	}
	s, m := c.session.site, c.machine
	defer s.locked()()
	switch {
	case args[0] == "version":
		return "sealinstall v1.2.3\n", nil
	case args[0] == "apis": // nothing that is stored here is old
		return "{}\n", nil
	case args[0] == "registry":
		if !m.registry {
			return "", errors.New("connection refused")
		}
		return "", m.ping(args)
	case args[0] == "care" && args[1] == "--clean":
		switch args[2] {
		case "--service-route":
			m.serviceRoutes = nil
		case "--hold":
			m.held = false
		}
		return "", nil
	}
	return "", fmt.Errorf("not simulated: sealinstall %v", args)
}

// ping asks the registry as its clients do. The registry shows the certificate that its script has put in place, and lets
// in the accounts there.
func (m *Machine) ping(args []string) error {
	const etc = "/var/lib/sealos/data/default/rootfs/etc/"
	if slices.Contains(args, "--certificate") && m.tree.text(etc+"registry_tls.crt") != m.tree.text("/etc/registry/tls.crt") {
		return errors.New("the registry shows another certificate")
	}
	if m.tree.text(etc+"registry_htpasswd") != m.tree.text("/etc/registry/htpasswd") {
		return errors.New("the registry answers 401 Unauthorized")
	}
	return nil
}

// script runs a script of an image, or a command of its ENTRYPOINT or CMD.
func (c *call) script(ctx context.Context, q agent.ScriptRequest, log func(string) error) (int, error) {
	name, isScript := strings.CutPrefix(q.Line, "bash ")
	if err := c.session.site.pause(ctx, "script "+name); err != nil {
		return 0, err
	}
	err := c.step("script begins: "+name, func(_ *Site, m *Machine) error {
		if isScript && !m.tree.has(path.Join(q.Dir, name)) {
			return &fs.PathError{Op: "bash", Path: path.Join(q.Dir, name), Err: fs.ErrNotExist}
		}
		return nil
	})
	if err == nil {
		err = c.install(name, q)
	}
	if err == nil {
		err = c.step("script ends: "+name, func(_ *Site, m *Machine) error { return m.effect(name, q) })
	}
	if fate := c.fate(); fate != nil {
		return 0, fate
	}
	if errors.Is(err, errKilled) {
		return 128 + int(unix.SIGKILL), nil
	}
	if err != nil {
		return 1, log(err.Error())
	}
	return 0, log("done")
}

// effect does what a script does.
func (m *Machine) effect(name string, q agent.ScriptRequest) error {
	etc := path.Join(path.Dir(q.Dir), "etc")
	mark := path.Join(q.Dir, "../../journal", strings.TrimSuffix(name, ".sh"))
	if (strings.HasPrefix(name, "init") || name == "check.sh") && m.tree.has(mark) {
		m.site.violated("%s: %s runs again although it is on record", m.IP, name)
	}
	switch name {
	case "check.sh":
		if mode := q.Env["swapMode"]; mode != "" && mode != "off" && mode != "keep" {
			return fmt.Errorf("swapMode is %q; it must be off or keep", mode)
		}
	case "init-registry.sh":
		for _, file := range []string{"registry_ca.crt", "registry_tls.crt", "registry_tls.key", "registry_htpasswd"} {
			if !m.tree.has(path.Join(etc, file)) {
				return fmt.Errorf("no %s", file)
			}
		}
		m.registry = false // it is started again
		if q.Env["registryPort"] == "22" {
			return errors.New("listen tcp :22: bind: address already in use")
		}
		m.registry = true
		// What the registry shows and asks for is what the script has put in place, not what lies there since.
		return errors.Join(m.tree.put("/etc/registry/tls.crt", m.tree.text(path.Join(etc, "registry_tls.crt"))),
			m.tree.put("/etc/registry/htpasswd", m.tree.text(path.Join(etc, "registry_htpasswd"))))
	case "init.sh":
		if !m.tree.has(path.Join(etc, "registry_ca.crt")) {
			return errors.New("no registry_ca.crt")
		}
		m.runtime, m.begun = true, true
	case "clean.sh":
		m.before()
		m.runtime = false
		m.static()
		clear(m.containers)
		return uninstall(m, path.Dir(q.Dir))
	case "init-cri.sh", "clean-cri.sh", "prepare.sh":
	case "clean-registry.sh":
		m.registry = false
		if err := m.tree.remove("/etc/registry"); err != nil {
			return err
		}
		if m.tree.has("/var/lib/registry/.sealos-registry") {
			return m.tree.remove(disk.DefaultRoot)
		}
	default:
		m.done[name]++
	}
	return nil
}
