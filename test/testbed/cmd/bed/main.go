// Command bed boots test hosts by hand:
//
//	go run ./test/testbed/cmd/bed up 3          boots 3 hosts, stays until Ctrl-C or down
//	go run ./test/testbed/cmd/bed up -d 3       the same, in the background
//	go run ./test/testbed/cmd/bed exec 1 ps ax  runs a command in a host (by number, name or address)
//	go run ./test/testbed/cmd/bed run CMD …     runs a command of this machine on the hosts' network
//	go run ./test/testbed/cmd/bed off 2 | on 2  pulls and restores a host's power
//	go run ./test/testbed/cmd/bed list          hosts, key, password, packets that tried to leave
//	go run ./test/testbed/cmd/bed down          closes the bed
//	go run ./test/testbed/cmd/bed sweep         removes what killed runs left
package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/sealbuild/sealbuild/test/testbed"
)

const usage = `usage: bed up [-d] [-dns refusing|silent|none] [-bind SRC:DST]... N
       bed exec HOST CMD [ARG]...   bed run CMD [ARG]...   bed off|on HOST
       bed list | down | sweep | prepare`

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "bed:", err)
		var exit *exec.ExitError
		if errors.As(err, &exit) && exit.ExitCode() > 0 {
			os.Exit(exit.ExitCode())
		}
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) == 0 {
		return errors.New(usage)
	}
	ctx := context.Background()
	switch verb, rest := args[0], args[1:]; verb {
	case "up":
		return up(ctx, rest)
	case "prepare":
		tree, err := testbed.Prepare(ctx, os.Stderr)
		fmt.Println(tree)
		return err
	case "sweep":
		return testbed.Sweep(ctx, os.Stderr)
	case "down":
		return down(ctx)
	case "exec", "run", "off", "on", "list":
		b, err := attach()
		if err != nil {
			return err
		}
		return use(ctx, b, verb, rest)
	default:
		return fmt.Errorf("unknown verb %q\n%s", verb, usage)
	}
}

func up(ctx context.Context, args []string) error {
	var cfg testbed.HostConfig
	fs := flag.NewFlagSet("up", flag.ContinueOnError)
	detach := fs.Bool("d", false, "return when the hosts are up and leave them running")
	dns := fs.String("dns", "refusing", "what the hosts' nameserver does: refusing, silent or none")
	fs.Func("bind", "`SRC:DST`: show a file or directory inside every host, read-only", func(s string) error {
		src, dst, ok := strings.Cut(s, ":")
		if !ok {
			return errors.New("want SRC:DST")
		}
		cfg.Binds = append(cfg.Binds, testbed.Bind{Source: src, Target: dst, ReadOnly: true})
		return nil
	})
	if err := fs.Parse(args); err != nil {
		return err
	}
	n, err := strconv.Atoi(fs.Arg(0))
	if err != nil {
		return fmt.Errorf("how many hosts? %w", err)
	}
	switch *dns {
	case "silent":
		cfg.Resolver = testbed.SilentDNS
	case "none":
		cfg.Resolver = testbed.NoDNS
	}
	if *detach {
		return background(args)
	}
	hosts := make([]testbed.HostConfig, n)
	for i := range hosts {
		hosts[i] = cfg
	}
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	b, err := testbed.Start(ctx, testbed.Config{Hosts: hosts, Log: os.Stderr})
	if err != nil {
		return err
	}
	if err := list(ctx, b); err != nil {
		return errors.Join(err, b.Close())
	}
	fmt.Println(ready)
	<-ctx.Done()
	return b.Close()
}

// ready is the line after which the hosts can be used.
const ready = "ready"

// background starts this program again in a session of its own and waits until
// it says that the hosts are up.
func background(args []string) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	var rest []string
	for _, a := range args {
		if a != "-d" && a != "--d" {
			rest = append(rest, a)
		}
	}
	cmd := exec.Command(self, append([]string{"up"}, rest...)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	out, in, err := os.Pipe()
	if err != nil {
		return err
	}
	cmd.Stdout, cmd.Stderr = in, in
	if err := cmd.Start(); err != nil {
		return err
	}
	in.Close()
	for sc := bufio.NewScanner(out); sc.Scan(); {
		if sc.Text() == ready {
			return nil
		}
		fmt.Println(sc.Text())
	}
	return fmt.Errorf("the hosts did not come up: %w", cmd.Wait())
}

func attach() (*testbed.Bed, error) {
	ids, err := testbed.Running()
	if err != nil {
		return nil, err
	}
	if want := os.Getenv("BED"); want != "" {
		return testbed.Attach(want)
	}
	if len(ids) != 1 {
		return nil, fmt.Errorf("%d beds are up %v: set BED to one of them", len(ids), ids)
	}
	return testbed.Attach(ids[0])
}

func use(ctx context.Context, b *testbed.Bed, verb string, args []string) error {
	std := testbed.Command{Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr}
	if verb == "list" {
		return list(ctx, b)
	}
	if len(args) == 0 {
		return errors.New(usage)
	}
	if verb == "run" {
		std.Argv = args
		_, err := b.Run(ctx, std)
		return err
	}
	h := b.Host(args[0])
	switch {
	case h == nil:
		return fmt.Errorf("no host %q", args[0])
	case verb == "off":
		return h.PowerOff(ctx)
	case verb == "on":
		return h.PowerOn(ctx)
	case len(args) < 2:
		return errors.New(usage)
	}
	std.Argv = args[1:]
	_, err := h.Run(ctx, std)
	return err
}

func list(ctx context.Context, b *testbed.Bed) error {
	for i, h := range b.Hosts {
		power := "on"
		if !h.Running() {
			power = "off"
		}
		fmt.Printf("host %d  %-12s %-12s power %s\n", i+1, h.Name, h.Addr, power)
	}
	fmt.Printf("bed       %s\nnetwork   nsenter --net=%s\nkey       %s\npassword  %s\nknown     %s\n",
		b.ID(), b.NetnsPath(), b.KeyFile, b.Password, b.KnownHosts)
	flows, err := b.EscapedFlows(ctx)
	if err != nil {
		return err
	}
	for _, f := range flows {
		fmt.Printf("dropped   %s -> %s: %d packets\n", f.From, f.To, f.Packets)
	}
	return nil
}

func down(ctx context.Context) error {
	ids, err := testbed.Running()
	if err != nil {
		return err
	}
	if want := os.Getenv("BED"); want != "" {
		ids = []string{want}
	}
	if len(ids) > 1 {
		return fmt.Errorf("%d beds are up %v: set BED to the one to close", len(ids), ids)
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	for _, id := range ids {
		if err := testbed.Down(ctx, id); err != nil {
			return err
		}
	}
	return testbed.Sweep(ctx, os.Stderr)
}
