package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	labPrefix  = "sbench-"
	labNetwork = "10.77.0."
)

// lab is a switch with a sender and hosts on it, each in a network namespace of
// its own, behind a link of its own. Nothing outside is reachable from there.
type lab struct {
	id    string
	hosts int
}

// newLab makes the namespaces; whatever fails, close removes them.
func newLab(ctx context.Context, hosts int) (l *lab, err error) {
	if os.Geteuid() != 0 {
		return nil, errors.New("network namespaces need root")
	}
	if err := sweepLabs(ctx); err != nil {
		return nil, err
	}
	l = &lab{fmt.Sprintf("%s%d", labPrefix, os.Getpid()), hosts}
	defer func() {
		if err != nil {
			err = errors.Join(err, l.close(context.WithoutCancel(ctx)))
		}
	}()
	if err := l.ip(ctx, "", "netns add "+l.id+"\n"); err != nil {
		return l, err
	}
	if err := l.ip(ctx, l.id, "link add br0 type bridge forward_delay 0 mcast_snooping 0\nlink set br0 up\n"); err != nil {
		return l, err
	}
	for i := range hosts + 1 {
		ns, port := l.ns(i), fmt.Sprint("port", i)
		steps := []struct{ ns, commands string }{
			{"", "netns add " + ns + "\n"},
			{l.id, fmt.Sprintf("link add %s type veth peer name eth0 netns %s\nlink set %s master br0\nlink set %s up\n", port, ns, port, port)},
			{ns, fmt.Sprintf("link set lo up\naddr add %s/24 dev eth0\nlink set eth0 up\n", l.address(i))},
		}
		for _, s := range steps {
			if err := l.ip(ctx, s.ns, s.commands); err != nil {
				return l, err
			}
		}
	}
	return l, nil
}

// ns is the namespace of host i from 1 on; 0 is the sender's.
func (l *lab) ns(i int) string { return fmt.Sprintf("%s-%d", l.id, i) }

func (l *lab) address(i int) string { return labNetwork + strconv.Itoa(1+i) }

// shape gives every link a rate, both ways.
func (l *lab) shape(ctx context.Context, rate string) error {
	for i := range l.hosts + 1 {
		for _, end := range [][2]string{{l.ns(i), "eth0"}, {l.id, fmt.Sprint("port", i)}} {
			// The burst holds what the stack hands over at once; the limit is some milliseconds of the link.
			err := tool(ctx, "", "tc", "-n", end[0], "qdisc", "replace", "dev", end[1], "root", "tbf", "rate", rate, "burst", "256k", "limit", "2m")
			if err != nil {
				return err
			}
		}
	}
	return nil
}

func (l *lab) ip(ctx context.Context, ns, commands string) error {
	argv := []string{"ip"}
	if ns != "" {
		argv = append(argv, "-n", ns)
	}
	return tool(ctx, commands, append(argv, "-batch", "-")...)
}

func tool(ctx context.Context, input string, argv ...string) error {
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Stdin = strings.NewReader(input)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s%s", strings.Join(argv, " "), err, input, out)
	}
	return nil
}

// inside runs do on a thread in the namespace of host i: sockets made there
// belong to it for good.
func (l *lab) inside(i int, do func() error) error {
	done := make(chan error, 1)
	go func() {
		// The thread stays locked, and ends with this goroutine.
		runtime.LockOSThread()
		f, err := os.Open("/run/netns/" + l.ns(i))
		if err == nil {
			err = unix.Setns(int(f.Fd()), unix.CLONE_NEWNET)
			err = errors.Join(err, f.Close())
		}
		if err == nil {
			err = do()
		}
		done <- err
	}()
	return <-done
}

// close removes the namespaces, and with them links and shapes.
func (l *lab) close(ctx context.Context) error { return removeLabs(ctx, l.id) }

// sweepLabs removes what a run left that was killed.
func sweepLabs(ctx context.Context) error {
	found, err := filepath.Glob("/run/netns/" + labPrefix + "*")
	if err != nil {
		return err
	}
	for _, path := range found {
		pid, _, _ := strings.Cut(strings.TrimPrefix(filepath.Base(path), labPrefix), "-")
		if _, err := os.Stat("/proc/" + pid); errors.Is(err, os.ErrNotExist) {
			if err := tool(ctx, "", "ip", "netns", "del", filepath.Base(path)); err != nil {
				return err
			}
		}
	}
	return nil
}

func removeLabs(ctx context.Context, id string) error {
	found, err := filepath.Glob("/run/netns/" + id + "*")
	for _, path := range found {
		name := filepath.Base(path)
		if name == id || strings.HasPrefix(name, id+"-") {
			err = errors.Join(err, tool(ctx, "", "ip", "netns", "del", name))
		}
	}
	return err
}
