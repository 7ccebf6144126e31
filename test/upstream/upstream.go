// Package upstream gives tests the real Kubernetes pieces that make.sh makes,
// and the registry that serves their images. The scripts do the work; this is
// how Go tests call them.
package upstream

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// Tree is the directory that make.sh filled.
type Tree string

// Bin is the path of one of the programs kubeadm, kubelet and kubectl.
func (t Tree) Bin(name string) string { return filepath.Join(string(t), "bin", name) }

// Images is the OCI image layout that holds every image.
func (t Tree) Images() string { return filepath.Join(string(t), "images") }

// Make returns the tree. The first time on a machine it takes many minutes;
// later it only computes a name. The script's progress is part of the error.
func Make(ctx context.Context) (Tree, error) {
	out, err := script(ctx, "make.sh")
	return Tree(out), err
}

// Registry is a running upstream registry on loopback.
type Registry struct {
	Addr    string // HOST:PORT
	process *exec.Cmd
	ended   chan error
}

// Start serves the images at a free port of 127.0.0.1 and returns once the
// registry answers. The end of ctx ends it too.
func Start(ctx context.Context) (*Registry, error) {
	if _, err := script(ctx, "registry.sh", "fill"); err != nil {
		return nil, err
	}
	addr, err := freeAddress(ctx)
	if err != nil {
		return nil, err
	}
	path, err := scriptPath("registry.sh")
	if err != nil {
		return nil, err
	}
	// The script replaces itself by the registry, so this is its process.
	process := exec.CommandContext(ctx, path, "serve", addr)
	process.Cancel = func() error { return process.Process.Signal(syscall.SIGTERM) }
	process.WaitDelay = 10 * time.Second
	var output bytes.Buffer
	process.Stdout, process.Stderr = &output, &output
	if err := process.Start(); err != nil {
		return nil, fmt.Errorf("start upstream registry: %w", err)
	}
	r := &Registry{Addr: addr, process: process, ended: make(chan error, 1)}
	go func() { r.ended <- process.Wait() }()
	if err := r.await(ctx, &output); err != nil {
		return nil, err
	}
	return r, nil
}

// await asks until the registry answers. It reads output only after the
// process has ended.
func (r *Registry) await(ctx context.Context, output *bytes.Buffer) error {
	ticker := time.NewTicker(50 * time.Millisecond)
	defer ticker.Stop()
	client := &http.Client{Timeout: 2 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	for {
		select {
		case err := <-r.ended:
			return fmt.Errorf("upstream registry at %s ended: %w\n%s", r.Addr, err, output)
		case <-ticker.C:
		}
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+r.Addr+"/v2/", nil)
		if err != nil {
			return err
		}
		response, err := client.Do(request)
		if err != nil {
			continue
		}
		response.Body.Close()
		if response.StatusCode == http.StatusOK {
			return nil
		}
	}
}

// WriteConf writes a registries.conf that leads every domain to the registry.
func (r *Registry) WriteConf(ctx context.Context, path string) error {
	_, err := script(ctx, "registry.sh", "conf", r.Addr, path)
	return err
}

// Close ends the registry and waits for it.
func (r *Registry) Close() error {
	if err := r.process.Process.Signal(syscall.SIGTERM); err != nil {
		return fmt.Errorf("end upstream registry: %w", err)
	}
	<-r.ended // ended by the signal just sent: its status says nothing
	return nil
}

func freeAddress(ctx context.Context) (string, error) {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer listener.Close()
	return listener.Addr().String(), nil
}

// scriptPath finds a script beside this source file.
func scriptPath(name string) (string, error) {
	_, source, _, ok := runtime.Caller(0)
	if !ok {
		return "", fmt.Errorf("find %s: no source position in this binary", name)
	}
	return filepath.Join(filepath.Dir(source), name), nil
}

// script runs a script to its end and returns the last line it printed.
func script(ctx context.Context, name string, args ...string) (string, error) {
	path, err := scriptPath(name)
	if err != nil {
		return "", err
	}
	var stdout, stderr bytes.Buffer
	command := exec.CommandContext(ctx, path, args...)
	command.Stdout, command.Stderr = &stdout, &stderr
	if err := command.Run(); err != nil {
		return "", fmt.Errorf("run %s %s: %w\n%s", name, strings.Join(args, " "), err, &stderr)
	}
	lines := strings.Split(strings.TrimSpace(stdout.String()), "\n")
	return lines[len(lines)-1], nil
}
