package main

import (
	"bufio"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/sealbuild/sealbuild/installer/host"
)

const sshdProgram = "/usr/sbin/sshd"

// sshKeys are what every sshd of a run takes and shows.
type sshKeys struct{ host, user, authorized string }

func makeKeys(dir string) (k sshKeys, err error) {
	k = sshKeys{filepath.Join(dir, "host-key"), filepath.Join(dir, "user-key"), filepath.Join(dir, "authorized")}
	if _, err := makeKey(k.host); err != nil {
		return k, err
	}
	public, err := makeKey(k.user)
	if err != nil {
		return k, err
	}
	return k, os.WriteFile(k.authorized, ssh.MarshalAuthorizedKey(public), 0o644)
}

func makeKey(path string) (ssh.PublicKey, error) {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	block, err := ssh.MarshalPrivateKey(private, "")
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
		return nil, err
	}
	return ssh.NewPublicKey(public)
}

// sshd is a real one, of this machine's package.
type sshd struct {
	address string
	port    int
	keys    sshKeys
	cmd     *exec.Cmd
	output  tail
}

// startSSHD runs sshd at an address; in, if any, is the command that runs it in
// another network namespace.
func startSSHD(ctx context.Context, dir, address string, port int, keys sshKeys, in ...string) (*sshd, error) {
	if os.Geteuid() != 0 {
		return nil, errors.New("sshd needs root")
	}
	// Where sshd separates privileges: a directory of root's.
	if err := os.MkdirAll("/run/sshd", 0o755); err != nil {
		return nil, err
	}
	config := filepath.Join(dir, "sshd-"+address+".conf")
	// HOME: what root of this machine lets every shell do at its start is not part of anything measured here.
	text := fmt.Sprintf(`ListenAddress %s
Port %d
HostKey %s
AuthorizedKeysFile %s
StrictModes no
PermitRootLogin yes
PidFile none
UsePAM no
UseDNS no
LogLevel ERROR
SetEnv HOME=%s
`, address, port, keys.host, keys.authorized, dir)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		return nil, err
	}
	argv := append(in, sshdProgram, "-D", "-e", "-f", config)
	s := &sshd{address: address, port: port, keys: keys, cmd: exec.CommandContext(ctx, argv[0], argv[1:]...)}
	s.cmd.Stderr = &s.output
	s.cmd.WaitDelay = 10 * time.Second
	return s, s.cmd.Start()
}

func (s *sshd) stop() error {
	err := s.cmd.Process.Kill()
	_ = s.cmd.Wait() // by the signal just sent
	if errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("sshd had ended: %s", s.output.String())
	}
	return err
}

// dial waits until sshd answers and logs in.
func (s *sshd) dial(ctx context.Context) (host.Host, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	if err := s.await(ctx); err != nil {
		return nil, fmt.Errorf("sshd at %s: %w\n%s", s.address, err, s.output.String())
	}
	return s.login(ctx, s.address, s.port)
}

// login goes to another address than its own when something lies before it.
func (s *sshd) login(ctx context.Context, address string, port int) (host.Host, error) {
	return host.DialSSH(ctx, host.SSHConfig{Address: address, Port: port, KeyFiles: []string{s.keys.user}, HostKey: host.Off})
}

func (s *sshd) await(ctx context.Context) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := s.greets(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return errors.Join(ctx.Err(), err)
		case <-tick.C:
		}
	}
}

func (s *sshd) greets(ctx context.Context) error {
	conn, err := (&net.Dialer{Timeout: time.Second}).DialContext(ctx, "tcp", net.JoinHostPort(s.address, strconv.Itoa(s.port)))
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetReadDeadline(time.Now().Add(time.Second)); err != nil {
		return err
	}
	line, err := bufio.NewReader(conn).ReadString('\n')
	if err == nil && !strings.HasPrefix(line, "SSH-2.0-") {
		err = fmt.Errorf("it greets with %q", line)
	}
	return err
}

// cat is a user's `ssh host 'cat > file' < from`, from exec to its end.
func (s *sshd) cat(ctx context.Context, dir, from, to string, sync bool) (usage, error) {
	line := `ssh -F none -o BatchMode=yes -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR -i "$1" -p "$2" "root@$3" "cat > '$5'$6" < "$4"`
	after := ""
	if sync {
		after = " && sync '" + to + "'"
	}
	return shell(ctx, dir, line, s.keys.user, strconv.Itoa(s.port), s.address, from, to, after)
}

func freePort(ctx context.Context, address string) (int, error) {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", net.JoinHostPort(address, "0"))
	if err != nil {
		return 0, err
	}
	a, ok := l.Addr().(*net.TCPAddr)
	if !ok {
		return 0, errors.Join(l.Close(), fmt.Errorf("%v is no TCP address", l.Addr()))
	}
	return a.Port, l.Close()
}
