//go:build linux

// Command guest is the only process of an emulated machine whose kernel has
// ip_vs (see ../run.sh). It proves there that care balances with IPVS: three
// API servers in a network namespace, a virtual address in this one, and every
// way a server can come and go. Its last line is "ipvs: PASS" or "ipvs: FAIL".
package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// mastersArg makes this program serve the API servers instead.
const mastersArg = "masters"

func main() {
	if len(os.Args) > 1 && os.Args[1] == mastersArg {
		if err := serveMasters(os.Stdin, os.Stdout); err != nil {
			fmt.Println("masters:", err)
			os.Exit(1)
		}
		return
	}
	verdict := "ipvs: PASS"
	if err := run(); err != nil {
		fmt.Println("ipvs:", err)
		verdict = "ipvs: FAIL"
	}
	fmt.Println(verdict)
	if os.Getpid() == 1 {
		unix.Sync()
		// The emulator ends with the machine.
		_ = unix.Reboot(unix.LINUX_REBOOT_CMD_RESTART)
	}
}

func run() error {
	if os.Getpid() != 1 {
		return errors.New("this is the init of an emulated machine: run test/ipvs/run.sh")
	}
	if err := mountAll(); err != nil {
		return err
	}
	if err := loadModules("/modules"); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 6*time.Minute)
	defer cancel()
	m, err := startMasters(ctx)
	if err != nil {
		return fmt.Errorf("start the API servers: %w", err)
	}
	log := slog.New(slog.NewTextHandler(os.Stdout, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}}))
	return prove(ctx, m, log)
}

func mountAll() error {
	for _, m := range []struct{ fstype, target string }{{"proc", "/proc"}, {"sysfs", "/sys"}, {"devtmpfs", "/dev"}, {"tmpfs", "/run"}} {
		if err := unix.Mount(m.fstype, m.target, m.fstype, 0, ""); err != nil && !errors.Is(err, unix.EBUSY) {
			return fmt.Errorf("mount %s: %w", m.target, err)
		}
	}
	return nil
}

// loadModules loads what the order file in dir lists.
func loadModules(dir string) error {
	f, err := os.Open(filepath.Join(dir, "order"))
	if err != nil {
		return err
	}
	defer f.Close()
	for sc := bufio.NewScanner(f); sc.Scan(); {
		module, err := os.Open(filepath.Join(dir, sc.Text()))
		if err != nil {
			return err
		}
		err = unix.FinitModule(int(module.Fd()), "", 0)
		module.Close()
		if err != nil && !errors.Is(err, unix.EEXIST) {
			return fmt.Errorf("load %s: %w", sc.Text(), err)
		}
	}
	return nil
}

// masters is the process that serves the API servers.
type masters struct {
	in  *bufio.Writer
	out *bufio.Reader
}

// startMasters starts the API servers in a network namespace of their own, at
// the other end of a cable.
func startMasters(ctx context.Context) (*masters, error) {
	cmd := exec.CommandContext(ctx, "/init", mastersArg)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	cmd.Stderr = os.Stdout
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	if err := connect(cmd.Process.Pid); err != nil {
		return nil, err
	}
	m := &masters{in: bufio.NewWriter(in), out: bufio.NewReader(out)}
	return m, m.tell("network")
}

// tell sends an order and waits until it is done.
func (m *masters) tell(order ...string) error {
	if _, err := m.in.WriteString(strings.Join(order, " ") + "\n"); err != nil {
		return err
	}
	if err := m.in.Flush(); err != nil {
		return err
	}
	answer, err := m.out.ReadString('\n')
	if err != nil {
		return fmt.Errorf("tell the API servers to %v: %w", order, err)
	}
	if answer != "done\n" {
		return fmt.Errorf("tell the API servers to %v: %s", order, strings.TrimSpace(answer))
	}
	return nil
}
