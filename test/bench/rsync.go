package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// rsyncDaemon serves a directory as the module "store".
type rsyncDaemon struct {
	url    string
	cmd    *exec.Cmd
	output tail
}

func startRsync(ctx context.Context, dir, address, store string) (*rsyncDaemon, error) {
	port, err := freePort(ctx, address)
	if err != nil {
		return nil, err
	}
	config := filepath.Join(dir, "rsyncd-"+filepath.Base(store)+".conf")
	text := fmt.Sprintf("use chroot = no\nuid = 0\ngid = 0\nlog file = /dev/null\n[store]\npath = %s\nread only = no\n", store)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		return nil, err
	}
	at := net.JoinHostPort(address, strconv.Itoa(port))
	d := &rsyncDaemon{url: "rsync://" + at + "/store/"}
	d.cmd = exec.CommandContext(ctx, "rsync", "--daemon", "--no-detach", "--address="+address, "--port="+strconv.Itoa(port), "--config="+config)
	d.cmd.Stdout, d.cmd.Stderr = &d.output, &d.output
	d.cmd.WaitDelay = 10 * time.Second
	if err := d.cmd.Start(); err != nil {
		return nil, err
	}
	if err := d.await(ctx, at); err != nil {
		return nil, errors.Join(err, d.stop())
	}
	return d, nil
}

func (d *rsyncDaemon) await(ctx context.Context, at string) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", at)
		if err == nil {
			return conn.Close()
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("rsync does not answer: %w\n%s", err, d.output.String())
		case <-tick.C:
		}
	}
}

func (d *rsyncDaemon) stop() error {
	err := d.cmd.Process.Kill()
	_ = d.cmd.Wait() // by the signal just sent
	return err
}

var rsyncBytes = regexp.MustCompile(`(?m)^Total bytes (?:sent|received): ([\d,]+)$`)

// push makes the daemon's store hold what lies in from, and returns the bytes
// that went over the wire, both ways, in MB.
func (d *rsyncDaemon) push(ctx context.Context, dir, from string) (u usage, wire float64, err error) {
	if u, err = execute(ctx, dir, nil, "rsync", "-a", "--stats", from+"/", d.url); err != nil {
		return u, 0, err
	}
	found := rsyncBytes.FindAllStringSubmatch(u.output, -1)
	if len(found) != 2 {
		return u, 0, fmt.Errorf("rsync does not tell its bytes: %s", u.output)
	}
	for _, m := range found {
		n, err := strconv.ParseInt(strings.ReplaceAll(m[1], ",", ""), 10, 64)
		if err != nil {
			return u, 0, err
		}
		wire += float64(n) / 1e6
	}
	return u, wire, nil
}
