package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"
)

// server is one `sealinstall serve`.
type server struct {
	cmd     *exec.Cmd
	url     string
	started time.Time
	output  tail
	ended   chan error
	client  *http.Client
}

const accept = "application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json, " +
	"application/vnd.docker.distribution.manifest.v2+json, application/vnd.docker.distribution.manifest.list.v2+json"

// startServer runs `PROGRAM serve`; flags are further ones.
func startServer(ctx context.Context, program, temporary string, flags ...string) (*server, error) {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	addr := l.Addr().String()
	if err := l.Close(); err != nil {
		return nil, err
	}
	s := &server{url: "http://" + addr, ended: make(chan error, 1), client: newClient()}
	s.cmd = exec.CommandContext(ctx, program, append([]string{"serve", "--addr", addr}, flags...)...)
	s.cmd.Env = append(os.Environ(), "TMPDIR="+temporary)
	s.cmd.Stdout, s.cmd.Stderr = &s.output, &s.output
	s.cmd.WaitDelay = 10 * time.Second
	s.started = time.Now()
	if err := s.cmd.Start(); err != nil {
		return nil, err
	}
	go func() { s.ended <- s.cmd.Wait() }()
	return s, nil
}

// newClient is one client: own connections, and never a proxy.
func newClient() *http.Client {
	return &http.Client{Timeout: commandTime, Transport: &http.Transport{DisableCompression: true}}
}

// stop ends the server as an operator would, and kills it when it does not end.
func (s *server) stop() error {
	s.client.CloseIdleConnections()
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case <-s.ended:
		return nil
	case <-time.After(10 * time.Second):
		err := s.cmd.Process.Kill()
		<-s.ended
		return errors.Join(errors.New("serve does not end 10 s after SIGTERM"), err)
	}
}

func (s *server) get(ctx context.Context, c *http.Client, p pull) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url+p.path, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", accept)
	resp, err := c.Do(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		resp.Body.Close()
		return nil, fmt.Errorf("GET %s: %s", p.path, resp.Status)
	}
	return resp, nil
}

// await asks every millisecond until the manifest comes, and returns the time
// from exec until all of it was there.
func (s *server) await(ctx context.Context, p pull) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		resp, err := s.get(ctx, s.client, p)
		if err == nil {
			_, err = io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
			return time.Since(s.started), err
		}
		if !errors.Is(err, syscall.ECONNREFUSED) {
			return 0, err
		}
		select {
		case err := <-s.ended:
			s.ended <- err
			return 0, fmt.Errorf("serve ended: %w\n%s", err, s.output.String())
		case <-ctx.Done():
			return 0, ctx.Err()
		case <-tick.C:
		}
	}
}

// firstByte returns the times from exec and from the request until the first
// byte of a blob, and leaves the rest.
func (s *server) firstByte(ctx context.Context, p pull) (fromExec, fromRequest time.Duration, err error) {
	begin := time.Now()
	resp, err := s.get(ctx, s.client, p)
	if err != nil {
		return 0, 0, err
	}
	defer resp.Body.Close()
	if _, err := io.ReadFull(resp.Body, make([]byte, 1)); err != nil {
		return 0, 0, err
	}
	now := time.Now()
	return now.Sub(s.started), now.Sub(begin), nil
}

// peak is the largest resident memory since exec, MiB.
func (s *server) peak() (float64, error) { return peakMemory(strconv.Itoa(s.cmd.Process.Pid)) }

// written is what serving took of the disk, MB.
func (s *server) written(temporary string) (float64, error) {
	v := field(fmt.Sprintf("/proc/%d/io", s.cmd.Process.Pid), "write_bytes")
	n, err := strconv.ParseInt(v, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("bytes written by serve: %w", err)
	}
	err = filepath.WalkDir(temporary, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		n += info.Size()
		return nil
	})
	return float64(n) / 1e6, err
}
